"""Every operation called with its own example: never a 500, only documented statuses, and answers of the promised shape."""

import re
from fnmatch import fnmatch

import boto3
import pytest
from jsonschema import Draft202012Validator
from moto import mock_aws

from guard.catalogue import collect
from guard.rooms import ROOMS
from guard.wire.model import Attachment, Content, Download
from tests.api.test_refusals import QUERIES

ROUTED = {name: item for name, item in collect(ROOMS).items() if item.path}
PARAMETER = re.compile(r"\{([a-z_]+)\}")
EXPORTS = {
    f"exports.{verb}"
    for verb in ("cancel", "create", "download", "frame", "hashes", "list", "manifest", "part", "read")
}
EVIDENCE = {"evidence.create", "evidence.download"}
PRUNES = {"prunes.approve", "prunes.read", "prunes.request"}
PLATFORM = {
    *EXPORTS,
    *EVIDENCE,
    "bundles.read",
    *(f"custody.{verb}" for verb in ("add", "approve", "move", "remove", "status", "unseal")),
    "heads.read",
    "tiles.read",
    "records.prove",
    "records.reveal",
    *PRUNES,
    "sinks.list",
    "tenants.create",
    "tenants.list",
}
"""Operations whose example is called in the platform's own tenant."""
IMPORTED = {f"imported_keys.{verb}" for verb in ("convert", "decrypt", "encrypt", "rotate", "remove")} | {"keys.export"}
"""Operations whose example is about the imported key of the fixture."""
MADE_UP = dict.fromkeys(("imported_keys.convert", "imported_keys.decrypt"), "GRD-CRYPT-001") | dict.fromkeys(
    ("fields.decrypt", "fields.ingest", "fields.mask", "fields.reencrypt"), "GRD-CRYPT-002"
)
MADE_UP |= {
    "tokens.reveal": "GRD-AUTHZ-001",  # the fields' policies name no role that may do everything
    "tokens.revoke_issued": "GRD-STORE-404",
}
"""Examples whose only item is answered with a problem: a made-up ciphertext opens nowhere, a made-up token is none."""
REFUSED = {
    "budgets.thaw": "GRD-STORE-404",  # the example's service searched nothing
    "checkpoints.accept_clock": "GRD-STORE-410",  # the clock is right
    "custody.seal": "GRD-STORE-404",  # by a tenant's person; the platform's would end this world, see test_sealed.py
    "prunes.approve": "GRD-AUDIT-020",  # under the holds of the fixture
    "prunes.request": "GRD-AUDIT-020",  # as above
    "exports.cancel": "GRD-STORE-410",  # the export of the fixture is ready
    "keys.activate": "GRD-KEY-001",  # version 1 was active from the beginning
    "keys.approve_destroy": "GRD-KEY-001",  # this and the next three: it is not retired
    "keys.cancel_destroy": "GRD-KEY-001",
    "keys.destroy": "GRD-KEY-001",
    "keys.restore": "GRD-KEY-001",
    "keys.approve_export": "GRD-STORE-404",  # a made-up request
    "keys.approve_import": "GRD-STORE-404",  # as above
    "plans.lint": "GRD-RUNBOOK-001",  # a plan of one line has no steps
    "receipts.verify": "GRD-CONF-002",  # too short for a receipt
    "reencryptions.create": "GRD-STORE-409",  # the job of the fixture works on this column
    "runs.command": "GRD-STORE-410",  # a made-up version
    "tenants.create": "GRD-STORE-409",  # the tests' own tenant bears the example's name
    "tokens.exchange": "GRD-STORE-410",  # no one-time token
}
"""Examples that the state of this world refuses, each with its reason."""
BEFORE = {
    "indexes.retire": "indexes.rotate",
    "keys.retire": "keys.rotate",
    "reencryptions.pause": "reencryptions.resume",
    "reencryptions.resume": "reencryptions.pause",
}


PERSON = {"field": "messages.body", "context": {"row": "1", "subject": "u-17"}, "plaintext": "aGk="}


