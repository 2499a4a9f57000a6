"""When time-stamps and copies go out: at most once in their minutes, again after a failure, and whatever the clock did."""

import pytest

from guard.audit.rounds import MINUTE_US, Rounds

NOON = 1_790_000_000_000_000
STAMPS, COPIES = "rfc3161:tsa", "worm"


@pytest.fixture
def rounds():
    return Rounds({STAMPS: 60, COPIES: 5})


def test_what_went_out_rests_for_its_minutes_and_goes_out_again_if_there_is_more(rounds):
    assert rounds.copies(NOON, 10)
    rounds.done(COPIES, 10)
    assert not rounds.copies(NOON + 4 * MINUTE_US, 11)
    assert not rounds.copies(NOON + 6 * MINUTE_US, 10)
    assert rounds.copies(NOON + 6 * MINUTE_US, 11)


def test_what_failed_is_tried_again_after_a_minute_and_not_before(rounds):
    assert [one["authority"] for _, one in rounds.stamps(NOON, 10)] == ["tsa"]
    assert not rounds.stamps(NOON + MINUTE_US - 1, 10)
    assert rounds.stamps(NOON + MINUTE_US, 10)


def test_a_clock_that_was_a_year_ahead_stops_nothing_when_it_is_right_again(rounds):
    ahead = NOON + 365 * 24 * 60 * MINUTE_US
    assert rounds.copies(ahead, 10)
    rounds.done(COPIES, 10)
    assert rounds.stamps(ahead, 10)
    assert rounds.copies(NOON, 11)
    assert rounds.stamps(NOON, 11)
    assert not rounds.copies(NOON + MINUTE_US - 1, 12)
