"""From an alert to its incident and run, once; and what a store that refuses does not lose."""

import sqlite3
import threading
from contextlib import closing

import pytest

from guard.errors import AuditUnavailable, GuardError, InternalError
from tests.detect.shipping import NOW, Shipper, facts, guessing, line, scan, sql, stuffing, text_of, visits
from tests.world import world

RAISE = "CREATE TRIGGER refuse BEFORE {} ON {} BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"


def refusing(place, table, act="INSERT"):
    """From now on the store refuses this on *table*."""
    with closing(sqlite3.connect(place.home / "guard.db", timeout=5, isolation_level=None)) as db:
        db.execute(RAISE.format(act, table))


def willing(place):
    with closing(sqlite3.connect(place.home / "guard.db", timeout=5, isolation_level=None)) as db:
        db.execute("DROP TRIGGER refuse")


# incidents


def test_an_attack_opens_one_incident_with_a_run_of_its_plan(place, shipper):
    answer = shipper.push(stuffing(-300), end=True)
    assert (answer.alerts, answer.decisions, answer.incidents) == (1, 1, 1)
    (incident,) = shipper.incidents()
    assert (incident.title, incident.severity, incident.kind, incident.state) == (
        "Credential stuffing from one client",
        2,
        "real",
        "reported",
    )
    assert (incident.occurrences, incident.opened_by, len(incident.runs)) == (1, "system:runbook", 1)
    chief = place.hire(shipper.tenant, "user:local|carla", "role:commander")
    run = place.call("runs.read", chief, run=incident.runs[0])
    assert (run.plan, run.mode, run.incident, run.started_by) == (
        "credential-stuffing",
        "live",
        incident.id,
        "system:runbook",
    )
    assert [step.step for step in run.steps] == ["rotate_key"]


def test_a_second_attack_of_the_same_client_is_one_more_occurrence(shipper):
    shipper.push(stuffing(-7200), stream="a", end=True)
    answer = shipper.push(stuffing(-300), stream="b", end=True)
    assert (answer.alerts, answer.incidents) == (1, 0)
    (incident,) = shipper.incidents()
    assert (incident.occurrences, len(incident.runs)) == (2, 1)


def test_another_client_or_tenant_has_an_incident_of_its_own(place, shipper):
    shipper.push(stuffing(-300) + stuffing(-200, "198.51.100.10"), end=True)
    other = Shipper(place)
    other.push(stuffing(-300), end=True)
    assert [one.occurrences for one in shipper.incidents()] == [1, 1]
    assert [one.occurrences for one in other.incidents()] == [1]
    assert len({one.id for one in shipper.incidents() + other.incidents()}) == 3


def test_after_the_incident_was_dismissed_an_attack_opens_a_new_one(place, shipper):
    shipper.push(stuffing(-7200), stream="a", end=True)
    (old,) = shipper.incidents()
    shipper.call("incidents.transition", incident=old.id, to="dismissed", reason="a test")
    answer = shipper.push(stuffing(-300), stream="b", end=True)
    assert answer.incidents == 1
    assert sorted(one.state for one in shipper.incidents()) == ["dismissed", "reported"]


def test_rules_without_a_plan_open_no_incident(shipper):
    shipper.push(scan(-300) + guessing(-200), end=True)
    assert shipper.incidents() == []


def test_a_protected_client_opens_no_incident(tmp_path):
    with world(tmp_path / "home", never_ban=("198.51.100.9",)) as made:
        shipper = Shipper(made, "acme")
        shipper.push(stuffing(-300), end=True)
        assert shipper.incidents() == []
        assert shipper.alerts()[0].outcome.startswith("spared")


def test_the_worker_rotates_the_key_that_the_plan_names(place, shipper):
    shipper.push(stuffing(-300), end=True)
    keys = place.hire(shipper.tenant, "user:local|kim", "role:key-admin")
    assert len(place.call("keys.read", keys, key="customers.email").versions) == 1
    desk = next(part for kind, part in place.gate._doors.parts.items() if kind.__name__ == "Desk")

    def due(now_us):
        return [each for each in desk.due(now_us) if each[0] == shipper.tenant]

    assert place.beat("runs.advance", due) == 1
    assert place.beat("runs.advance", due) == 0
    assert len(place.call("keys.read", keys, key="customers.email").versions) == 2


def test_an_alert_names_what_fired_and_shows_nothing_active(shipper):
    hostile = [line(-600 + 50 * at, f"198.51.100.{at}", "/login", 401, "\\x1b[31mroot", "POST") for at in range(1, 12)]
    shipper.push(hostile, end=True)
    (alert,) = shipper.alerts()
    assert alert.key.isprintable()
    assert "root" in alert.key
    assert (alert.level, alert.stream, alert.phase, alert.exact, alert.peak) == ("high", "web", "final", True, 11)


# a store that refuses


