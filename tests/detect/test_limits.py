import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.detect.limits import EVICTION_SCAN, Limit, Limiter, take_all
from guard.errors import InvalidInput

SECOND = 1_000_000_000


class Bucket:
    """A leaky bucket in fractions: the same law said another way."""

    def __init__(self, limit):
        from fractions import Fraction

        self.limit, self.level, self.at, self.exact = limit, Fraction(0), 0, Fraction

    def take(self, now, cost):
        drained = self.exact(now - self.at) * self.limit.count / self.limit.per_ns
        level = max(self.level - drained, self.exact(0))
        if level + cost > self.limit.burst:
            return False
        self.level, self.at = level + cost, now
        return True


limits = st.builds(Limit, st.integers(1, 7), st.integers(1, 50), st.integers(1, 6))
arrivals = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3)), max_size=40)


@settings(max_examples=200)
@given(limits, arrivals)
def test_the_rate_is_that_of_a_leaky_bucket_exactly(limit, steps):
    limiter, bucket, now = Limiter(limit), Bucket(limit), 0
    for step, cost in steps:
        now += step
        assert limiter.take("k", now, cost).allowed == bucket.take(now, cost)


@settings(max_examples=200)
@given(limits, arrivals)
def test_outcomes_tell_the_truth(limit, steps):
    limiter, now = Limiter(limit), 0
    for step, cost in steps:
        now += step
        outcome = limiter.take("k", now, cost)
        assert limiter.peek("k", now, outcome.remaining).allowed
        assert not limiter.peek("k", now, outcome.remaining + 1).allowed
        if outcome.allowed:
            assert outcome.retry_after_ns == 0
        elif outcome.retry_after_ns is None:
            assert cost > limit.burst
        else:
            assert limiter.peek("k", now + outcome.retry_after_ns, cost).allowed
            assert not limiter.peek("k", now + outcome.retry_after_ns - 1, cost).allowed
        assert limiter.peek("k", now + outcome.reset_after_ns, limit.burst).allowed


def test_a_burst_and_then_the_rate():
    limiter = Limiter(Limit(10, SECOND, 3))
    passed = [limiter.take("k", now * SECOND // 100).allowed for now in range(100)]
    assert passed[:4] == [True, True, True, False]
    assert sum(passed) == 12


def test_thirds_of_a_second_do_not_drift():
    """Held at its limit, the k-th request after the burst passes in the first nanosecond after k thirds, not before."""
    limiter = Limiter(Limit(3, SECOND, 2))
    assert limiter.take("k", 0).allowed
    assert limiter.take("k", 0).allowed
    for k in range(1, 3000):
        first = -(-k * SECOND // 3)
        assert not limiter.take("k", first - 1).allowed
        assert limiter.take("k", first).allowed


def test_keys_do_not_share():
    limiter = Limiter(Limit(1, SECOND, 1))
    assert limiter.take("a", 0).allowed
    assert limiter.take("b", 0).allowed
    assert not limiter.take("a", 0).allowed


def test_a_refused_request_burns_nothing():
    limiter = Limiter(Limit(1, SECOND, 1))
    limiter.take("k", 0)
    for now in range(100):
        assert not limiter.take("k", now).allowed
    assert limiter.take("k", SECOND).allowed


def test_looking_burns_nothing_and_a_free_request_always_passes():
    limiter = Limiter(Limit(1, SECOND, 1))
    for _ in range(5):
        assert limiter.peek("k", 0).allowed
    assert len(limiter) == 0
    limiter.take("k", 0)
    assert limiter.take("k", 0, 0).allowed


def test_more_than_the_burst_never_passes():
    outcome = Limiter(Limit(5, SECOND, 2)).take("k", 0, 3)
    assert (outcome.allowed, outcome.retry_after_ns, outcome.remaining) == (False, None, 2)


def test_if_one_limit_refuses_none_is_burnt():
    wide, narrow = Limiter(Limit(100, SECOND, 100)), Limiter(Limit(1, SECOND, 1))
    checks = [(wide, "tenant"), (narrow, "user")]
    assert all(outcome.allowed for outcome in take_all(checks, 0))
    assert [outcome.allowed for outcome in take_all(checks, 0)] == [True, False]
    assert wide.peek("tenant", 0).remaining == 98
    assert take_all([], 0) == []


def test_keys_are_bounded_and_idle_ones_go_first():
    limiter = Limiter(Limit(1, SECOND, 2), max_keys=100)
    for n in range(100):
        limiter.take(n, 0)
    limiter.take("debtor", 10 * SECOND)
    limiter.take("debtor", 10 * SECOND)
    for n in range(50):
        limiter.take(f"new {n}", 10 * SECOND)
    assert len(limiter) <= 100
    assert limiter.evicted_in_debt == 0
    assert not limiter.take("debtor", 10 * SECOND).allowed


def test_with_no_idle_key_the_one_with_the_least_debt_goes_and_is_counted():
    limiter = Limiter(Limit(1, SECOND, 5), max_keys=EVICTION_SCAN)
    for n in range(EVICTION_SCAN):
        for _ in range(1 if n == 7 else 5):
            limiter.take(n, 0)
    limiter.take("new", 0)
    assert (len(limiter), limiter.evicted_in_debt) == (EVICTION_SCAN, 1)
    assert limiter.peek(7, 0) == limiter.peek("never seen", 0)
    assert not limiter.peek(8, 0).allowed


def test_a_million_keys_do_not_take_more_room_than_the_cap():
    limiter = Limiter(Limit(1, SECOND, 1), max_keys=1000)
    for n in range(200_000):
        limiter.take(n, n * 1000)
    assert len(limiter) <= 1000


def test_a_clock_that_steps_back_gives_nothing_for_free():
    limiter = Limiter(Limit(1, SECOND, 1))
    assert limiter.take("k", 100 * SECOND).allowed
    assert not limiter.take("k", 99 * SECOND).allowed


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_limits_are_at_least_one(numbers):
    with pytest.raises(InvalidInput):
        Limit(*numbers)


@settings(max_examples=150)
@given(
    st.lists(limits, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["a", "b"]), st.integers(1, 2)), max_size=25),
)
def test_several_limits_let_pass_what_each_of_them_would(each, steps):
    """A request passes if and only if every bucket has room, and only then leaves a trace in any of them."""
    limiters = [Limiter(limit) for limit in each]
    buckets = {(n, key): Bucket(limit) for n, limit in enumerate(each) for key in "ab"}
    now = 0
    for step, key, cost in steps:
        now += step
        room = []
        for n in range(len(each)):
            bucket = buckets[n, key]
            kept = bucket.level, bucket.at
            room.append(bucket.take(now, cost))
            bucket.level, bucket.at = kept
        outcomes = take_all([(limiter, key) for limiter in limiters], now, cost)
        assert [outcome.allowed for outcome in outcomes] == room
        if all(room):
            for n in range(len(each)):
                buckets[n, key].take(now, cost)


@given(limits, arrivals, st.integers(0, 10**6))
def test_only_differences_of_time_matter(limit, steps, start):
    one, other, now = Limiter(limit), Limiter(limit), 0
    for step, cost in steps:
        now += step
        assert one.take("k", now, cost) == other.take("k", start + now, cost)


@given(limits, st.integers(1, 200))
def test_over_a_long_time_no_more_than_the_rate_and_the_burst_pass(limit, periods):
    limiter = Limiter(limit)
    duration = limit.per_ns * periods
    passed = sum(limiter.take("k", now).allowed for now in range(0, duration, max(duration // 2000, 1)))
    assert passed <= limit.count * periods + limit.burst
