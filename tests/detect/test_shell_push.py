"""Logs pushed in pieces: the same lines again change nothing, every line is counted once, what is no line is kept."""

import base64
import random

import pytest

from guard.errors import Denied, InvalidRequest
from tests.detect.shipping import FINGERPRINT, NOW, Shipper, facts, guessing, line, scan, sql, stuffing, text_of, visits
from tests.world import world

ATTACKS = sorted(
    visits(-900, 60) + scan(-800) + stuffing(-500) + guessing(-300) + scan(-120, "203.0.113.5"),
    key=lambda each: each.split("[")[1],
)
KEPT = "SELECT count(*) FROM detect_rejects WHERE tenant = ?"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What one push of everything leads to."""
    with world(tmp_path_factory.mktemp("whole") / "home") as made:
        shipper = Shipper(made, "acme")
        answer = shipper.push(ATTACKS, end=True)
        assert (answer.alerts, answer.decisions, answer.incidents) == (4, 4, 1)
        return facts(shipper)


def test_a_log_leads_to_alerts_decisions_and_an_incident(expected):
    alerts, decisions = expected
    assert [one[0] for one in alerts] == ["credential_stuffing", "login_bruteforce", "scan_404", "scan_404"]
    assert [(value, kind) for value, kind, *_ in decisions] == [
        ("198.51.100.20", "ban"),
        ("198.51.100.30", "throttle"),
        ("198.51.100.9", "ban"),
        ("203.0.113.5", "ban"),
    ]


@pytest.mark.parametrize("sizes", [(1,) * 20, (7, 13, 40, 3), (len(ATTACKS),), (100,), (0, 50, 0)])
def test_any_cut_into_pieces_leads_to_the_same(shipper, expected, sizes):
    shipper.replay(ATTACKS, sizes)
    assert facts(shipper) == expected


def test_each_piece_twice_leads_to_the_same_and_says_so(shipper, expected):
    at, offset = 0, 0
    while at < len(ATTACKS):
        piece = text_of(ATTACKS[at : at + 30])
        first = shipper.push(piece, offset)
        again = shipper.push(piece, offset)
        assert (again.repeated + again.late, again.matched) == (again.lines, 0)
        assert (again.alerts, again.decisions, again.incidents) == (0, 0, 0)
        assert first.repeated == 0
        at, offset = at + 30, offset + len(piece)
    shipper.push([], offset, end=True)
    assert facts(shipper) == expected


def test_pieces_that_overlap_count_each_line_once(shipper, expected):
    offsets = [0]
    for each in ATTACKS:
        offsets.append(offsets[-1] + len(text_of([each])))
    for start in range(0, len(ATTACKS), 20):
        end = min(start + 35, len(ATTACKS))
        shipper.push(ATTACKS[start:end], offsets[start])
    shipper.push([], offsets[-1], end=True)
    assert facts(shipper) == expected


def test_the_whole_log_again_after_its_end_and_after_a_restart_changes_nothing(tmp_path, expected):
    made_alerts = []
    for _ in range(2):
        with world(tmp_path / "home") as made:
            shipper = Shipper(made, "acme")
            for _ in range(2):
                answer = shipper.push(ATTACKS, end=True)
                made_alerts.append((answer.alerts, answer.decisions, answer.incidents))
                assert facts(shipper) == expected
    assert made_alerts == [(4, 4, 1), (0, 0, 0), (0, 0, 0), (0, 0, 0)]


def test_a_log_that_was_cut_off_by_a_restart_is_sent_again_from_its_beginning(tmp_path, expected):
    half = text_of(ATTACKS[:120])
    with world(tmp_path / "home") as made:
        Shipper(made, "acme").push(half)
    with world(tmp_path / "home") as made:
        shipper = Shipper(made, "acme")
        shipper.push(half)
        shipper.push(ATTACKS[120:], len(half), end=True)
        assert facts(shipper) == expected


@pytest.mark.parametrize("how", ["a restart", "a new file"])
def test_an_attack_that_goes_on_after_a_restart_or_in_a_new_file_is_one_attack(tmp_path, how):
    attack = scan(-300, count=120)
    with world(tmp_path / "home") as made:
        shipper = Shipper(made, "acme")
        shipper.push(attack[:60], end=how == "a new file")
        (before,) = shipper.decisions()
        if how == "a new file":
            shipper.push(attack[60:], fingerprint="ff" * 16, end=True)
            alerts, decisions = shipper.alerts(), shipper.decisions()
    if how == "a restart":
        with world(tmp_path / "home") as made:
            shipper = Shipper(made, "acme")
            shipper.push(attack[60:], len(text_of(attack[:60])), end=True)
            alerts, decisions = shipper.alerts(), shipper.decisions()
    assert [(one.t0_us, one.t1_us, one.phase) for one in alerts] == [
        ((NOW - 281) * 1_000_000, (NOW - 181) * 1_000_000, "final")
    ]
    assert [(one.id, one.step) for one in decisions] == [(before.id, 0)]
    assert decisions[0].until_us == (NOW - 181 + 900) * 1_000_000


def test_another_order_within_the_lateness_leads_to_the_same_decisions(tmp_path, expected):
    rng = random.Random(3)
    order = sorted(range(len(ATTACKS)), key=lambda at: seconds(ATTACKS[at]) + rng.uniform(0, 50))
    offsets = [0]
    for each in ATTACKS:
        offsets.append(offsets[-1] + len(text_of([each])))
    with world(tmp_path / "home") as made:
        shipper = Shipper(made, "acme")
        for at in order:
            assert shipper.push([ATTACKS[at]], offsets[at]).late == 0
        shipper.push([], offsets[-1], end=True)
        assert facts(shipper) == expected


def seconds(each):
    """The second of the day in a line."""
    hours, minutes, rest = each.split("[")[1].split(" ")[0].split(":")[1:]
    return int(hours) * 3600 + int(minutes) * 60 + int(rest)


def test_lines_older_than_the_lateness_are_counted_as_late(shipper):
    shipper.push(visits(-10, 5, every=1))
    answer = shipper.push(visits(-500, 3, every=1), 10_000)
    assert (answer.late, answer.matched) == (3, 0)


def test_the_same_text_at_two_places_of_a_file_is_two_lines(shipper):
    one = line(-50, path="/a", status=404)
    first = shipper.push([one])
    second = shipper.push([one], len(text_of([one])))
    assert (first.repeated, second.repeated) == (0, 0)
    rotated = shipper.push([one], fingerprint="ff" * 16)  # another file with the same line at the same place
    assert rotated.repeated == 0


# counts


def test_every_line_is_counted_once_in_every_answer_and_in_the_stream(shipper):
    mixed = [line(-100), "no line at all", line(-99, status=404), "", "\x00\xff", line(-98)[:-8]]
    answers = [shipper.push(mixed, 0), shipper.push(ATTACKS, 5000, end=True)]
    for answer in answers:
        assert answer.lines == answer.strict + answer.lenient + answer.rejected
    assert [answer.rejected for answer in answers] == [3, 0]
    assert answers[0].lenient >= 1
    (stream,) = shipper.call("events.streams").data
    for name in ("lines", "strict", "lenient", "rejected", "matched"):
        assert getattr(stream, name) == sum(getattr(answer, name) for answer in answers)
    assert stream.first_us == (NOW - 900) * 1_000_000


def test_the_span_of_a_stream_grows_in_both_directions_and_empty_pieces_leave_it(shipper):
    shipper.push([])
    assert shipper.call("events.streams").data[0].first_us is None
    shipper.push([line(-50), line(-40)])
    shipper.push([])
    shipper.push([line(-90), line(-20)], 5000)
    (stream,) = shipper.call("events.streams").data
    assert (stream.first_us, stream.last_us) == ((NOW - 90) * 1_000_000, (NOW - 20) * 1_000_000)


def test_two_tenants_may_use_one_name_for_their_streams(place, shipper, expected):
    other = Shipper(place)
    for at in range(0, len(ATTACKS), 50):
        offset = len(text_of(ATTACKS[:at]))
        shipper.push(ATTACKS[at : at + 50], offset)
        other.push(ATTACKS[at : at + 50], offset)
    for each in (shipper, other):
        each.push([], 10**9, end=True)
        assert facts(each) == expected
        assert [one.stream for one in each.call("events.streams").data] == ["web"]
    third = Shipper(place)
    assert (third.alerts(), third.decisions(), third.call("events.streams").data) == ([], [], [])
    assert third.check("198.51.100.20").action == "none"


# what is no line


def test_lines_that_are_none_are_kept_once_and_shown_without_effect(shipper):
    hostile = [
        b"\x1b]0;owned\x07 no line",
        "\u202ereversed\u200b".encode(),
        b"\xff\xfe not utf-8 \x00",
        b"<script>alert(1)</script>",
        b"x" * 70_000,
    ]
    piece = b"".join(each + b"\n" for each in hostile)
    for _ in range(2):
        assert shipper.push(piece).rejected == 5
    kept = shipper.call("events.rejects", stream="web").data
    assert len(kept) == 5
    assert [each.position for each in kept] == [str(piece.index(each)) for each in hostile]
    for each in kept:
        assert each.beginning.isprintable()
        assert len(each.beginning) <= 200
    assert kept[0].beginning == "\\x1b]0;owned\\x07 no line"
    assert shipper.call("events.rejects", stream="other").data == []


def test_at_most_a_thousand_rejects_are_kept_and_all_are_counted(shipper):
    piece = b"".join(b"bad %d\n" % number for number in range(1500))
    assert shipper.push(piece).rejected == 1500
    assert shipper.push(piece, len(piece)).rejected == 1500
    assert sql(shipper.world, KEPT, shipper.tenant) == [(1000,)]
    (stream,) = shipper.call("events.streams").data
    assert stream.rejected == 3000
    assert len(shipper.call("events.rejects", stream="web", limit=500).data) == 500


def test_the_rejects_of_one_stream_do_not_crowd_out_those_of_another(place, shipper):
    other = Shipper(place)
    shipper.push(b"".join(b"bad %d\n" % number for number in range(1100)))
    shipper.push(b"bad\n", stream="api")
    other.push(b"bad\n")
    assert [sql(place, KEPT, each.tenant) for each in (shipper, other)] == [[(1001,)], [(1,)]]


# what is refused


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format": "haproxy"}, "combined"),
        ({"data": base64.b64encode(b"half a line").decode()}, "half a line"),
        ({"data": "%%%"}, "base64"),
        ({"data": "YQ"}, "base64"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_is_kept(shipper, changed, words):
    with pytest.raises(InvalidRequest) as raised:
        shipper.push(visits(-10, 3), **changed)
    assert words in raised.value.detail
    assert shipper.call("events.streams").data == []


@pytest.mark.parametrize(
    "changed",
    [
        {"fingerprint": "0" * 15},
        {"fingerprint": "0" * 17},
        {"fingerprint": "G" * 16},
        {"offset": -1},
        {"stream": "Web"},
        {"stream": "a/b"},
        {"data": "A" * 2_900_001},
    ],
)
def test_a_request_of_another_form_is_refused(shipper, changed):
    with pytest.raises(InvalidRequest):
        shipper.push([], **changed)


def test_a_piece_of_two_megabytes_is_read(shipper):
    lines = [line(-1000 + number // 20, f"192.0.2.{number % 250}", f"/{'x' * 130}/{number}") for number in range(9000)]
    piece = text_of(lines)
    assert 1_700_000 < len(piece) < 2_150_000
    answer = shipper.push(piece)
    assert (answer.lines, answer.rejected) == (9000, 0)


def test_who_ships_logs_reads_nothing_else(place, shipper):
    for name in ("alerts.list", "decisions.list", "events.streams"):
        with pytest.raises(Denied):
            place.call(name, shipper.actor)
    tried = place.call("logs.try", shipper.actor, data=base64.b64encode(text_of(ATTACKS)).decode())
    assert (tried.lines, tried.strict, tried.rejected) == (len(ATTACKS), len(ATTACKS), 0)
    assert shipper.alerts() == []


def test_a_trial_says_how_lines_would_be_read(place, shipper):
    text = b"\x1b[2J bad\n" + text_of([line(-100), line(-50)])
    tried = place.call("logs.try", shipper.actor, data=base64.b64encode(text).decode())
    assert (tried.lines, tried.strict, tried.lenient, tried.rejected) == (3, 2, 0, 1)
    assert (tried.first_us, tried.last_us) == ((NOW - 100) * 1_000_000, (NOW - 50) * 1_000_000)
    assert [(one.line, one.beginning) for one in tried.samples] == [(1, "\\x1b[2J bad")]


def test_a_push_is_an_intent_with_an_outcome_that_counts(shipper):
    shipper.push(ATTACKS, end=True)
    found = shipper.world.records(shipper.tenant, action="events.push")
    assert [(one.phase, one.status) for one in found] == [("outcome", "ok"), ("intent", "ok")]
    opened = shipper.world.records(shipper.tenant, action="incidents.open")
    assert [(one.actor, one.status) for one in opened] == [("system:runbook", "ok")]
    assert FINGERPRINT not in str(found)
