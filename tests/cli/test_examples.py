"""The example in each verb's help is typed as it stands there, on a real server, and does what it promises.

Only made-up ids, paths and ports are replaced by real ones; what has to exist beforehand is made through the SDK.
"""

import base64
import json
import os
import secrets
import shutil
import stat
import subprocess
import sys

import boto3
import pytest

from guard.client import Client
from guard.client.sealing import FieldSealer
from tests.cli.conftest import DEPUTY, LINE, until
from tests.cli.processes import ROOT, environment
from tests.cli.verbs import VERBS, example
from tests.vault.peers import moto

ELSEWHERE = {"dev", "serve", "worker", "demo", "witness"} | {
    "audit accept-clock",
    "audit cancel",
    "audit fork",
    "audit key-stolen",
    "audit rebuild",
}
"""Typed in test_serving.py, test_demo.py, test_witnessed.py and test_anchors.py: they stay until told to end, or need a
wrong clock or a stopped guard. A rebuild (tests/audit/test_rebuild.py) wants a home that nobody serves; cancelling, a
large export."""
PLAN = {"plan": "credential-stuffing", "mode": "drill", "inputs": {"__incident__": "practice"}}
TINK_URL = "type.googleapis.com/google.crypto.tink."
STAGES = ("judge", "approve_containment", "reset_accounts", "tell_users")
PHRASE = "seven-words-of-which-nobody-would-think"
DONE = {"accounts": 3, "done_at": "2026-12-01T09:30:00Z"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory to type commands in, with `guard` on the PATH."""
    folder = tmp_path_factory.mktemp("typed")
    shim = folder / "bin" / "guard"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m guard "$@"\n')
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    (folder / "access.log").write_bytes(b"".join(LINE % (number, number) for number in range(20)) + b"broken\n")
    shutil.copytree(ROOT / "runbooks", folder / "runbooks")
    return folder


@pytest.fixture(scope="module")
def client(dev):
    with dev.client() as made:
        yield made


@pytest.fixture(scope="module")
def deputy(dev):
    return dev.deputy()


@pytest.fixture(scope="module")
def kms():
    with moto() as address:
        yield address


@pytest.fixture
def run_at(client, deputy):
    """`run_at("judge")` gives the id of a run that waits at this step."""

    def start(stage: str) -> str:
        run = client.runs.start(**PLAN)["run"]
        with Client(deputy) as second:
            for step in STAGES[: STAGES.index(stage) + 1]:
                until(lambda step=step: state(client, run, step).startswith("waiting"))
                if step != stage:
                    move_on(client, second, run, step)
        return run

    return start


def state(client, run: str, step: str) -> str:
    return next((one["state"] for one in client.runs.read(run=run)["steps"] if one["step"] == step), "")


def move_on(client, second, run: str, step: str) -> None:
    """Do what the step waits for."""
    view = client.runs.read(run=run)
    now = next(one for one in view["steps"] if one["step"] == step)
    members = {
        "judge": {"type": "decide", "option": "contain"},
        "approve_containment": {"type": "approve", "subject_hash": now["subject_hash"]},
        "reset_accounts": {"type": "answer", "answer": DONE},
    }[step]
    sender = second if step == "approve_containment" else client
    common = {"command_id": f"test-{run}-{step}", "expected_version": view["version"], "step": step}
    sender.runs.command(run=run, iteration=now["iteration"], attempt=now["attempt"], **common, **members)


def sealed_file(client, place) -> dict[str, str]:
    (place / "sealed.txt").write_text(client.encrypt("customers.email", "ana@example.org", row="17"))
    return {}


def value_on_its_way_in(client, place) -> dict[str, str]:
    sealer = FieldSealer(client.fields.read_ingest_key(field="customers.identity_number"))
    (place / "sealed.txt").write_text(sealer.seal("AB123456", row="17"))
    return {}


def file_to_seal(_client, place) -> dict[str, str]:
    (place / "scan.pdf").write_bytes(b"%PDF-1.7")
    (place / "scan.sealed").unlink(missing_ok=True)
    return {}


def sealed_scan(client, place) -> dict[str, str]:
    file_to_seal(client, place)
    client.files.encrypt(place / "scan.pdf", place / "scan.sealed", "customers.email", row="17")
    return {}


def paused_job(client, _place) -> dict[str, str]:
    job = running_job(client, _place)["job_0198"]
    client.reencryptions.pause(job=job)
    return {"job_0198": job}


def running_job(client, _place) -> dict[str, str]:
    known = [one for one in client.reencryptions.list()["data"] if one["source"] == "archive"]
    if not known:
        return {"job_0198": client.reencryptions.create(source="archive", field="customers.email")["job"]}
    if known[0]["state"] == "paused":
        client.reencryptions.resume(job=known[0]["job"])
    return {"job_0198": known[0]["job"]}


def sealed_record(client) -> int:
    """The index of a record that has a sealed value: a note on a token."""
    client.tokens.create(subject="svc:noted", note="for the night shift")
    client.grants.add(member=client.actors.whoami()["subject"], role="role:auditor")
    return int(client.records.list(action="tokens.create", limit=1)["data"][0]["index"])


def asked_erasure(client, _place) -> dict[str, str]:
    """An erasure that the developer asked for, and a second person who may approve it."""
    client.grants.add(member=DEPUTY, role="role:privacy-officer")
    return {"ers_0198": client.erasures.request(subject="u-19")["id"]}


def issued_token(client, place) -> dict[str, str]:
    """A token in the file that the examples read."""
    wanted = {"field": "customers.email", "domain": "delivery", "subject": "u-17", "value": "ana@example.org"}
    token = client.tokens.issue(items=[wanted])["results"][0]["token"]
    (place / "tokens.jsonl").write_text(json.dumps({"field": "customers.email", "token": token}) + "\n")
    return {}


def asked_reveal(client) -> str:
    """A reveal that the developer asked for, and a second person who may approve it."""
    client.grants.add(member=DEPUTY, role="role:identity-officer")
    field, purpose = "customers.identity_number", "identity_check"
    wanted = {"field": field, "domain": purpose, "subject": "u-17", "value": "AB123456"}
    token = client.tokens.issue(items=[wanted])["results"][0]["token"]
    answer = client.tokens.reveal(purpose=purpose, items=[{"field": field, "token": token}])["results"][0]
    return str(answer["request"])


def evidence(dev_admin, place) -> dict[str, str]:
    target = place / "evidence"
    if not target.exists():
        subprocess.run(["sh", "-c", example("audit export")], cwd=place, env=dev_admin, check=True, capture_output=True)
    return {}


def received(client, _):
    """A receipt that this server gave."""
    kept = []
    with Client(client.address, on_receipt=lambda _, receipt: kept.append(receipt)) as asking:
        asking.actors.whoami()
    return {"AQGgxFBsAH9ih_I8CoP...": kept[0]}


def retired(client, _place) -> int:
    """A version of a key that was retired; the key of identity numbers has no other use here."""
    versions = client.keys.rotate(key="customers.identity_number")["versions"]
    number = next(one["version"] for one in versions if one["state"] == "decrypt_only")
    client.keys.retire(key="customers.identity_number", version=number)
    return number


def to_destroy(client, place) -> dict[str, str]:
    return {"customers.email 1": f"customers.identity_number {retired(client, place)}"}


def prepared_version(client, _place) -> dict[str, str]:
    made = client.keys.rotate(key="customers.phone", activate=False)["versions"][0]["version"]
    return {"customers.email 2": f"customers.phone {made}"}


def sealed_lines(client, place) -> dict[str, str]:
    sealed = client.encrypt("customers.email", "ana@example.org", row="17")
    (place / "sealed.jsonl").write_text(f'{{"field": "customers.email", "row": "17", "sealed": "{sealed}"}}\n')
    return {}


def searched(client, _place) -> dict[str, str]:
    """Somebody who looked a value up: the developer."""
    client.fields.search(purpose="support", items=[{"field": "customers.email", "value": "ana@example.org"}])
    client.grants.add(member=client.actors.whoami()["subject"], role="role:privacy-officer")
    return {"svc:shop": f"'{client.actors.whoami()['subject']}'"}


def rotated_index(client, _place) -> dict[str, str]:
    """An older version of an index that nothing needs."""
    client.indexes.rotate(name="customers.identity_number.unique")
    client.fields.release(field="customers.identity_number", index="unique", row="17")
    return {}


def asked_slot(dev) -> str:
    """A custody slot that another administrator asked for."""
    with dev.second_admin() as second:
        return str(second.call("custody.add", plugin="passphrase", options={}, secrets={"passphrase": PHRASE})["slot"])


def key_in_the_cloud(kms) -> dict[str, str]:
    """The example's KMS key, at a KMS of this machine."""
    key = boto3.client("kms", region_name="eu-central-1", endpoint_url=kms)
    key.create_alias(AliasName="alias/guard", TargetKeyId=key.create_key()["KeyMetadata"]["KeyId"])
    return {"region=eu-central-1": f"region=eu-central-1 --option endpoint={kms}"}


def ready(dev) -> bool:
    """Whether the service answers again."""
    return dev.run("access", "whoami").returncode == 0


CUSTODY = {
    "custody init": lambda *_: {"custody init": "custody init --home another-home"},
    "custody add": lambda *_: {"guard custody add": f"echo {PHRASE} | guard custody add"},
    "custody move": lambda _, kms: key_in_the_cloud(kms),
    "custody approve": lambda dev, _: {"transit-3f2a90": asked_slot(dev)},
    "custody remove": lambda dev, _: {"file-1": asked_slot(dev)},  # withdrawn; file-1 opens this server for the others
}


def keyset_file(_client, place) -> dict[str, str]:
    """A new keyset of Tink in a file, under a name that nothing has."""
    name = f"orders-{secrets.token_hex(4)}"
    entry = {"typeUrl": f"{TINK_URL}XAesGcmKey", "keyMaterialType": "SYMMETRIC"}
    entry["value"] = base64.b64encode(b"\x12\x02\x08\x0c\x1a\x20" + secrets.token_bytes(32)).decode()
    key = {"keyData": entry, "status": "ENABLED", "keyId": 7, "outputPrefixType": "TINK"}
    (place / f"{name}.json").write_text(json.dumps({"primaryKeyId": 7, "key": [key]}))
    return {"orders": name}


def asked_import(client, place) -> dict[str, str]:
    client.grants.add(member=DEPUTY, role="role:key-admin")
    name = keyset_file(client, place)["orders"]
    material = (place / f"{name}.json").read_text()
    asked = client.call("keys.import", key=name, format="tink", material=material)
    return {"orders": name, "imp_0198": asked["request"]}


def imported_key(client, place, deputy) -> dict[str, str]:
    asked = asked_import(client, place)
    with Client(deputy) as second:
        second.keys.approve_import(key=asked["orders"], request=asked["imp_0198"])
    return {"orders": asked["orders"]}


def asked_export(client, place, deputy) -> dict[str, str]:
    name = imported_key(client, place, deputy)["orders"]
    return {"orders": name, "exk_0198": client.keys.export(key=name)["request"]}


def old_value(client, place, deputy) -> dict[str, str]:
    name = imported_key(client, place, deputy)["orders"]
    client.grants.add(member=client.actors.whoami()["subject"], role="role:moving-service")
    client.grants.add(member=client.actors.whoami()["subject"], role="role:foreign-service")
    sealed = client.imported_keys.encrypt(key=name, items=[{"plaintext": "YW5h"}])["results"][0]["ciphertext"]
    (place / "old.txt").write_text(sealed)
    return {"orders": name}


BY_TWO = {
    "keys export": imported_key,
    "keys approve-export": asked_export,
    "keys rotate-imported": imported_key,
    "keys remove-imported": imported_key,
    "keys convert": old_value,
}
"""As PREPARE, where the second person had a part in it."""
PREPARE = {
    "fields reencrypt": sealed_lines,
    "keys activate": prepared_version,
    "keys cancel": running_job,
    "keys destroy": to_destroy,
    "keys restore": to_destroy,
    "keys compromise": lambda client, _: {"customers.email": "customers.phone"},
    "keys import": keyset_file,
    "keys approve-import": asked_import,
    "budgets thaw": searched,
    "indexes retire": rotated_index,
    "audit receipt": received,
    "keys retire": lambda client, _: client.keys.rotate(key="customers.email") and {},
    "keys pause": running_job,
    "keys resume": paused_job,
    "fields decrypt": sealed_file,
    "fields mask": sealed_file,
    "fields ingest": value_on_its_way_in,
    "files encrypt": file_to_seal,
    "files decrypt": sealed_scan,
    "access revoke": lambda client, _: {"0123456789AB": client.tokens.create(subject="svc:billing")["handle"]},
    "access ungrant": lambda client, _: {"grt_0198": client.grants.add(member="svc:a", role="role:support")["id"]},
    "access why": lambda client, _: client.grants.add(member="user:local|ana", role="role:support") and {},
    "logs try": lambda _, place: {"/var/log/nginx/access.log": str(place / "access.log")},
    "logs unban": lambda client, _: {"dec_0198": client.decisions.create(value="192.0.2.99")["id"]},
    "audit reveal": lambda client, _: {"17": str(sealed_record(client))},
    "audit erase approve": asked_erasure,
    "subjects forget": lambda client, _: {"u-17": sealed_person(client)},
    "subjects restore": lambda client, _: {"u-17": forgotten_person(client)},
    "audit hold release": lambda client, _: {"hld_0198": client.holds.place(scope="tenant", matter="c-1")["id"]},
    "tokens approve": lambda client, _: {"rvl_0198": asked_reveal(client)},
    "tokens reveal": issued_token,
    "tokens revoke": issued_token,
    "honey remove": lambda client, _: {
        "hny_0198": client.honey.plant_row(field="customers.phone", context={"row": "0"})["id"]
    },
    "run transition": lambda client, _: {"inc_0198": client.incidents.open(title="Down")["id"]},
}
STAGE = {
    "run show": "judge",
    "run timeline": "judge",
    "run decide": "judge",
    "run steer": "judge",
    "run approve": "approve_containment",
    "run refuse": "approve_containment",
    "run answer": "reset_accounts",
    "run skip": "tell_users",
}
SECOND_PERSON = {"run approve", "run refuse", "audit erase approve", "keys approve-import", "keys approve-export"}
SECOND_PERSON |= {"tokens approve"}


def sealed_person(client, subject="u-forget"):
    context = {"row": "1", "subject": subject}
    client.fields.encrypt(items=[{"field": "messages.body", "context": context, "plaintext": "aGk="}])
    return subject


def forgotten_person(client):
    client.subjects.forget(subject=sealed_person(client, "u-restore"))
    return "u-restore"


def variables(dev, place, verb, client, deputy) -> dict[str, str]:
    """The environment of the one who types."""
    path = os.pathsep.join([str(place / "bin"), os.environ.get("PATH", os.defpath)])
    given = {"PATH": path, "GUARD_HOME": str(dev.home)}
    if verb in SECOND_PERSON:
        given |= {"GUARD_URL": deputy.url, "GUARD_TOKEN": deputy.token}
    return environment(**given)


def type_in(dev, place, verb, client, deputy, run_at, kms) -> subprocess.CompletedProcess[bytes]:
    """Type the verb's example."""
    line, env = example(verb), variables(dev, place, verb, client, deputy)
    if verb == "verify":
        evidence(env, place)
    if verb == "audit export":
        shutil.rmtree(place / "evidence", ignore_errors=True)
    replaced = PREPARE[verb](client, place) if verb in PREPARE else {}
    if verb in CUSTODY:
        replaced = CUSTODY[verb](dev, kms)
    replaced |= BY_TWO[verb](client, place, deputy) if verb in BY_TWO else {}
    if verb in STAGE:
        replaced["run_0198"] = run_at(STAGE[verb])
    if verb == "access exchange":
        token = client.tokens.create(subject="user:local|developer", kind="one")["token"]
        replaced |= {"http://127.0.0.1:8420": dev.server.url, "GUARD_TOKEN=...": f"GUARD_TOKEN={token}"}
    for made_up, real in replaced.items():
        assert made_up in line, "the example no longer has what this test replaces"
        line = line.replace(made_up, real)
    return subprocess.run(["sh", "-c", line], cwd=place, env=env, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ELSEWHERE])
