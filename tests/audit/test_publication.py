"""When checkpoints are due, what a clock that went back does, and which old notes are kept."""

import json
import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from guard.audit import checkpoint_store
from guard.audit.publication import UNCOVERED, Publication
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from guard.errors import Conflict, Denied, InvalidRequest, NotFound, StoreDamaged
from tests.world import world

HOUR = 3600
DAY = 24 * HOUR
YEAR = 365 * DAY


@pytest.fixture
def place(tmp_path):
    with world(tmp_path / "home") as made:
        yield made


def people(place):
    return [place.hire(PLATFORM, f"user:local|{name}", "role:platform-admin") for name in ("ana", "ben")]


def publication(place):
    return place.gate._doors.parts[Publication]


def beat(place, operation):
    """What the worker's loop does at one heartbeat."""
    part = publication(place)
    due = {"checkpoints.publish": part.due, "clock.regression": part.regressed, "checkpoints.tidy": part.tidy_due}
    return place.beat(operation, due[operation])


def publish(place):
    return place.call("checkpoints.publish")


def grow(place, seconds=1.0):
    place.clock.advance(seconds)
    place.hire("acme", "user:local|ana", "role:support")
    return publish(place)


def regressions(place):
    query = "SELECT entry FROM audit_entries JOIN audit_index USING (idx) WHERE action = 'clock.regression'"
    with place.guard.store.read() as tx:
        return [json.loads(entry)["b"]["data"] for entry in tx.exec_driver_sql(query).scalars()]


class TestDue:
    def test_a_second_after_the_first_uncovered_record_and_not_before(self, place):
        assert beat(place, "checkpoints.publish") == 1
        place.hire("acme", "user:local|ana", "role:support")
        assert beat(place, "checkpoints.publish") == 0
        place.clock.advance(0.5)
        assert beat(place, "checkpoints.publish") == 0
        place.clock.advance(0.6)
        assert beat(place, "checkpoints.publish") == 1
        assert publication(place).head.checkpoint.size == place.guard.log.size

    def test_nothing_is_due_while_nothing_comes_until_ten_minutes_have_passed(self, place):
        beat(place, "checkpoints.publish")
        beats = 0
        for _ in range(1300):
            place.clock.advance(1)
            beats += beat(place, "checkpoints.publish")
        assert beats == 2

    def test_at_4096_uncovered_records_it_is_due_at_once(self, place):
        beat(place, "checkpoints.publish")
        ana = place.hire("acme", "user:local|ana", "role:support")
        operation, request = place.gate.parse("actors.whoami", {})
        size = place.guard.log.size
        while place.guard.log.size - size < UNCOVERED - 8:
            place.gate.call_sync(operation, request, ana, "x")
        assert beat(place, "checkpoints.publish") == 0
        while place.guard.log.size - publication(place).head.checkpoint.size < UNCOVERED:
            place.gate.call_sync(operation, request, ana, "x")
        assert beat(place, "checkpoints.publish") == 1

    def test_a_store_that_cannot_be_signed_is_tried_once_a_second(self, place):
        grow(place)
        place.hire("acme", "user:local|ana", "role:support")
        damage(place, place.guard.log.size - 1)
        tried = 0
        for _ in range(40):
            place.clock.advance(0.25)
            with suppress(StoreDamaged):
                for _ in publication(place).due(place.clock()):
                    tried += 1
                    publish(place)
        assert 9 <= tried <= 11

    def test_what_was_published_is_known_after_a_restart(self, tmp_path):
        with world(tmp_path / "home") as made:
            view = grow(made)
        with world(tmp_path / "home") as made:
            assert publication(made).head.checkpoint.size == view.size


def damage(place, index):
    with closing(sqlite3.connect(place.home / "guard.db", timeout=5)) as db, db:
        db.execute("UPDATE audit_entries SET entry = x'20' WHERE idx = ?", (index,))


