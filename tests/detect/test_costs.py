"""What an attacker cannot make expensive. Ratios within one run, since machines differ."""

import time

import pytest

from guard.detect.engine import Engine
from guard.detect.formats.combined import parse
from guard.detect.limits import Limit, Limiter
from guard.detect.traffic import generate
from tests.detect.building import FOREVER, NOON, SECOND, counting, distinct, event, shipped


def seconds_of(work, repeat=3):
    """The least processor time of a few runs."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def feeding(rules, events):
    def work():
        engine = Engine(rules)
        for at in range(0, len(events), 1000):
            engine.feed(events[at : at + 1000], FOREVER)
        engine.flush()

    return work


def streams(kind, n):
    """Events of one client that wants the engine to work hard."""
    match kind:
        case "a flood in whole seconds":
            return [event(NOON + i // 500 * SECOND) for i in range(n)]
        case "a flood in microseconds":
            return [event(NOON + i * 2000) for i in range(n)]
        case "just below the threshold":
            return [event(NOON + i * SECOND * 10 // 199) for i in range(n)]
        case "the same few values over and over":
            return [event(NOON + i // 500 * SECOND, user=f"u{i % 20}") for i in range(n)]
        case "values that change with every window":
            return [event(NOON + i * SECOND // 10, user=f"u{i // 100 % 40}") for i in range(n)]
        case "late by as much as is allowed, one in two":
            return [event(NOON + i * SECOND // 20 - i % 2 * 59 * SECOND) for i in range(n)]
    raise AssertionError(kind)


KINDS = (
    "a flood in whole seconds",
    "a flood in microseconds",
    "just below the threshold",
    "the same few values over and over",
    "values that change with every window",
    "late by as much as is allowed, one in two",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [False, True])
def test_twice_the_events_cost_about_twice_the_time(kind, values):
    rule = distinct("{field: cs-username, gt: 20}", span="5m") if values else counting("{gte: 200}")
    few, many = streams(kind, 4_000), streams(kind, 16_000)
    assert seconds_of(feeding([rule], many)) < 10 * seconds_of(feeding([rule], few)) + 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_no_client_costs_much_more_than_an_innocent_crowd(kind):
    crowd = [event(NOON + i * SECOND // 100, f"198.51.100.{i % 250}", f"u{i % 250}") for i in range(8_000)]
    rules = shipped()
    innocent = seconds_of(feeding(rules, crowd))
    assert seconds_of(feeding(rules, streams(kind, 8_000))) < 8 * innocent + 0.2


def test_lines_that_never_repeat_cost_less_than_ten_times_those_that_do():
    """Caches make common traffic quick; an attacker who never repeats himself must not make reading slow."""
    same = [
        b'203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET /a?b=1 HTTP/1.1" 200 5 "https://x.example/" "UA"'
    ] * 5_000
    other = [
        f"203.0.{i >> 8 & 255}.{i & 255} - u{i} [17/May/2015:{i // 3600 % 24:02}:{i // 60 % 60:02}:{i % 60:02} +0000] "
        f'"GET /a{i}?b={i} HTTP/1.1" 200 {i} "https://x.example/{i}" "UA{i}"'.encode()
        for i in range(5_000)
    ]
    quick = seconds_of(lambda: [parse(line) for line in same])
    slow = seconds_of(lambda: [parse(line) for line in other], repeat=1)
    assert slow < 20 * quick + 0.1


def test_a_log_of_fifty_thousand_lines_is_made_in_two_seconds():
    assert seconds_of(lambda: generate(1), repeat=1) < 2


def test_a_limiter_under_new_keys_costs_no_more_than_a_few_times_one_under_old_ones():
    def old():
        limiter = Limiter(Limit(1, SECOND, 5), max_keys=1_000)
        for i in range(20_000):
            limiter.take(i % 500, i)

    def new():
        limiter = Limiter(Limit(1, SECOND, 5), max_keys=1_000)
        for i in range(20_000):
            limiter.take(i, i)

    assert seconds_of(new) < 15 * seconds_of(old) + 0.1
