"""A flood of bad credentials (A25): the log grows by a record for a source and second, counts are exact, work goes on."""

import threading

import pytest

from guard.audit.floods import MAX_SOURCES, OTHERS, PER_BEAT, SECOND_US, Floods
from guard.catalogue import PLATFORM
from guard.errors import RateLimited, Unauthenticated
from tests.audit.privacy import Office, body, writings
from tests.world import world

SOURCES, EACH = 30, 200


def attempt(made, peer):
    """As the HTTP surface answers a bad credential; whether it had a record of its own."""
    try:
        made.gate.identify("Bearer grd_wrong", peer)
    except RateLimited:
        return False
    except Unauthenticated as error:
        unit = made.gate.refused(made.gate.operations["records.list"], error, "flood", peer=peer)
        with pytest.raises(Unauthenticated):
            made.guard.pipeline.wait(unit)
        return True
    raise AssertionError("a wrong token was taken")


def merged(made, start):
    found = [body(made, index) for index in range(start, made.guard.log.size)]
    return [one for one in found if one["action"] == "refusals.merge"]


@pytest.fixture
def made(tmp_path):
    with world(tmp_path / "home", failures_per_minute=10) as made:
        yield made


def floods(made):
    return made.gate._doors.parts[Floods]


def carry(made):
    while made.beat("refusals.merge", floods(made).due):
        pass


def test_many_sources_cost_a_record_each_and_no_attempt_is_uncounted(made):
    start = made.guard.log.size
    single = sum(attempt(made, f"198.51.100.{at % SOURCES}") for at in range(SOURCES * EACH))
    assert single < SOURCES * 25
    assert merged(made, start) == []
    made.clock.advance(1)
    carry(made)
    told = merged(made, start)
    assert sum(one["data"]["count"] for one in told) == SOURCES * EACH - single
    assert len(told) <= SOURCES * 2, "one for a source and second; the test may meet the end of one"
    assert made.guard.log.size - start == single + len(told)
    assert floods(made).due(made.clock()) == [], "nothing is told twice"


def test_whose_address_it_was_is_sealed_and_can_be_opened(made):
    start = made.guard.log.size
    while attempt(made, "198.51.100.77"):
        pass
    made.clock.advance(1)
    carry(made)
    (record,) = merged(made, start)
    index = made.guard.log.size - 1
    assert (record["tenant"], record["actor"]["id"], set(record["sealed"])) == (PLATFORM, "system:worker", {"peer"})
    assert not [one for one in writings("198.51.100.77") if one in str(record).encode()]
    assert Office(made, PLATFORM).reveal(index) == {"peer": "198.51.100.77"}


def test_work_with_a_good_token_keeps_its_share_of_a_small_queue(tmp_path):
    with world(tmp_path / "home", failures_per_minute=10, queue_limit=8) as made:
        ana = made.hire("acme", "user:local|ana", "role:support")
        stop = threading.Event()

        def rush(number):
            while not stop.is_set():
                try:
                    attempt(made, f"203.0.113.{number}")
                except Exception:  # noqa: BLE001  a full queue is an answer too
                    continue

        threads = [threading.Thread(target=rush, args=(number,)) for number in range(4)]
        for one in threads:
            one.start()
        try:
            for _ in range(100):
                assert made.call("actors.whoami", ana).subject == "user:local|ana"
        finally:
            stop.set()
            for one in threads:
                one.join()


class TestCounting:
    def test_the_second_must_be_over(self):
        made = Floods()
        made.add("a", 5)
        assert made.due(SECOND_US - 1) == []
        assert made.due(SECOND_US) == [(PLATFORM, {"second_us": 0, "peer": "a", "count": 1})]

    def test_a_clock_that_went_back_keeps_nothing_for_ever(self):
        made = Floods()
        made.add("a", 100 * SECOND_US)
        assert [one["second_us"] for _, one in made.due(5)] == [100 * SECOND_US]

    def test_what_came_while_it_was_told_is_told_next(self):
        made = Floods()
        for _ in range(3):
            made.add("a", 0)
        made.told(0, "a", 2)
        assert made.due(SECOND_US)[0][1]["count"] == 1
        made.told(0, "a", 1)
        assert made.due(SECOND_US) == []

    def test_more_sources_than_fit_are_counted_together_and_a_beat_tells_some(self):
        made = Floods()
        for number in range(MAX_SOURCES + 50):
            made.add(f"s{number}", 0)
        assert len(made.due(SECOND_US)) == PER_BEAT
        seen = {}
        while due := made.due(SECOND_US):
            for _, one in due:
                seen[one["peer"]] = one["count"]
                made.told(**one)
        assert seen[OTHERS] == 50
        assert sum(seen.values()) == MAX_SOURCES + 50