class TestClock:
    def test_a_regression_is_recorded_once_while_checkpoints_wait_and_requests_go_on(self, place, capsys):
        first = grow(place)
        place.clock.advance(-HOUR)
        for _ in range(20):
            place.clock.advance(1)
            place.hire("acme", "user:local|ana", "role:support")
            assert beat(place, "checkpoints.publish") == 0
            beat(place, "clock.regression")
        (fact,) = regressions(place)
        assert HOUR - 3 < fact["behind_us"] / 1_000_000 < HOUR + 1
        said = capsys.readouterr()
        assert (said.out + said.err).count("so checkpoints wait") == 1
        with pytest.raises(Conflict, match="clock"):
            publish(place)
        place.clock.advance(HOUR)
        assert beat(place, "checkpoints.publish") == 1
        assert publication(place).head.checkpoint.size > first.size

    def test_each_regression_is_recorded_anew(self, place):
        for _ in range(3):
            grow(place)
            place.clock.advance(-HOUR)
            for _ in range(3):
                beat(place, "clock.regression")
            place.clock.advance(2 * HOUR)
            beat(place, "clock.regression")
            beat(place, "checkpoints.publish")
        assert len(regressions(place)) == 3

    @pytest.mark.parametrize("seconds", [-0.2, -0.9, 0])
    def test_a_clock_that_was_merely_adjusted_is_no_regression(self, place, seconds):
        grow(place)
        place.clock.advance(seconds)
        assert beat(place, "clock.regression") == 0

    def test_two_persons_accept_a_clock_that_was_a_year_ahead(self, place):
        ana, ben = people(place)
        place.clock.advance(YEAR)
        ahead = grow(place)
        place.clock.advance(-YEAR)
        place.hire("acme", "user:local|cay", "role:support")
        asked = place.call("checkpoints.accept_clock", ana, reason="the host's clock was wrong")
        assert asked.state == "asked"
        with pytest.raises(Conflict):
            publish(place)
        with pytest.raises(Denied):
            place.call("checkpoints.accept_clock", ana, request=asked.request)
        done = place.call("checkpoints.accept_clock", ben, request=asked.request)
        assert (done.state, done.asked_by, done.accepted_by) == ("accepted", ana.subject, ben.subject)
        place.clock.advance(1)
        assert beat(place, "checkpoints.publish") == 1
        view = place.call("checkpoints.latest", place.hire(PLATFORM, "user:local|aud", "role:auditor"))
        assert (view.size > ahead.size, view.time_us < ahead.time_us) == (True, True)
        assert grow(place).size > view.size

    def test_an_acceptance_survives_a_restart(self, tmp_path):
        with world(tmp_path / "home") as made:
            ana, ben = people(made)
            made.clock.advance(YEAR)
            grow(made)
            made.clock.advance(-YEAR)
            asked = made.call("checkpoints.accept_clock", ana, reason="wrong")
            made.call("checkpoints.accept_clock", ben, request=asked.request)
        with world(tmp_path / "home") as made:
            made.clock.advance(HOUR)
            assert beat(made, "clock.regression") == 0
            assert beat(made, "checkpoints.publish") == 1

    def test_a_clock_that_goes_back_again_needs_another_acceptance(self, place):
        ana, ben = people(place)
        grow(place, YEAR)
        for back in (YEAR, HOUR):
            place.clock.advance(-back)
            place.hire("acme", "user:local|cay", "role:support")
            with pytest.raises(Conflict):
                publish(place)
            asked = place.call("checkpoints.accept_clock", ana, reason="wrong")
            place.call("checkpoints.accept_clock", ben, request=asked.request)
        grow(place)
        with pytest.raises(Conflict, match="not"):
            place.call("checkpoints.accept_clock", ana, reason="wrong")

    def test_what_is_recorded_names_the_people_and_never_the_reason(self, place):
        ana, ben = people(place)
        grow(place, YEAR)
        place.clock.advance(-YEAR)
        asked = place.call("checkpoints.accept_clock", ana, reason="because of Mrs Smith")
        place.call("checkpoints.accept_clock", ben, request=asked.request)
        found = place.records(action="checkpoints.accept_clock")
        assert [one.actor for one in found] == [ben.subject, ana.subject]
        with place.guard.store.read() as tx:
            entries = b"".join(tx.exec_driver_sql("SELECT entry FROM audit_entries").scalars())
        assert b"Smith" not in entries
        assert asked.request.encode() in entries

    def test_requests_that_accept_nothing(self, place):
        ana, ben = people(place)
        with pytest.raises(Conflict, match="not"):
            place.call("checkpoints.accept_clock", ana, reason="x")
        grow(place, YEAR)
        place.clock.advance(-YEAR)
        with pytest.raises(InvalidRequest):
            place.call("checkpoints.accept_clock", ana, reason=" ")
        with pytest.raises(NotFound):
            place.call("checkpoints.accept_clock", ben, request="clk_unknown")
        with pytest.raises(Denied):
            place.call("checkpoints.accept_clock", place.hire(PLATFORM, "user:local|aud", "role:auditor"), reason="x")
        asked = place.call("checkpoints.accept_clock", ana, reason="x")
        place.call("checkpoints.accept_clock", ben, request=asked.request)
        grow(place)
        grow(place, YEAR)
        place.clock.advance(-YEAR)
        with pytest.raises(Conflict, match="ask anew"):
            place.call("checkpoints.accept_clock", ben, request=asked.request)