@pytest.fixture(scope="module")
def cloud():
    """A KMS with the key of the examples; nothing of it leaves this process."""
    with mock_aws():
        kms = boto3.client("kms", region_name="eu-central-1")
        kms.create_alias(AliasName="alias/guard", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
        yield


@pytest.fixture(scope="module")
def parameters(api, cloud):
    """Ids of things that exist, for the path parameters: each made once through the API."""
    run = api("POST", "/api/v1/runs", {"plan": "credential-stuffing", "mode": "drill", "inputs": {"__incident__": "x"}})
    job = api("POST", "/api/v1/reencryptions", {"source": "customers", "field": "customers.email"})
    decision = api("POST", "/api/v1/decisions", {"value": "192.0.2.9"})
    grant = api("POST", "/api/v1/grants", {"member": "user:local|bo", "role": "role:support"})
    token = api("POST", "/api/v1/tokens", {"subject": "svc:billing"})
    incident = api("POST", "/api/v1/incidents", {"title": "Down"})
    # A record of the platform's own tenant that has a sealed value, and the export publishes a checkpoint over it.
    api("POST", "/api/v1/tenants", {"tenant": "umbrella", "title": "Umbrella"}, token=api.platform)
    named = api("GET", "/api/v1/audit/records?action=tenants.create&limit=1", token=api.platform)
    api("POST", "/api/v1/audit/checkpoints", {}, token=api.platform)
    export = api("POST", "/api/v1/audit/exports", {"format": "jsonl"}, token=api.platform)
    brought = api("POST", "/api/v1/keys/import", {**ROUTED["keys.import"].example, "key": "brought"})
    second = api.world.token("acme", "user:local|bo", "role:key-admin")
    api("POST", "/api/v1/keys/brought/import/approval", {"request": brought.json["request"]}, token=second)
    evidence = api("POST", "/api/v1/audit/evidence", {"matter": "case-17", "indexes": [0]}, token=api.platform)
    return {
        "evidence": evidence.json["id"],
        "matter": "case-17",
        "run": run.json["run"],
        "job": job.json["job"],
        "decision": decision.json["id"],
        "grant": grant.json["id"],
        "handle": token.json["handle"],
        "incident": incident.json["id"],
        "export": export.json["id"],
        "n": "0",
        "log": "main",
        "lease": leased(api),
        "level": "0",
        "tile": "000.p/5",
        "hold": "hld_0198",
        "honey": "hny_0198",
        "request": "rvl_0198",
        "erasure": "ers_0198",
        "index": str(named.json["data"][0]["index"]),
        "field": "customers.identity_number",
        "key": "customers.email",
        "name": "customers.identity_number.unique",
        "source": "customers",
        "version": "1",
        "plan": "region-outage",
        "stream": "shop",
        "slot": "file-1",
    }


@pytest.fixture
def fresh(api, parameters):
    """Ids of things that nothing has used up yet: what another test may have removed is made again."""
    job = api("POST", "/api/v1/reencryptions", {"source": "customers", "field": "customers.email"})
    if job.status == 200:  # else the job of before is still there
        parameters["job"] = job.json["job"]
    made = dict(parameters)
    made["decision"] = api("POST", "/api/v1/decisions", {"value": "192.0.2.10"}).json["id"]
    made["grant"] = api("POST", "/api/v1/grants", {"member": "user:local|cy", "role": "role:support"}).json["id"]
    made["handle"] = api("POST", "/api/v1/tokens", {"subject": "svc:billing"}).json["handle"]
    made["incident"] = api("POST", "/api/v1/incidents", {"title": "Down again"}).json["id"]
    made["lease"] = leased(api)
    made["honey"] = api("POST", "/api/v1/honey/rows", {"field": "customers.phone", "context": {"row": "0"}}).json["id"]
    made["request"] = waiting_reveal(api)
    made["hold"] = api("POST", "/api/v1/audit/holds", {"scope": "actor", "matter": "c", "target": "svc:a"}).json["id"]
    asked = {"subject": "u-18", "tenant": "acme"}  # by another person than the one who approves
    made["erasure"] = api("POST", "/api/v1/audit/erasures", asked, token=api.platform).json["id"]
    return made


def leased(api) -> str:
    """The id of a fresh lease of the caller."""
    return api("POST", "/api/v1/leases", {"fields": ["customers.email"], "purpose": "store"}).json["lease_id"]


def waiting_reveal(api):
    """The id of a reveal that an officer asked for, and that another may approve."""
    field, purpose = "customers.identity_number", "identity_check"
    subject = f"u-{api.world.clock.now_us}"  # or an approval that an earlier test left would serve
    wanted = {"field": field, "domain": purpose, "subject": subject, "value": "AB123456"}
    token = api("POST", "/api/v1/tokens/issue", {"items": [wanted]}).json["results"][0]["token"]
    officer = api.world.token("acme", "user:local|olga", "role:identity-officer")
    asked = {"purpose": purpose, "items": [{"field": field, "token": token}]}
    return api("POST", "/api/v1/tokens/reveal", asked, token=officer).json["results"][0]["request"]


@pytest.fixture(scope="module")
def document(api):
    return api("GET", "/openapi.json", token=None).json


def call(api, name: str, parameters, **options):
    item = ROUTED[name]
    known = {**parameters, "key": "brought"} if name in IMPORTED else parameters
    path = item.path.format_map(known) + QUERIES.get(name, "")
    token = api.platform if name in PLATFORM else api.full
    return api(item.method, path, dict(item.example) if item.method != "GET" else b"", token=token, **options)


def prepare(api, name: str, parameters) -> None:
    """Bring key, job, slot and person into the state that the example needs; the answer does not matter."""
    if name in {"custody.approve", "custody.remove"}:  # a slot that another person asked for
        asker = api.world.token("system", "user:local|deputy", "role:everything")
        asked = {"plugin": "passphrase", "secrets": {"passphrase": "seven-words-of-which-nobody-would-think"}}
        parameters["slot"] = api("POST", "/api/v1/custody/slots", asked, token=asker).json["slot"]
    if name in {"subjects.forget", "subjects.restore"}:
        api("POST", "/api/v1/fields/encrypt", {"items": [PERSON]})
    if name == "subjects.restore":
        api("POST", "/api/v1/subjects/forget", {"subject": "u-17"})
    if name in BEFORE:
        api("POST", ROUTED[BEFORE[name]].path.format_map(parameters), {})


# The hold of the example covers the person whom other examples forget, so it is placed last.
@pytest.mark.parametrize("name", sorted(ROUTED, key=lambda name: (name == "holds.place", name)))
def test_an_example_is_answered_as_the_document_says(api, document, fresh, name):
    item = ROUTED[name]
    prepare(api, name, fresh)
    answer = call(api, name, fresh)
    if name in REFUSED:
        assert answer.code == REFUSED[name], answer.body
    else:
        assert answer.status == 200, answer.body
    responses = document["paths"][item.path][item.method.lower()]["responses"]
    assert str(answer.status) in responses, "a status that the document does not name"
    (kind, content), *others = responses[str(answer.status)]["content"].items()
    assert others == []
    assert fnmatch(answer.headers["content-type"].partition(";")[0], kind)
    if issubclass(item.gives, Attachment):
        assert answer.body.startswith(b"PK\x03\x04") or item.gives is Download
        return
    if issubclass(item.gives, Content):
        assert content["schema"]["contentMediaType"] == kind
        assert answer.body
        return
    schema = {**content["schema"], "components": document["components"]}
    assert list(Draft202012Validator(schema).iter_errors(answer.json)) == []
    problems = [one["problem"]["code"] for one in answer.json.get("results", []) if "problem" in one]
    assert problems == ([MADE_UP[name]] if name in MADE_UP else [])


@pytest.mark.parametrize("name", sorted(name for name, item in ROUTED.items() if item.method == "GET"))
def test_an_unknown_query_parameter_is_422_and_not_repeated(api, parameters, name):
    path = ROUTED[name].path.format_map(parameters)
    query = QUERIES.get(name, "?")
    answer = api("GET", f"{path}{query}&wanda.canary%40example.org=1")
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")
    assert b"canary" not in answer.all_bytes
    assert [one["code"] for one in answer.json["errors"]] == ["extra_forbidden"]


@pytest.mark.parametrize("name", sorted(name for name, item in ROUTED.items() if "{" in item.path))
def test_a_path_parameter_stands_in_the_path_only(api, parameters, name):
    item = ROUTED[name]
    parameter = PARAMETER.findall(item.path)[0]
    path = item.path.format_map(parameters)
    if item.method == "GET":
        answer = api("GET", f"{path}?{parameter}=wanda-canary")
    else:
        answer = api("POST", path, {**item.example, parameter: "wanda-canary"})
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")
    assert b"canary" not in answer.all_bytes


@pytest.mark.parametrize("name", sorted(name for name, item in ROUTED.items() if "{" in item.path))
@pytest.mark.parametrize(
    "hostile", ["%00", "..%2f..", "%e4%b8%ad", "x" * 5000, "%F0%9F%92%A9", "-", "%0d%0aset-cookie:x"]
)
def test_a_hostile_path_parameter_is_refused_and_not_repeated(api, parameters, name, hostile):
    item = ROUTED[name]
    first = PARAMETER.findall(item.path)[0]
    path = item.path.format_map({**parameters, first: hostile})
    answer = api(item.method, path, {} if item.method != "GET" else b"")
    assert answer.status in {404, 422}, answer.body
    assert b"set-cookie" not in answer.all_bytes
    assert b"xxxxx" not in answer.all_bytes


def test_a_repeated_query_parameter_is_refused(api):
    answer = api("GET", "/api/v1/runs?limit=5&limit=500")
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")


@pytest.mark.parametrize("limit", ["0", "501", "-1", "1.5", "٥", "", "9" * 5000, "true", "null"])
def test_a_page_size_out_of_bounds_is_refused(api, limit):
    answer = api("GET", f"/api/v1/runs?limit={limit}")
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")
