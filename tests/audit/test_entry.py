"""Records, their canonical bodies, and the entries that wrap them."""

import json
from datetime import UTC, datetime

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import entry as audit
from guard.audit.entry import MAX_BODY_BYTES, Record, body, entry, rfc3339, split
from guard.errors import BodyTooLarge, InternalError, InvalidInput, InvalidRequest
from tests.audit.building import T0, TOY_BODY, record, uuid

GOLDEN = (
    b'{"action":"fields.decrypt","actor":{"auth":"token","id":"svc:billing","type":"service"},'
    b'"data":{"count":2,"field":"users.email"},"decision":{"allow":true,"policy":12,"rule":"roles.csv:12"},'
    b'"id":"0197c2a4-5b1c-7def-8a12-000000000007","node":"n1.7","phase":"event","request":{"id":"req_1"},'
    b'"resource":{"id":"fields/users.email"},"result":{"status":"ok"},"salt":"AAAAAAAAAAAAAAAAAAAABw",'
    b'"tenant":"acme","time":"2026-09-21T14:13:20.000007Z","v":1}'
)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
keys = st.text("abcxyz019_", min_size=1, max_size=8)
values = st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | texts
maps = st.dictionaries(
    keys, values | st.lists(values, max_size=3) | st.dictionaries(keys, values, max_size=3), max_size=5
)

HOSTILE = [
    "a\r\nb",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "line\u2028separator\u2029paragraph",
    "\u202eright to left",
    "=1+1|cmd",
    'quote " backslash \\ bracket ]',
    '","n":5}',
    '{"b":{},"n":0}',
    "\ufeffbom",
    "\U0001f600",
    "\x7f\x80\x9f",
]


class TestBody:
    def test_the_golden_body(self):
        assert body(record(7, data={"field": "users.email", "count": 2})) == GOLDEN

    def test_what_is_none_is_left_out(self):
        bare = Record(
            id=uuid(1),
            salt=bytes(16),
            tenant="acme",
            time_us=T0,
            phase="event",
            node="n1.7",
            actor={"id": "nobody", "type": "none", "auth": ""},
            action="sessions.open",
        )
        assert set(json.loads(body(bare))) == {"action", "actor", "id", "node", "phase", "salt", "tenant", "time", "v"}

    def test_every_part_has_its_key(self):
        full = record(
            1,
            phase="outcome",
            intent=uuid(2),
            replay_of=uuid(3),
            trace=TRACE,
            data={"a": 1},
            behalf={"id": "u1", "type": "subject"},
            clock={"sync": True, "off_us": -3},
            hmac={"session": "h"},
            sealed={"email": "c"},
            request={"method": "POST", "route": "/api/v1/fields/{field}/decrypt"},
        )
        written = json.loads(body(full))
        assert written == {
            "action": "fields.decrypt",
            "actor": {"auth": "token", "id": "svc:billing", "type": "service"},
            "behalf": {"id": "u1", "type": "subject"},
            "clock": {"off_us": -3, "sync": True},
            "data": {"a": 1},
            "decision": {"allow": True, "policy": 12, "rule": "roles.csv:12"},
            "hmac": {"session": "h"},
            "id": uuid(1),
            "intent": uuid(2),
            "node": "n1.7",
            "phase": "outcome",
            "replay_of": uuid(3),
            "request": {"method": "POST", "route": "/api/v1/fields/{field}/decrypt"},
            "resource": {"id": "fields/users.email"},
            "result": {"status": "ok"},
            "salt": "AAAAAAAAAAAAAAAAAAAAAQ",
            "sealed": {"email": "c"},
            "tenant": "acme",
            "time": "2026-09-21T14:13:20.000001Z",
            "trace": TRACE,
            "v": 1,
        }
        assert list(written) == sorted(written)

    def test_the_optional_keys_are_the_optional_parts(self):
        optional = {name for name, part in Record.__dataclass_fields__.items() if part.default is None}
        assert optional == set(audit.OPTIONAL)

    @given(maps, texts, st.integers(0, 2**128 - 1))
    @settings(max_examples=150)
    def test_a_body_is_canonical(self, data, node, salt):
        written = body(record(1, data=data, node=node, salt=salt.to_bytes(16, "big")))
        assert rfc8785.dumps(json.loads(written)) == written

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_text_comes_back_as_it_was(self, text):
        written = body(record(1, data={"note": text}))
        assert json.loads(written)["data"]["note"] == text
        assert b"\n" not in written
        assert b"\x00" not in written
        assert split(entry(written, 5)) == (written, 5)

    def test_the_largest_body_and_one_byte_more(self):
        spare = MAX_BODY_BYTES - len(body(record(1, data={"a": ""})))
        assert len(body(record(1, data={"a": "x" * spare}))) == MAX_BODY_BYTES
        with pytest.raises(BodyTooLarge, match="at most 32768 bytes, got 32769"):
            body(record(1, data={"a": "x" * (spare + 1)}))

    def test_the_largest_body_fits_a_bundle_with_the_largest_number(self):
        assert len(entry(b"x" * MAX_BODY_BYTES, 2**53 - 1)) <= 65_535

    @pytest.mark.parametrize("data", [{"a": 1.5}, {"a": 2**53}, {"a": "\ud800"}, {"A": 1}, {"a": {"b": [b""]}}])
    def test_data_outside_the_profile_is_refused(self, data):
        with pytest.raises(InvalidRequest):
            body(record(1, data=data))

    @pytest.mark.parametrize(
        "parts",
        [
            {"id": ""},
            {"id": uuid(1).upper()},
            {"id": uuid(1).replace("-", "")},
            {"id": uuid(1) + "\n"},
            {"salt": b""},
            {"salt": bytes(15)},
            {"salt": bytes(17)},
            {"tenant": ""},
            {"tenant": 'a"b'},
            {"action": ""},
            {"action": 'a"b'},
            {"phase": "Event"},
            {"phase": ""},
            {"phase": "outcome"},
            {"phase": "unknown"},
            {"phase": "late"},
            {"phase": "event", "intent": uuid(2)},
            {"phase": "intent", "intent": uuid(2)},
            {"phase": "outcome", "intent": "2"},
            {"replay_of": "x"},
            {"trace": TRACE.upper()},
            {"trace": TRACE[:-1]},
            {"time_us": -1},
            {"time_us": 253_402_300_800_000_000},
        ],
    )
    def test_a_frame_of_impossible_form_is_a_defect(self, parts):
        with pytest.raises(InternalError):
            body(record(1, **parts))

    @pytest.mark.parametrize(
        ("phase", "intent"),
        [("event", None), ("intent", None), ("outcome", uuid(2)), ("unknown", uuid(2)), ("late", uuid(2))],
    )
    def test_each_phase(self, phase, intent):
        written = json.loads(body(record(1, phase=phase, intent=intent)))
        assert (written["phase"], written.get("intent")) == (phase, intent)

    def test_two_equal_records_differ_by_their_salt(self):
        assert body(record(1)) != body(record(1, salt=b"other 16 bytes.."))

    def test_a_refusal_never_repeats_what_the_record_holds(self):
        with pytest.raises(InvalidRequest) as caught:
            body(record(1, data={"mail": ["alice@example.com", 1.5]}))
        assert "alice" not in caught.value.detail


