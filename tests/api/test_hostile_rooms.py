"""Hostile members for the operations on persons, custody and ingestion: typed 4xx, nothing repeated, nothing changed."""

import base64
import json
import sqlite3

import pytest

from guard.catalogue import collect
from guard.rooms import ROOMS

CANARY = "wanda.canary"
ROUTED = {name: item for name, item in collect(ROOMS).items() if item.path and item.method == "POST"}
PERSONS = ("forget", "report", "export", "restore")
HELD = "u-held"
ITEM = {"field": "messages.body", "context": {"row": "1", "subject": HELD}, "plaintext": "aGk="}
INGEST = "customers.identity_number"
TABLES = ("subject_deks", "forget_requests", "seal_slots", "seal_requests", "key_versions", "secrets")
NO_PERSON = {
    "empty": "",
    "null": None,
    "a number": 7,
    "a boolean": True,
    "a list": [CANARY],
    "an object": {CANARY: CANARY},
    "too long": CANARY * 20,
}
NO_NAME = {
    "empty": "",
    "null": None,
    "a number": 7,
    "capitals": "Wanda.Canary",
    "a path": "../wanda.canary",
    "blank": " wanda.canary",
    "NUL": "wanda.canary\x00",
    "a line": "wanda.canary\n",
    "too long": CANARY * 20,
    "a list": [CANARY],
}
NO_MAP = {
    "null": None,
    "a list": [CANARY],
    "text": CANARY,
    "a number inside": {"threshold": 2},
    "null inside": {"threshold": None},
    "an object inside": {"threshold": {CANARY: CANARY}},
    "a name that is none": {"Wanda Canary": "1"},
    "too many": {f"{CANARY}{number}": "1" for number in range(13)},
    "too long": {"threshold": CANARY * 2000},
}
NO_ITEMS = {
    "none": [],
    "null": None,
    "an object": {CANARY: 1},
    "null inside": [None],
    "text inside": [CANARY],
    "too many": [{"field": INGEST, "context": {"row": "1"}, "ciphertext": "gd1.AAAA"}] * 1001,
    "no field": [{"context": {"row": "1"}, "ciphertext": CANARY}],
    "a field that is none": [{"field": "Wanda.Canary", "context": {"row": "1"}, "ciphertext": CANARY}],
    "a ciphertext that is a number": [{"field": INGEST, "context": {"row": "1"}, "ciphertext": 7}],
    "a plaintext beside it": [{"field": INGEST, "context": {}, "ciphertext": CANARY, "plaintext": CANARY}],
}


@pytest.fixture(scope="module")
def held(api):
    """The api, with one person under whose key something is sealed, and what the tables hold then."""
    answer = api("POST", "/api/v1/fields/encrypt", {"items": [ITEM]})
    assert "ciphertext" in answer.json["results"][0]
    return api


def kept(api):
    """Every row that an operation on keys, persons or slots could change."""
    with sqlite3.connect(api.world.home / "guard.db") as database:
        found = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return {name: sorted(map(repr, database.execute(f"SELECT * FROM {name}"))) for name in TABLES if name in found}


def refused(api, path, body, *, statuses=(422,), token=None):
    """One call that changes nothing and whose answer holds nothing of it."""
    before = kept(api)
    answer = api("POST", path, body, token=token or api.full)
    assert answer.status in statuses, answer.body[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    assert CANARY.encode() not in answer.all_bytes
    assert len(answer.body) < 5_000
    assert kept(api) == before
    return answer


def test_the_tables_that_are_compared_are_there(held):
    assert {"subject_deks", "seal_slots", "key_versions", "secrets"} <= set(kept(held))
    assert kept(held)["subject_deks"]


@pytest.mark.parametrize("verb", PERSONS)
@pytest.mark.parametrize("subject", NO_PERSON.values(), ids=NO_PERSON.keys())
def test_what_is_no_person_is_refused(held, verb, subject):
    answer = refused(held, f"/api/v1/subjects/{verb}", {"subject": subject})
    assert {one["pointer"] for one in answer.json["errors"]} == {"/subject"}


@pytest.mark.parametrize("verb", PERSONS)
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("tenant", "../acme"),
        ("tenant", ""),
        ("tenant", None),
        ("tenant", 7),
        ("reason", CANARY * 200),
        ("reason", None),
        ("reason", [CANARY]),
    ],
)
def test_members_beside_the_person(held, verb, member, value):
    refused(held, f"/api/v1/subjects/{verb}", {"subject": HELD, member: value})