def test_an_example_works_as_it_stands(dev, place, client, deputy, run_at, kms, verb):
    done = type_in(dev, place, verb, client, deputy, run_at, kms)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    answer = json.loads(done.stdout)  # no terminal: the output is JSON
    assert answer or verb == "plan lint"
    if verb == "custody seal":  # answered before the keys go, as the one who asks has to hear of it
        until((dev.home / "unseal.json").exists)
    if verb == "custody unseal":
        until(lambda: ready(dev))


def test_what_the_examples_left_behind_is_true(dev, place, client):
    """A few of them once more, with an eye on what they did."""
    sealed_file(client, place)
    shown = dev.json(
        "fields", "decrypt", "customers.email", "billing", "--row", "17", "--file", str(place / "sealed.txt")
    )
    assert shown == {"value": "ana@example.org"}
    masked = dev.json("fields", "mask", "customers.email", "--row", "17", stdin=(place / "sealed.txt").read_bytes())
    assert masked == {"masked": "a****@e******.org"}
    banned = dev.json("logs", "ban", "192.0.2.71", "--seconds", "3600")
    assert dev.json("logs", "check", "192.0.2.71")["decision"] == banned["id"]
    dev.json("logs", "unban", banned["id"])
    assert dev.json("logs", "check", "192.0.2.71")["action"] == "none"