class TestEntry:
    def test_an_entry_is_body_and_number(self):
        assert entry(TOY_BODY, 812) == b'{"b":{"action":"field.decrypt","v":1},"n":812}'
        assert split(b'{"b":{"action":"field.decrypt","v":1},"n":812}') == (TOY_BODY, 812)

    def test_an_entry_of_a_canonical_body_is_canonical(self):
        whole = entry(body(record(1)), 812)
        assert rfc8785.dumps(json.loads(whole)) == whole

    @given(maps, st.integers(0, 2**53 - 1))
    @settings(max_examples=80)
    def test_body_and_number_come_back(self, data, n):
        written = body(record(1, data=data))
        assert split(entry(written, n)) == (written, n)

    @pytest.mark.parametrize("n", [-1, 2**53])
    def test_a_number_outside_json_is_a_defect(self, n):
        with pytest.raises(InternalError):
            entry(TOY_BODY, n)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{}",
            TOY_BODY,
            b'{"b":[],"n":1}',
            b'{"b":{},"n":01}',
            b'{"b":{},"n":-1}',
            b'{"b":{},"n":1.0}',
            b'{"b":{},"n":9007199254740992}',
            b'{"b":{},"n":1} ',
            b' {"b":{},"n":1}',
            b'{"b":{},"n":1,"x":2}',
            b'{"n":1,"b":{}}',
            b'{"b":{}, "n":1}',
        ],
    )
    def test_other_bytes_are_no_entry(self, data):
        with pytest.raises(InvalidInput, match="Expected an entry"):
            split(data)

    def test_a_line_feed_in_the_body_does_not_hide_the_number(self):
        assert split(b'{"b":{"a":"\n"},"n":3}') == (b'{"a":"\n"}', 3)


class TestTime:
    @pytest.mark.parametrize(
        ("time_us", "text"),
        [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (999_999, "1970-01-01T00:00:00.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_483_228_799_999_999, "2016-12-31T23:59:59.999999Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        ],
    )
    def test_microseconds_in_utc(self, time_us, text):
        assert rfc3339(time_us) == text

    @given(st.integers(0, 253_402_300_799_999_999))
    @settings(max_examples=100)
    def test_the_time_reads_back(self, time_us):
        read = datetime.fromisoformat(rfc3339(time_us))
        since = read - datetime(1970, 1, 1, tzinfo=UTC)
        assert (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds == time_us

    def test_later_is_greater_as_text_too(self):
        times = [rfc3339(T0 + step) for step in (0, 1, 999_999, 1_000_000, 10**12)]
        assert times == sorted(times)