@pytest.mark.parametrize(
    ("verb", "member", "value"),
    [
        *[("forget", "at_once", value) for value in ("yes", "true", 1, 0, None, [True], 2)],
        *[("export", "limit", value) for value in (0, -1, 5001, "10", 1.5, True, None, 2**53, 2**64)],
        *[("export", "cursor", value) for value in (None, 7, ["0", ""], CANARY * 50)],
        *[("report", "limit", value) for value in (1, CANARY)],
    ],
)
def test_members_of_one_operation(held, verb, member, value):
    refused(held, f"/api/v1/subjects/{verb}", {"subject": HELD, member: value})


@pytest.mark.parametrize(
    "cursor",
    [
        "0",
        '[-1, ""]',
        '[1, ""]',
        '[true, ""]',
        "null",
        "{}",
        '[0, "9"',
        '[0.5, "9"]',
        '[-1, "9"]',
        '[1e99, "9"]',
        "[[[[",
        '["\x00"]',
    ],
)
def test_a_cursor_that_nobody_gave_is_refused(held, cursor):
    refused(held, "/api/v1/subjects/export", {"subject": HELD, "cursor": cursor})


@pytest.mark.parametrize("verb", ["forget", "restore"])
@pytest.mark.parametrize(
    "subject",
    ["stranger", "u-held ", "U-HELD", "u-held\x00", "u\u2010held", "u-hel\u0064\u0301", "%75-held", "\u202eu"],
)
def test_a_person_who_is_nearly_the_one_is_another_one(held, verb, subject):
    """Nothing is folded, cut or decoded: who is forgotten is who was named."""
    refused(held, f"/api/v1/subjects/{verb}", {"subject": subject}, statuses=(404, 422))


@pytest.mark.parametrize(
    "context",
    [
        {"row": "1"},
        {"row": "1", "subject": ""},
        {"row": "1", "subject": None},
        {"row": "1", "subject": "x" * 201},
        {"row": "1", "subject": "u", "tenant": "globex"},
        {"subject": "u-new"},
        {},
    ],
)
def test_a_value_that_names_nobody_makes_no_key(held, context):
    before = kept(held)
    answer = held("POST", "/api/v1/fields/encrypt", {"items": [ITEM | {"context": context}]})
    assert answer.status in {200, 422}
    if answer.status == 200:
        [result] = answer.json["results"]
        assert result["problem"]["code"] == "GRD-CRYPT-003"
        assert "ciphertext" not in result
    assert kept(held) == before


@pytest.mark.parametrize("path", ["/api/v1/custody/slots", "/api/v1/custody/slots/file-1/move"])
@pytest.mark.parametrize("plugin", NO_NAME.values(), ids=NO_NAME.keys())
def test_what_is_no_plugin_is_refused(held, path, plugin):
    refused(held, path, {"plugin": plugin}, token=held.platform)


@pytest.mark.parametrize("plugin", ["os", "subprocess", "custody", "__init__", "aws_kms.py", "...", "a.b", "vault"])
def test_the_name_of_a_module_is_no_plugin(held, plugin):
    answer = refused(held, "/api/v1/custody/slots", {"plugin": plugin}, token=held.platform)
    assert answer.code in {"GRD-VAL-001", "GRD-CONF-002"}


@pytest.mark.parametrize("member", ["options", "secrets"])
@pytest.mark.parametrize("value", NO_MAP.values(), ids=NO_MAP.keys())
def test_what_is_no_map_of_texts_is_refused(held, member, value):
    refused(held, "/api/v1/custody/slots", {"plugin": "shares", member: value}, token=held.platform)


