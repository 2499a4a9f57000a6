"""What a record says, and that nothing of a value ever stands in one: canaries sent through every room."""

import base64
import hashlib
import json
import re
import zipfile

import pytest

from guard.catalogue import PLATFORM
from guard.errors import GuardError, Unauthenticated
from tests.vault.shop import EMAIL, PHONE, Shop, Table, b64, item, source_of
from tests.world import WORKER, world

VALUES = ("Canary.One@example.org", "+41-79-555-0199", "canary-identity-4711")
LOG_VALUES = ("203.0.113.77", "canary-account", "canary-path", "canary-agent")
PERSONAL = ("canary-title", "canary-input", "canary-reason", "canary-answer", "canary-note")
LINE = (
    "203.0.113.77 - canary-account [01/Jan/2026:00:00:{:02d} +0000] "
    '"POST /canary-path/login HTTP/1.1" 401 90 "-" "canary-agent"\n'
)


PEER = "198.51.100.23"
STRANGER = "Canary.Stranger@example.org"


def tried(act, *arguments, **request):
    """Refusals are part of the story; their records matter as well."""
    try:
        return act(*arguments, **request)
    except GuardError:
        return None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canaries")
    table = Table(folder / "app.db")
    with world(folder / "home", sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        made.masks = []
        vault_story(made, shop, table)
        detect_story(made)
        runbook_story(made)
        access_story(made)
        privacy_story(made)
        made.call("checkpoints.publish")
        yield made


def vault_story(made, shop, table):
    mail, phone, identity = VALUES
    sealed = {}
    for field, value in ((EMAIL, mail), (PHONE, phone), ("customers.identity_number", identity)):
        sealed[field] = shop.seal(value, field=field)[0]
    table.fill(shop, [mail])
    table.write("INSERT INTO customers (id, email) VALUES (2, ?)", mail)  # a row in clear
    for who, purpose in (("billing", "billing"), ("delivery", "delivery"), ("support", "support")):
        for field, text in sealed.items():
            one = [item(field, "1", ciphertext=text)]
            tried(shop.call, who, "fields.decrypt", purpose=purpose, items=one)
            answer = tried(shop.call, who, "fields.mask", purpose=purpose, items=one)
            if answer:
                made.masks.append(answer["results"][0]["masked"])
    tried(shop.call, "billing", "fields.decrypt", purpose="billing", items=[item(EMAIL, mail, ciphertext=mail)])
    tried(shop.call, "storing", "fields.encrypt", items=[item(EMAIL, "1", plaintext=mail)])
    tried(
        shop.call,
        "storing",
        "fields.encrypt",
        items=[{**item(EMAIL, "1", plaintext=b64(mail)), "context": {mail: "1"}}],
    )
    tried(shop.call, "storing", "fields.encrypt", items=[item(mail, "1", plaintext=b64(mail))])
    for purpose, who in (("store", "storing"), ("support", "support")):
        asked = [{"field": EMAIL, "index": "exact", "value": mail}, {"field": EMAIL, "index": "none", "value": mail}]
        made.tokens = shop.call(who, "indexes.compute", purpose=purpose, items=asked)["results"][0]["tokens"]
    shop.rotate()
    tried(shop.call, "keys", "keys.retire", key=EMAIL, version=1)
    shop.run_job()
    shop.census()


def detect_story(made):
    shipper, analyst = (
        made.hire("acme", "svc:ship", "role:log-shipper"),
        made.hire("acme", "user:local|dora", "role:analyst"),
    )
    text = "".join(LINE.format(second) for second in range(40)) + "canary-path is no line at all\n"
    data = base64.b64encode(text.encode()).decode()
    made.call("logs.try", shipper, data=data)
    made.call("events.push", shipper, stream="web", fingerprint="ab" * 16, offset=0, data=data, end=True)
    for name in ("alerts.list", "decisions.list", "events.streams"):
        made.call(name, analyst)
    made.call("events.rejects", analyst, stream="web")
    made.call("decisions.create", analyst, value="203.0.113.77", seconds=600, reason="canary-reason")
    made.call("decisions.create", analyst, value="canary-account", scope="User", seconds=600)
    made.call("decisions.check", analyst, value="canary-account")
    tried(made.call, "decisions.create", analyst, value="canary-account", scope="Ip", seconds=600)


def runbook_story(made):
    chief = made.hire("acme", "user:local|carla", "role:commander")
    incident = made.call("incidents.open", chief, title="canary-title", rule="r", entity="canary-account")
    inputs = {"__region__": "canary-input", "__target__": "canary-input", "__incident__": incident.id}
    run = made.call("runs.start", chief, plan="region-outage", incident=incident.id, mode="drill", inputs=inputs)
    made.call("incidents.transition", chief, incident=incident.id, to="declared", reason="canary-reason")
    for number, kind in enumerate(("answer", "decide", "give_up", "skip", "pause", "abort")):
        seen = made.call("runs.read", chief, run=run.run)
        tried(
            made.call,
            "runs.command",
            chief,
            run=run.run,
            command_id=f"c-{number}",
            expected_version=seen.version,
            type=kind,
            step=seen.steps[-1].step,
            answer={"note": "canary-answer"},
            reason="canary-reason",
        )
    tried(made.call, "plans.lint", chief, text="canary-note: [")


def access_story(made):
    root = made.hire(PLATFORM, "user:local|root", "role:platform-admin")
    minted = made.call("tokens.create", root, subject="svc:x", tenant="acme", note="canary-note")
    made.call("tenants.create", root, tenant="initech", title="canary-title")
    made.secret = minted.token
    made.call("tokens.revoke", root, handle=minted.handle, tenant="acme")


def privacy_story(made):
    """Addresses of strangers, and a person whom only the log knows."""
    officer, counsel = (
        made.hire("acme", "user:local|olga", "role:privacy-officer", "role:auditor"),
        made.hire("acme", "user:local|lea", "role:legal"),
    )
    operation = made.gate.operations["records.list"]
    unit = made.gate.refused(operation, Unauthenticated("no"), "test-peer", peer=PEER)
    with pytest.raises(Unauthenticated):
        made.guard.pipeline.wait(unit)
    made.call("records.list", officer, actor=STRANGER)
    hold = made.call("holds.place", counsel, scope="subject", subject=STRANGER, matter="case-1")
    tried(made.call, "erasures.request", officer, subject=STRANGER, reason="canary-reason")
    for who in (officer, counsel):
        made.call("holds.release", who, hold=hold.id, reason="canary-reason")
    erasure = made.call("erasures.request", officer, subject=STRANGER, reason="canary-reason")
    made.call("erasures.approve", counsel, erasure=erasure.id)
    made.archive = exported(made)


def exported(made):
    """The bytes of every member of an export."""
    made.call("checkpoints.publish")
    root = made.hire(PLATFORM, "user:local|exporter", "role:auditor")
    path = made.call("exports.download", root, export=made.call("exports.create", root).id).path
    with zipfile.ZipFile(path) as archive:
        return b"\n".join(archive.read(name) for name in archive.namelist())


def bodies(place):
    with place.guard.store.read() as tx:
        rows = tx.exec_driver_sql("SELECT entry FROM audit_entries ORDER BY idx").scalars()
        return [bytes(row) for row in rows]


def shapes(value):
    """The forms in which a value could hide in a record."""
    raw = value.encode()
    digest = hashlib.sha256(raw).digest()
    yield from (raw, raw.lower(), raw.upper(), raw.hex().encode(), digest.hex().encode())
    yield from (base64.b64encode(one).rstrip(b"=") for one in (raw, digest))
    yield from (base64.urlsafe_b64encode(one).rstrip(b"=") for one in (raw, digest))
    yield hashlib.sha256(raw.lower()).hexdigest().encode()


@pytest.mark.parametrize("value", [*VALUES, *LOG_VALUES, *PERSONAL, PEER, STRANGER])
def test_no_value_stands_in_a_record_in_any_form(place, value):
    whole = b"\n".join(bodies(place))
    assert [shape for shape in shapes(value) if shape in whole] == []


@pytest.mark.parametrize("value", [*VALUES, *LOG_VALUES, *PERSONAL, PEER, STRANGER])
def test_no_value_stands_in_an_export_in_any_form(place, value):
    assert b'"action":"erasures.approve"' in place.archive
    assert [shape for shape in shapes(value) if shape in place.archive] == []


def test_a_dictionary_of_all_addresses_of_a_network_finds_none(place):
    """A17: whoever has bodies, tiles and files, and no key, hashes every address that could have been meant."""
    haystack = place.archive + b"".join(path.read_bytes() for path in place.home.rglob("*") if path.is_file())
    words = set(re.findall(rb"[A-Za-z0-9_-]{43}|[0-9a-f]{64}", haystack))
    for last in range(256):
        for address in (f"198.51.100.{last}", f"203.0.113.{last}"):
            for digest in digests(address):
                assert digest not in haystack, "a plain digest of an address is in the log"
                assert not {digest.hex().encode(), base64.urlsafe_b64encode(digest).rstrip(b"=")} & words


def digests(value):
    """What a careless log would hold: digests of the raw text and of JSON, with the prefixes of the tree."""
    for raw in (value.encode(), json.dumps(value).encode()):
        for text in (raw, b"\x00" + raw, b"\x01" + raw, b"\x02" + raw, b"\x02" + bytes(32) + raw):
            yield hashlib.sha256(text).digest()


def test_neither_masks_nor_search_tokens_nor_api_tokens_stand_in_a_record(place):
    whole = b"\n".join(bodies(place))
    found = [*place.masks, *(one["token"] for one in place.tokens), place.secret]
    assert len(found) >= 4
    assert [text for text in found if f'"{text}"'.encode() in whole] == []


@pytest.mark.parametrize("value", VALUES)
def test_no_value_of_a_field_stands_anywhere_in_guards_files(place, value):
    raw = b"".join(path.read_bytes() for path in place.home.rglob("*") if path.is_file())
    assert [shape for shape in shapes(value) if shape in raw] == []


COUNTS = {
    "items",
    "failed",
    "values",
    "columns",
    "rows",
    "changed",
    "keys",
    "index_keys",
    "lines",
    "strict",
    "lenient",
} | {
    *("rejected", "matched", "repeated", "late", "alerts", "decisions", "spared", "incidents", "findings"),
    *("occurrences", "size", "more_resources", "passes"),
}
NAMES = {
    "manifest",
    "erasure",
    "export",
    "hold",
    "pseudonym",
    "sealed",
    "opened",
    "state",
    "decision",
    "incident",
    "run",
    "handle",
    "origin",
    "receipts",
    "version",
    "allow",
}


def test_a_record_holds_what_its_operation_declares_and_facts_of_fixed_kinds(place):
    seen = set()
    for raw in bodies(place):
        body = json.loads(raw)["b"]
        action = place.gate.operations[body["action"]]
        data = body.get("data") or {}
        seen.add(action.name)
        if action.name == "log.created":  # the public keys of the log, and limits that are numbers
            assert set(data) <= {"origin", "vkeys", "limits", "reason", "second"}
            assert all(type(number) is int for number in data["limits"].values())
            continue
        assert set(data) <= set(action.audit) | COUNTS | NAMES, action.name
        for name, value in data.items():
            if name == "failed" and isinstance(value, dict):
                assert all(type(number) is int for number in value.values())
            elif name in COUNTS - set(action.audit):
                assert type(value) is int, (action.name, name)
            else:
                assert type(value) in {str, int, bool}, (action.name, name)
                assert len(str(value)) <= 128
    assert len(seen) >= 28


def test_every_record_names_who_what_and_how_it_ended(place):
    known = {"action", "actor", "data", "decision", "id", "intent", "node", "phase", "request", "resource", "result"}
    for raw in bodies(place):
        body = json.loads(raw)["b"]
        assert set(body) <= known | {"salt", "sealed", "tenant", "time", "v"}
        assert set(body["actor"]) == {"id", "type", "auth"}
        assert body["result"]["status"] in {"ok", "refused", "unknown"}
        assert (body["result"]["status"] == "refused") == ("code" in body["result"])
        assert body["request"]["id"].startswith(("test-", "start", "beat_"))


def test_a_refusal_holds_the_code_and_not_the_sentence(place):
    refused = [json.loads(raw)["b"] for raw in bodies(place)]
    refused = [body for body in refused if body["result"]["status"] == "refused"]
    assert {body["result"]["code"] for body in refused} >= {"GRD-AUTHZ-001", "GRD-CRYPT-004", "GRD-KEY-002"}
    assert all(set(body["result"]) == {"status", "code"} for body in refused)


def test_equal_acts_have_different_bodies_so_that_hashes_tell_nothing(place):
    ana = place.hire("acme", "user:local|ana", "role:support")
    before = place.guard.log.size
    for _ in range(20):
        place.call("actors.whoami", ana)
    made = bodies(place)[before:]
    assert len({json.loads(raw)["b"]["salt"] for raw in made}) == 20
    assert len({json.loads(raw)["b"]["id"] for raw in made}) == 20


def test_guards_own_acts_are_told_by_their_own_names(place):
    assert place.call("checkpoints.latest", place.hire(PLATFORM, "user:local|a", "role:auditor")).size > 0
    actors = {json.loads(raw)["b"]["actor"]["id"] for raw in bodies(place)}
    assert WORKER.subject in actors