def test_a_value_that_is_no_text_is_shown_without_harm(dev, client):
    item = {"field": "customers.email", "context": {"row": "1"}, "plaintext": base64.b64encode(b"\xff\x00a").decode()}
    sealed = client.fields.encrypt(items=[item])["results"][0]["ciphertext"]
    shown = dev.json("fields", "decrypt", "customers.email", "billing", "--row", "1", stdin=sealed.encode())
    assert shown == {"value": "\\xff\x00a"}


def test_an_export_is_unpacked_below_its_directory_and_verifies(dev, place):
    target = place / "again"
    dev.json("audit", "export", str(target), "--prove", "3", "--as", "admin")
    assert {path.name for path in target.iterdir()} >= {"checkpoint", "tile"}
    report = dev.json("verify", str(target))
    assert report["faults"] == []
    again = dev.run("audit", "export", str(target), "--as", "admin")
    assert again.returncode == 2
    assert "empty or new directory" in json.loads(again.stderr)["detail"]


def test_a_run_goes_from_its_first_to_its_last_step_by_hand(dev, client, deputy):
    """What the runbook asks for, typed verb by verb, by two people."""
    run = dev.json("run", "start", "credential-stuffing", "--mode", "drill", "--input", "__incident__=practice")["run"]
    second = {"GUARD_URL": deputy.url, "GUARD_TOKEN": deputy.token}
    until(lambda: state(client, run, "judge") == "waiting_human")
    dev.json("run", "decide", run, "judge", "contain", "--reason", "log-ins succeeded")
    alone = dev.run("run", "approve", run, "approve_containment")
    assert alone.returncode in {5, 6}
    assert "second person" in json.loads(alone.stderr)["detail"]
    dev.json("run", "approve", run, "approve_containment", variables=second)
    until(lambda: state(client, run, "reset_accounts") == "waiting_human")
    dev.json("run", "answer", run, "reset_accounts", "--form", json.dumps(DONE))
    last = dev.json("run", "answer", run, "tell_users", "--form", '{"personal_data_read": false}')
    assert last["state"] == "completed"
    kinds = [event["type"] for event in dev.json("run", "timeline", run)["data"]]
    assert len(kinds) > 10