@pytest.mark.parametrize(
    ("plugin", "options", "secrets"),
    [
        *[("shares", {"threshold": text, "count": "5"}, {}) for text in ("0", "1", "-1", "6", "2.5", " ", "²", "1e1")],
        *[("slip39", {"threshold": "2", "count": text}, {}) for text in ("1", "17", "99999999999", "0x3", " ", CANARY)],
        *[("passphrase", {}, {"passphrase": text}) for text in ("", " " * 40, "short", "eleven char")],
        ("passphrase", {}, {"passphrase": CANARY, "shares": CANARY}),
        ("passphrase", {"passphrase": CANARY + CANARY}, {}),
        ("file", {}, {"passphrase": CANARY + CANARY}),
        ("transit", {"address": "file:///etc/passwd", "key": "k", "token_file": "/dev/null"}, {}),
        ("transit", {"address": "http://192.0.2.1", "key": "k", "token_file": "/dev/null"}, {}),
        ("transit", {"address": "https://a b", "key": "../sys/seal", "token_file": "/dev/null"}, {}),
        ("gcp_kms", {"key": CANARY, "address": "http://127.0.0.1:9", "token_file": "/dev/null"}, {}),
        ("azure_kv", {"key": "http://127.0.0.1:9/" + CANARY, "token_file": "/nonexistent"}, {}),
        ("pkcs11", {"library": "/nonexistent.so", "token": "t", "pin_file": "/nonexistent", "key": "k"}, {}),
    ],
)
def test_slots_that_nobody_could_mean(held, plugin, options, secrets):
    body = {"plugin": plugin, "options": options, "secrets": secrets}
    refused(held, "/api/v1/custody/slots", body, statuses=(422, 503), token=held.platform)


@pytest.mark.parametrize("verb", ["approve", "remove", "move"])
@pytest.mark.parametrize("slot", ["absent-1", "..%2Ffile-1", "FILE-1", "file-1%00", "file%2D2", "%20", "a" * 65])
def test_a_slot_that_is_not_there(held, verb, slot):
    body = {"plugin": "passphrase", "secrets": {"passphrase": "a passphrase of the tests"}} if verb == "move" else {}
    refused(held, f"/api/v1/custody/slots/{slot}/{verb}", body, statuses=(404, 422), token=held.platform)


@pytest.mark.parametrize("items", NO_ITEMS.values(), ids=NO_ITEMS.keys())
def test_what_is_no_batch_is_not_taken_in(held, items):
    refused(held, "/api/v1/fields/ingest", {"items": items})


def text_of(raw: bytes) -> str:
    return "gd1." + base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize(
    "ciphertext",
    [
        "",
        "gd1.",
        "gd1.A",
        "gd1.====",
        "gd2." + "A" * 200,
        "vault:v1:" + "A" * 200,
        text_of(bytes(16)),
        text_of(bytes(48)),
        text_of(b"\xff" * 16 + bytes(1200)),
        text_of(bytes(16)) + "=",
        "gd1." + "A" * 500 + "\n",
        "gd1." + "é" * 100,
    ],
)
def test_what_is_no_sealed_value_is_a_problem_in_its_place_and_spoils_no_other(held, ciphertext):
    before = kept(held)
    item = {"field": INGEST, "context": {"row": "1"}, "ciphertext": ciphertext}
    answer = held("POST", "/api/v1/fields/ingest", {"items": [item] * 3})
    assert answer.status in {200, 422}
    if answer.status == 200:
        assert len(answer.json["results"]) == 3
        assert {one["problem"]["code"][:9] for one in answer.json["results"]} <= {"GRD-CRYPT", "GRD-STORE"}
    assert kept(held) == before


@pytest.mark.parametrize("field", ["absent.field", "customers.email", "Customers.Email", "a", "..%2F..%2Fx.y", "%00.a"])
def test_a_field_that_takes_nothing_in_has_no_key_to_show(held, field):
    answer = held("GET", f"/api/v1/fields/{field}/ingest_key")
    assert answer.status in {403, 404, 422}
    assert b"public_key" not in answer.body


@pytest.mark.parametrize(
    "name", sorted(one for one in ROUTED if one.startswith(("subjects.", "custody.", "fields.ing")))
)
@pytest.mark.parametrize("value", [None, [], {}, -1, 2**70, 1e300, "\x00", "\ud7ff", "x" * 100_000, [[[]]]])
def test_no_member_of_any_of_them_is_a_500(held, name, value):
    """Each member of the request in turn holds something that does not belong there."""
    item = ROUTED[name]
    path = item.path.format_map({"slot": "absent-1"})
    for member in item.takes.model_fields:
        body = json.dumps(dict(item.example) | {member: value})
        answer = held("POST", path, body.encode(), token=held.full)
        assert answer.status in {200, 403, 404, 409, 410, 422}, (member, answer.body[:300])
