"""When the archiver takes a step: in the quiet, or when too much waits."""

import pytest

from guard.audit import archiving
from guard.audit.archiving import BUNDLES_PER_STEP, BUSY_PER_SECOND, MAX_STEPS, MAX_WAITING, QUIET_SECONDS, Pace

SECOND = 1_000_000
BEAT = SECOND // 4


class Growing:
    """A log of which only its size and what waits matter."""

    def __init__(self, waiting):
        self.size, self.waiting_bundles = 10_000, waiting


def beats(pace, log, start_us, count, per_second):
    """The steps that are due at each of so many beats, while the log grows so fast."""
    found = []
    for number in range(count):
        log.size += per_second * BEAT // SECOND
        found.append(pace.steps(start_us + number * BEAT))
    return found


@pytest.fixture
def log():
    return Growing(waiting=BUNDLES_PER_STEP * 3)


def test_a_process_that_finds_bundles_at_its_start_archives_them(log):
    assert Pace(log).steps(5 * SECOND) == MAX_STEPS


def test_nothing_waiting_is_no_step():
    assert Pace(Growing(0)).steps(5 * SECOND) == 0


def test_a_slow_growth_is_followed_at_once(log):
    pace = Pace(log)
    pace.steps(SECOND)
    assert beats(pace, log, SECOND + BEAT, 20, BUSY_PER_SECOND // 2) == [MAX_STEPS] * 20


def test_under_load_the_archive_waits_and_for_a_while_after_it(log):
    pace = Pace(log)
    pace.steps(SECOND)
    assert beats(pace, log, SECOND + BEAT, 8, BUSY_PER_SECOND * 2) == [0] * 8
    last = SECOND + 8 * BEAT
    resting = round(QUIET_SECONDS * SECOND) // BEAT
    after = beats(pace, log, last + BEAT, resting + 2, 0)
    assert after == [0] * (resting - 1) + [MAX_STEPS] * 3


def test_a_load_without_an_end_is_archived_under_way(log):
    pace = Pace(log)
    pace.steps(SECOND)
    log.waiting_bundles = MAX_WAITING - 1
    assert beats(pace, log, SECOND + BEAT, 4, BUSY_PER_SECOND * 5) == [0] * 4
    log.waiting_bundles = MAX_WAITING
    assert beats(pace, log, SECOND * 3, 4, BUSY_PER_SECOND * 5) == [MAX_STEPS] * 4


def test_a_clock_that_was_put_back_delays_the_archive_and_does_not_stop_it(log):
    pace = Pace(log)
    pace.steps(100 * SECOND)
    assert pace.steps(SECOND) == 0
    assert beats(pace, log, SECOND + BEAT, 30, 0)[-1] == MAX_STEPS


def test_a_step_takes_what_the_text_of_decisions_says():
    assert archiving.BUNDLES_PER_STEP * 256 == 2048