@pytest.mark.parametrize("table", ["detect_alerts", "detect_decisions", "detect_streams", "incidents", "runs"])
def test_what_could_not_be_stored_is_stored_by_the_next_push(place, shipper, table, tmp_path):
    attacks = scan(-800) + stuffing(-500)
    refusing(place, table)
    with pytest.raises(GuardError) as raised:
        shipper.push(attacks)
    assert isinstance(raised.value, InternalError)
    assert "refused by the test" not in raised.value.detail
    assert (shipper.alerts(), shipper.decisions(), shipper.incidents()) == ([], [], [])
    assert shipper.check("198.51.100.20").action == "none"
    willing(place)
    answer = shipper.push(attacks)
    assert (answer.alerts, answer.decisions, answer.incidents) == (2, 2, 1)
    assert answer.repeated + answer.late == answer.lines
    shipper.push([], 99_999, end=True)
    with world(tmp_path / "clean") as clean:
        other = Shipper(clean)
        other.push(attacks, end=True)
        assert facts(shipper) == facts(other)


def test_news_that_wait_are_stored_by_any_later_piece_of_the_stream(place, shipper):
    refusing(place, "detect_alerts")
    for _ in range(3):
        with pytest.raises(InternalError):
            shipper.push(scan(-800))
    willing(place)
    answer = shipper.push(visits(-700, 3), 99_999)
    assert (answer.alerts, answer.decisions) == (1, 1)
    assert shipper.push(visits(-600, 3), 199_999).alerts == 0


def test_the_end_of_a_stream_that_could_not_be_stored_is_stored_at_the_next_try(place, shipper):
    shipper.push(scan(-800))
    refusing(place, "detect_alerts", "UPDATE")
    with pytest.raises(InternalError):
        shipper.push([], 99_999, end=True)
    willing(place)
    assert [one.phase for one in shipper.alerts()] == ["provisional"]
    shipper.push([], 99_999, end=True)
    assert [one.phase for one in shipper.alerts()] == ["final"]


def test_a_push_whose_record_cannot_be_written_did_not_happen_and_loses_nothing(place, shipper):
    refusing(place, "audit_entries")
    with pytest.raises(AuditUnavailable):
        shipper.push(scan(-800))
    willing(place)
    assert (shipper.alerts(), shipper.call("events.streams").data) == ([], [])
    answer = shipper.push(scan(-800))
    assert (answer.alerts, answer.decisions, answer.repeated) == (1, 1, 0)


def test_an_outcome_whose_record_cannot_be_written_loses_no_alert(place, shipper):
    with closing(sqlite3.connect(place.home / "guard.db", isolation_level=None)) as db:
        db.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_index WHEN NEW.phase = 'outcome' "
            "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
        )
    with pytest.raises(AuditUnavailable):
        shipper.push(scan(-800))
    willing(place)
    assert shipper.alerts() == []
    answer = shipper.push(scan(-800))
    assert (answer.alerts, answer.decisions) == (1, 1)
    place.clock.advance(3600)
    assert place.call("intents.sweep").unknown == 1


def test_pieces_of_one_stream_that_come_at_once_store_each_alert_once(shipper):
    attacks = scan(-800) + stuffing(-500) + guessing(-300)
    piece, errors = text_of(attacks), []

    def push():
        try:
            shipper.push(piece)
        except GuardError as error:
            errors.append(error)

    threads = [threading.Thread(target=push) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shipper.push([], len(piece), end=True)
    assert errors == []
    assert len(shipper.alerts()) == 3
    assert len(shipper.decisions()) == 3
    assert [one.occurrences for one in shipper.incidents()] == [1]
    (stream,) = shipper.call("events.streams").data
    assert (stream.lines, stream.matched) == (6 * len(attacks), len(attacks))


def test_a_final_alert_takes_over_the_decision_of_the_provisional_one(shipper):
    late = scan(-100)
    shipper.push(late[5:])
    (first,) = shipper.alerts()
    shipper.push(late[:5], 99_999)
    shipper.push([], 199_999, end=True)
    (final,) = shipper.alerts()
    assert (first.phase, final.phase) == ("provisional", "final")
    assert final.t0_us == (NOW - 100 + 19) * 1_000_000
    assert final.id != first.id
    (one,) = shipper.decisions()
    assert (one.alert, one.step) == (final.id, 0)
    assert sql(shipper.world, "SELECT phase FROM detect_alerts WHERE id = ?", first.id) == [("settled",)]


def test_a_final_alert_of_a_rule_in_shadow_says_shadow(shipper):
    spread = [line(-100 + 4 * at, f"198.51.100.{at}", "/login", 401, "alice", "POST") for at in range(1, 13)]
    shipper.push(spread[1:])
    (before,) = shipper.alerts()
    shipper.push(spread[:1], 99_999, end=True)
    assert shipper.alerts()[0].id != before.id
    assert [(one.outcome, one.phase) for one in shipper.alerts()] == [("shadow", "final")]