class TestTidy:
    def notes(self, place):
        query = "SELECT size, time_us, note FROM audit_checkpoints ORDER BY size"
        with place.guard.store.read() as tx:
            return tx.exec_driver_sql(query).all()

    def tidy(self, place):
        place.clock.advance(HOUR)
        return beat(place, "checkpoints.tidy")

    def test_after_seven_days_the_first_of_each_hour_stays_with_what_is_cosigned_or_anchored(self, place):
        rng = random.Random(7)
        for _ in range(60):
            grow(place, rng.choice([60, 300, 900]))
        before = self.notes(place)
        cosigned, anchored = before[10][0], before[11][0]
        with place.guard.store.read() as tx:
            assert not tx.exec_driver_sql("SELECT 1 FROM audit_checkpoints WHERE note = ''").first()
        at = place.clock() + 1
        place.guard.pipeline.stop()
        with place.guard.store.write() as tx:
            checkpoint_store.write_cosignature(tx, cosigned, "w", "line\n", at)
            tx.exec_driver_sql(f"INSERT INTO audit_anchors VALUES ('tsa', {anchored}, '', NULL, 'kept', 1)")
        place.close()
        with world(place.home) as later:
            later.clock.now_us = at
            later.clock.advance(8 * DAY)
            last = grow(later)
            assert self.tidy(later) == 1
            after = self.notes(later)
        assert [row[:2] for row in after[: len(before)]] == [row[:2] for row in before]
        firsts, hour = set(), None
        for size, time_us, _ in before:
            firsts |= {size} if time_us // (HOUR * 1_000_000) != hour else set()
            hour = time_us // (HOUR * 1_000_000)
        kept = {size for size, _, note in after if note}
        assert kept == firsts | {cosigned, anchored, last.size}
        assert 0 < len(kept) < len(before)

    def test_within_seven_days_nothing_is_dropped_and_the_last_never(self, place):
        for _ in range(5):
            grow(place)
        place.clock.advance(6 * DAY)
        assert self.tidy(place) == 1
        assert all(row[2] for row in self.notes(place))
        place.clock.advance(2 * DAY)
        self.tidy(place)
        assert self.notes(place)[-1][2]

    def test_it_is_due_every_hour_and_says_how_many(self, place):
        for _ in range(5):
            grow(place)
        place.clock.advance(8 * DAY)
        grow(place)
        assert self.tidy(place) == 1
        assert beat(place, "checkpoints.tidy") == 0
        assert self.tidy(place) == 1
        query = "SELECT entry FROM audit_entries JOIN audit_index USING (idx) WHERE action = 'checkpoints.tidy'"
        with place.guard.store.read() as tx:
            found = [json.loads(entry)["b"]["data"]["dropped"] for entry in tx.exec_driver_sql(query).scalars()]
        assert found == [4, 0]

    def test_an_export_over_tidied_checkpoints_verifies(self, place):
        for _ in range(5):
            grow(place)
        place.clock.advance(8 * DAY)
        grow(place)
        self.tidy(place)
        auditor = place.hire(PLATFORM, "user:local|aud", "role:auditor")
        exported = place.call("exports.create", auditor)
        path = place.call("exports.download", auditor, export=exported.id).path
        report = verify(Path(path))
        assert report.faults == []
        assert report.counts["checkpoints"] == 1
