"""Bodies that were made to hurt: each is a plain 4xx, nothing of them comes back, and nothing becomes a 500."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.api import body as bodies
from guard.catalogue import collect
from guard.errors import BodyTooLarge, GuardError, InvalidRequest, MalformedBody, UnsupportedMedia
from guard.rooms import ROOMS
from tests.api.asking import ask
from tests.api.conftest import LIMIT
from tests.api.test_refusals import PARTS

OPERATIONS = collect(ROOMS)
CANARY = "wanda.canary"
PATHS = {"hot": "/api/v1/fields/encrypt", "writing": "/api/v1/incidents", "external": "/api/v1/events"}
BODIES = {
    "NaN": b'{"wanda.canary":NaN}',
    "Infinity": b'{"wanda.canary":[-Infinity]}',
    "a lone surrogate": b'{"wanda.canary":"\\ud800"}',
    "a lone surrogate as a name": b'{"\\udfff wanda.canary":1}',
    "a surrogate in UTF-8": b'{"wanda.canary":"\xed\xa0\x80"}',
    "bad UTF-8": b'{"wanda.canary":"\xff"}',
    "UTF-16": '{"wanda.canary":1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"wanda.canary":1}',
    "a duplicate member": b'{"wanda.canary":1,"wanda.canary":2}',
    "a duplicate member with blanks": b'{"wanda.canary" : 1, "wanda.canary" : 2}',
    "a duplicate written in two ways": b'{"wanda.canary":1,"\\u0077anda.canary":2}',
    "a duplicate deep inside": b'{"items":[{"wanda.canary":{"a":1,"a":1}}]}',
    "deep arrays": b'{"wanda.canary":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"wanda.canary":' * 50_000 + b"1" + b"}" * 50_000,
    "deep and never closed": b'{"wanda.canary":' + b"[" * 200_000,
    "5,000 digits": b'{"wanda.canary":' + b"7" * 5_000 + b"}",
    "5,000 digits after the point": b'{"wanda.canary":0.' + b"7" * 5_000 + b"}",
    "a huge exponent": b'{"wanda.canary":1e999999}',
    "an unknown member": b'{"wanda.canary":1}',
    "an unknown member with blanks": b'{ "wanda.canary" : 1 }',
    "a member named like Python": b'{"__class__":"wanda.canary"}',
    "a control character": b'{"wanda.canary":"\n"}',
    "NUL": b'{"wanda.canary":"\x00"}',
    "a comment": b'{"wanda.canary":1 /* so */}',
    "a comma too many": b'{"wanda.canary":1,}',
    "single quotes": b"{'wanda.canary':1}",
    "two values": b'{"wanda.canary":1}{}',
    "cut off": b'{"wanda.canary":',
    "text": b'"wanda.canary"',
    "an array": b'["wanda.canary"]',
    "null": b"null",
    "no JSON": b"wanda.canary",
    "an object where text belongs": b'{"title":{"wanda.canary":1},"items":{"wanda.canary":1},"stream":{"wanda.canary":1}}',
    "text where a list belongs": b'{"items":"wanda.canary","title":["wanda.canary"]}',
    "a long text": b'{"title":"' + b"wanda.canary" * 10_000 + b'"}',
    "a thousand mistakes": json.dumps({"items": [{"wanda.canary": n} for n in range(900)]}).encode(),
}
KINDS = {
    "absent": None,
    "text": "text/plain",
    "a form": "application/x-www-form-urlencoded",
    "XML": "application/xml",
    "nearly JSON": "application/jsonp",
    "nonsense": "wanda.canary",
    "a list": "application/json, text/plain",
    "blank": " ",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_hostile_body_is_refused_and_not_repeated(api, hot, path, body):
    for answer in (api("POST", path, body), hot.ask("POST", path, body, token=api.full)):
        assert answer.status in {400, 422}, answer.body[:300]
        assert answer.headers["content-type"] == "application/problem+json"
        assert CANARY.encode() not in answer.all_bytes
        assert b"777777" not in answer.all_bytes
        assert len(answer.body) < 5_000, "an answer does not grow with what was sent"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_another_content_type_is_415(api, hot, path, kind):
    for answer in (api("POST", path, b"{}", kind=kind), hot.ask("POST", path, b"{}", token=api.full, kind=kind)):
        assert (answer.status, answer.code) == (415, "GRD-HTTP-415")
        assert CANARY.encode() not in answer.all_bytes


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON", "application/json;charset=utf-8", "application/a+json"]
)
def test_json_by_any_of_its_names_is_read(api, kind):
    assert api("POST", "/api/v1/censuses", b"{}", kind=kind).status == 200


def test_no_body_at_all_is_an_empty_object_and_needs_no_type(api):
    assert api("POST", "/api/v1/censuses").status == 200
    assert api("POST", "/api/v1/incidents").json["errors"] == [
        {"pointer": "/title", "code": "missing", "message": "This member is required."}
    ]


def test_a_length_that_is_no_number_is_not_believed(api):
    answer = api("POST", "/api/v1/censuses", parts=[b"{}"], headers=[("content-length", "٥" * 30)])
    assert answer.status in {200, 400, 413}


@pytest.mark.parametrize("name", sorted(name for name, one in OPERATIONS.items() if one.path))
def test_every_operation_refuses_an_unknown_member_without_naming_it(api, name):
    item = OPERATIONS[name]
    if item.method == "GET":
        return
    path = item.path.format_map(PARTS)
    answer = api("POST", path, {**item.example, "wanda.canary@example.org": "wanda.canary"})
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")
    assert CANARY.encode() not in answer.all_bytes
    assert [one["code"] for one in answer.json["errors"]] == ["extra_forbidden"]


ENCRYPT, INCIDENT = OPERATIONS["fields.encrypt"], OPERATIONS["incidents.open"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(body=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_request_or_a_plain_refusal(body):
    for operation in (ENCRYPT, INCIDENT):
        try:
            assert isinstance(bodies.parse(operation, body, {}, {}), operation.takes)
        except (MalformedBody, InvalidRequest):
            continue  # and no other exception


@given(value=json_values, blanks=st.booleans(), ascii_only=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_json_is_judged_alike_however_it_is_written(value, blanks, ascii_only):
    try:
        text = json.dumps(value, separators=None if blanks else (",", ":"), ensure_ascii=ascii_only).encode()
        plain = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate has no UTF-8
    assert outcome(text) == outcome(plain)


def outcome(body: bytes):
    try:
        return bodies.parse(INCIDENT, body, {}, {})
    except GuardError as refusal:
        return refusal.code, refusal.extra


@given(member=st.text(max_size=10), first=json_values, second=json_values, blanks=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_duplicate_member_is_never_read(member, first, second, blanks):
    gap = " " if blanks else ""
    name = json.dumps(member)
    body = f"{{{name}:{gap}{json.dumps(first)},{name}:{gap}{json.dumps(second)}}}".encode()
    with pytest.raises(MalformedBody):
        bodies.parse(INCIDENT, body, {}, {})


@given(length=st.integers(0, 3 * LIMIT))
def test_the_limit_is_the_last_length_that_passes(length):
    try:
        bodies.size(length, LIMIT)
        assert length <= LIMIT
    except BodyTooLarge:
        assert length > LIMIT


@given(kind=st.text(max_size=40))
def test_only_names_of_json_pass_as_its_type(kind):
    try:
        bodies.media_type(kind, b"{}")
        assert "json" in kind.lower()
    except UnsupportedMedia:
        assert kind.strip().lower() != "application/json"


@pytest.mark.parametrize("text", ["1", "0001", "9007199254740991", "1" * 16])
def test_a_number_in_a_path_is_a_number(text):
    request = bodies.parse(OPERATIONS["keys.retire"], b"", {"key": "k", "version": text}, {})
    assert request.version == int(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.0", "1e3", "", "one", "1" * 17, "0x1", " 1", "9007199254740992"])
def test_what_is_no_number_in_a_path_is_refused(text):
    with pytest.raises(InvalidRequest):
        bodies.parse(OPERATIONS["keys.retire"], b"", {"key": "k", "version": text}, {})


@pytest.mark.parametrize("number", ["9007199254740992", "9" * 19, "9" * 30, "1" * 5000])
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/audit/records/{}/proof",
        "/api/v1/audit/records?before={}",
        "/api/v1/audit/consistency?first=0&second={}",
        "/api/v1/audit/consistency?first={}&second=1",
    ],
)
def test_a_number_that_no_database_holds_is_refused_at_the_door(api, path, number):
    answer = api("GET", path.format(number))
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")


@pytest.mark.parametrize("number", [2**53, 2**63, 2**64, 10**30])
@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/api/v1/events", {"stream": "shop", "fingerprint": "0" * 16, "offset": None}),
        ("/api/v1/audit/exports", {"prove": [None]}),
        ("/api/v1/decisions", {"value": "192.0.2.1", "seconds": None}),
        ("/api/v1/runs/run_1/commands", {"command_id": "c", "expected_version": None, "type": "pause"}),
        ("/api/v1/runs", {"plan": "credential-stuffing", "inputs": {"__incident__": None}}),
        (
            "/api/v1/fields/encrypt",
            {"items": [{"field": "customers.email", "context": {"row": None}, "plaintext": ""}]},
        ),
    ],
)
def test_a_number_that_no_database_holds_is_no_500_in_a_body_either(api, path, member, number):
    body = json.dumps(member).replace("null", str(number)).encode()
    assert api("POST", path, body).status in {200, 400, 404, 409, 422}


def test_an_unfinished_chunk_of_an_application_is_not_waited_for_after_a_refusal(api):
    answer = ask(api.world.guard.front, "POST", "/api/v1/runs", parts=[b"x" * LIMIT, b"x"], token=api.full)
    assert (answer.status, answer.received) == (413, 2)
