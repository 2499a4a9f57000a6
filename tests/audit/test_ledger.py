"""What the verifier demands of the records themselves: form, numbers and pairs, each fault with its index."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit.entry import body, entry
from guard.audit.verifier import ledger as verifier
from guard.audit.verifier import shapes
from guard.audit.verifier.command import verify
from guard.audit.verifier.report import Report
from tests.audit.building import Plan, numbered, record, uuid, write

GOOD = entry(body(record(0)), 0)
ALIKE = [entry(body(record(0)), n) for n in range(3)]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_1", min_size=1), inner, max_size=3),
    max_leaves=6,
)


def faults_of(entries, since=0):
    """The faults of a ledger that reads these entries, without files."""
    report = Report("log")
    report.counts["since"] = since
    ledger = verifier.Ledger(report)
    ledger.read(entries, range(len(entries)), "bundle")
    return [(fault.at, fault.detail) for fault in report.faults]


def pairs(*steps):
    """Entries of (number, phase, intent)."""
    return numbered(
        record(number, phase=phase, intent=None if intent is None else uuid(intent)) for number, phase, intent in steps
    )


class TestForm:
    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"\xff",
            b"null",
            b"[]",
            b"{}",
            b'{"b":{},"n":0}',
            b'{"b":[],"n":0}',
            b'{"b":{"action":"field.decrypt","v":1},"n":0}',
            GOOD + b"\n",
            b" " + GOOD,
            GOOD.replace(b'"n":0', b'"n":-1'),
            GOOD.replace(b'"n":0', b'"n":0.0'),
            GOOD.replace(b'"n":0', b'"n":00'),
            GOOD.replace(b'"n":0', b'"n":"0"'),
            GOOD.replace(b'"n":0', b'"n":true'),
            GOOD.replace(b'"n":0', b'"n":0,"x":1'),
            GOOD.replace(b'"n":0', b'"n": 0'),
            GOOD.replace(b'"v":1', b'"v":2'),
            GOOD.replace(b'"v":1', b'"v":true'),
            GOOD.replace(b'"v":1', b'"v":1.0'),
            GOOD.replace(b',"v":1', b""),
            GOOD.replace(b'"id":"0197', b'"id":"0197X'),
            GOOD.replace(b'"id":"0197c2a4', b'"id":"0197C2A4'),
            GOOD.replace(b'"phase":"event"', b'"phase":"Event"'),
            GOOD.replace(b'"phase":"event"', b'"phase":null'),
            GOOD.replace(b'"salt":"AA', b'"salt":"A'),
            GOOD.replace(b'"salt":"AA', b'"salt":"+A'),
            GOOD.replace(b'"tenant":"acme"', b'"tenant":""'),
            GOOD.replace(b'"tenant":"acme"', b'"tenant":7'),
            GOOD.replace(b'"tenant":"acme",', b""),
            GOOD.replace(b".000000Z", b"Z"),
            GOOD.replace(b".000000Z", b".000000z"),
            GOOD.replace(b".000000Z", b".000000+00:00"),
            GOOD.replace(b'"action":"fields.decrypt"', b'"action":""'),
            GOOD.replace(b'"policy":12', b'"policy":12.5'),
            GOOD.replace(b'"policy":12', b'"policy":1e2'),
            GOOD.replace(b'"policy":12', b'"policy":NaN'),
            GOOD.replace(b'"policy":12', b'"policy":012'),
            GOOD.replace(b'"policy":12', b'"policy":-0'),
            GOOD.replace(b'"policy":12', b'"policy":12,"policy":12'),
            GOOD.replace(b'"policy":12,"rule"', b'"rule":"","policy"'),
            GOOD.replace(b"svc:billing", b"svc\nbilling"),
            GOOD.replace(b"svc:billing", b"svc\x00billing"),
            GOOD.replace(b"svc:billing", b"svc\\/billing"),
            GOOD.replace(b"svc:billing", b"svc\\u0041billing"),
            GOOD.replace(b"svc:billing", b"svc\\ud800billing"),
            GOOD.replace(b"svc:billing", b"svc\xed\xa0\x80billing"),
            GOOD.replace(b"svc:billing", b"svc\xc0\xafbilling"),
            GOOD.replace(b'"policy":12', b'"policy":' + b"[" * 5000 + b"]" * 5000),
        ],
    )
    def test_another_form_is_a_fault_also_after_its_shape_was_learned(self, raw):
        for known in range(4):  # parsed, then taken by a shape, then by a mould
            entries = [*ALIKE[:known], raw]
            found = [at for at, _ in faults_of(entries, since=1)]
            assert found == [len(entries) - 1]

    def test_a_fault_names_what_to_look_at(self):
        raw = GOOD.replace(b'"v":1', b'"v":2').replace(b'"salt":"AA', b'"salt":"A')
        assert faults_of([raw]) == [(0, "entry 0: a record of version 1 was expected; look at v, salt")]

    @given(values, st.sampled_from(["event", "intent"]), texts)
    @settings(max_examples=120)
    def test_every_record_that_guard_writes_is_accepted(self, value, phase, node):
        data = {"value": value}
        entries = numbered([record(0, phase=phase, data=data), record(1, node=node), record(2, data=data)])
        assert faults_of(entries) == []

    @given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
    @settings(max_examples=300)
    def test_a_learned_shape_takes_nothing_that_the_parser_refuses(self, at, byte):
        raw = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
        seen = [faults_of([*ALIKE[:known], raw], since=1) for known in range(4)]
        forms = [[detail.partition(": ")[2] for _, detail in found if "is missing" not in detail] for found in seen]
        assert forms == [forms[0]] * 4

    @pytest.mark.parametrize("name", ["trace", "replay_of", "behalf", "hmac", "sealed", "clock"])
    def test_the_rarer_parts_are_accepted(self, name):
        value = {
            "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
            "replay_of": uuid(9),
            "behalf": {"id": "u"},
            "hmac": {"session": "x"},
            "sealed": {"mail": "y"},
            "clock": {"sync": False, "off_us": -1},
        }[name]
        assert faults_of(numbered([record(0, **{name: value}), record(1, **{name: value})])) == []

    def test_more_shapes_than_are_remembered_are_parsed(self):
        entries = numbered(record(n, data={f"k{n}": n}) for n in range(40))
        assert faults_of(entries) == []
        report = Report("log")
        ledger = verifier.Ledger(report)
        ledger.read(entries, range(len(entries)), "bundle")
        assert [len(known) for known in ledger.shapes.by_action.values()] == [shapes.MAX_SHAPES]

    def test_more_actions_than_are_remembered_are_parsed(self):
        entries = numbered(record(n, action=f"a.n{n}", data={f"k{n % 2}": n}) for n in range(shapes.MAX_ACTIONS + 20))
        report = Report("log")
        ledger = verifier.Ledger(report)
        ledger.read(entries, range(len(entries)), "bundle")
        assert report.faults == []
        assert len(ledger.shapes.by_action) == shapes.MAX_ACTIONS


class TestNumbers:
    def test_numbers_start_at_0_in_each_tenant(self):
        assert faults_of(numbered([record(0), record(1, tenant="b"), record(2), record(3, tenant="b")])) == []
        assert faults_of([entry(body(record(0)), 1)]) == [
            (0, "entry 0 has number 1 of acme, not 0: a record is missing")
        ]

    def test_a_gap_is_named_once_with_its_place(self):
        entries = [entry(body(record(number)), number) for number in (0, 1, 3, 4)]
        assert faults_of(entries) == [(2, "entry 2 has number 3 of acme, not 2: a record is missing")]

    @pytest.mark.parametrize("numbers", [(0, 0), (0, 1, 1), (1, 0), (0, 2, 1)])
    def test_a_number_twice_or_out_of_order_is_named(self, numbers):
        entries = [entry(body(record(at)), number) for at, number in enumerate(numbers)]
        assert faults_of(entries)

    def test_a_tenant_whose_first_records_are_gone(self):
        entries = [entry(body(record(0)), 0), entry(body(record(1, tenant="b")), 5)]
        assert [at for at, _ in faults_of(entries)] == [1]

    def test_an_incremental_run_takes_the_first_number_as_it_is(self):
        entries = [entry(body(record(number)), number) for number in (41, 42, 44)]
        assert [at for at, _ in faults_of(entries, since=7)] == [2]

    @given(st.lists(st.sampled_from("abc"), max_size=40))
    @settings(max_examples=50)
    def test_any_mixture_of_tenants_is_dense(self, tenants):
        assert faults_of(numbered(record(n, tenant=tenant) for n, tenant in enumerate(tenants))) == []


NOT_LOGGED, SECOND, NAMING = "which was not logged before it", "second outcome", "must name an intent"


class TestPairs:
    @pytest.mark.parametrize(
        "steps",
        [
            [(0, "intent", None), (1, "outcome", 0)],
            [(0, "intent", None), (1, "unknown", 0)],
            [(0, "intent", None), (1, "unknown", 0), (2, "late", 0)],
            [(0, "intent", None), (1, "intent", None), (2, "outcome", 1), (3, "outcome", 0)],
            [(0, "intent", None), (1, "event", None), (2, "outcome", 0)],
            [(0, "intent", None)],
        ],
    )
    def test_good_pairs(self, steps):
        assert faults_of(pairs(*steps)) == []

    @pytest.mark.parametrize(
        ("steps", "at", "text"),
        [
            ([(0, "event", None), (1, "outcome", 0)], 1, NOT_LOGGED),
            ([(0, "outcome", 7)], 0, NOT_LOGGED),
            ([(0, "unknown", 7)], 0, NOT_LOGGED),
            ([(0, "late", 7)], 0, NOT_LOGGED),
            ([(0, "outcome", 1), (1, "intent", None)], 0, NOT_LOGGED),
            ([(0, "intent", None), (1, "outcome", 0), (2, "outcome", 0)], 2, SECOND),
            ([(0, "intent", None), (1, "outcome", 0), (2, "unknown", 0)], 2, SECOND),
            ([(0, "intent", None), (1, "unknown", 0), (2, "outcome", 0)], 2, SECOND),
            ([(0, "intent", None), (1, "unknown", 0), (2, "late", 0), (3, "outcome", 0)], 3, SECOND),
        ],
    )
    def test_bad_pairs(self, steps, at, text):
        found = faults_of(pairs(*steps))
        assert [one for one, _ in found] == [at]
        assert text in found[0][1]

    @pytest.mark.parametrize("phase", ["outcome", "unknown", "late"])
    def test_a_closing_record_without_an_intent(self, phase):
        raw = GOOD.replace(b'"phase":"event"', f'"phase":"{phase}"'.encode())
        for entries in ([raw], [GOOD, raw.replace(b'"n":0', b'"n":1')]):
            assert NAMING in faults_of(entries)[-1][1]

    @pytest.mark.parametrize("phase", ["event", "intent"])
    def test_an_opening_record_with_an_intent(self, phase):
        raw = GOOD.replace(b',"node"', f',"intent":"{uuid(5)}","node"'.encode())
        raw = raw.replace(b'"phase":"event"', f'"phase":"{phase}"'.encode())
        assert NAMING in faults_of([raw])[0][1]

    @pytest.mark.parametrize("intent", [b"null", b"7", b'"x"', b'""'])
    def test_an_intent_that_is_no_uuid(self, intent):
        raw = GOOD.replace(b',"node"', b',"intent":' + intent + b',"node"')
        assert faults_of([raw]) == [(0, "entry 0: a record of version 1 was expected; look at intent")]

    def test_an_incremental_run_does_not_know_earlier_intents(self):
        entries = pairs((1, "outcome", 0), (2, "outcome", 0))
        assert [at for at, _ in faults_of(entries, since=3)] == [1]

    def test_faults_come_with_bundle_and_index_from_a_whole_log(self, tmp_path):
        steps = [(number, "event", None) for number in range(300)]
        entries = pairs(*steps[:290], (290, "outcome", 1), *steps[291:])
        report = verify(write(tmp_path, Plan(entries).parts()))
        assert [(fault.path, fault.at) for fault in report.faults] == [("tile/entries/001.p/44", 290)]


class TestText:
    @pytest.mark.parametrize(
        "text", ["a\r\nb", "\x00", "\u2028\u2029", "\x1b[2J", '","n":5}', "\U0001f600", "\x7f", "é"]
    )
    def test_any_text_verifies_in_a_whole_log(self, tmp_path, text):
        entries = numbered([record(0), record(1, data={"note": text}, node=text), record(2)])
        report = verify(write(tmp_path, Plan(entries, proofs=(1,)).parts()))
        assert (report.faults, report.counts["records"]) == ([], 3)
        assert json.loads(entries[1])["b"]["data"]["note"] == text

    def test_what_an_attacker_wrote_cannot_forge_a_line(self):
        raw = entry(body(record(0, tenant="x\nFAULT checkpoint")), 4)
        report = Report("log")
        verifier.Ledger(report).read([raw], [0], "bundle")
        assert [str(fault).count("\n") for fault in report.faults] == [0]
