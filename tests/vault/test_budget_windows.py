"""The arithmetic of search budgets: windows, their borders, batches, restarts and two processes, against a plain model."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.db.engine import Store
from guard.errors import SearchBudgetExceeded, SearchFrozen
from guard.vault import budget, budget_store
from guard.vault.budget import DAY_US, HOUR_US, MINUTE_US, Budget, Refusal, Spent, take
from guard.vault.budgets import MAX_TOLD, Budgets
from tests.vault.people import NUMBER, People, world
from tests.world import START_US

SIZES = {"minute": MINUTE_US, "hour": HOUR_US, "day": DAY_US}
BUDGETS = st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)).map(
    lambda parts: Budget(parts[0], parts[0] + parts[1], parts[0] + parts[1] + parts[2])
)
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 1, MINUTE_US - 1, MINUTE_US, HOUR_US, DAY_US // 3, DAY_US]), st.integers(1, 4)),
    max_size=40,
)
NOON = START_US // DAY_US * DAY_US + DAY_US // 2
PLACE = ("acme", "svc:eve", "people.number.exact")


class Plain:
    """Every answered look-up by its time, counted anew at each question."""

    def __init__(self, limits):
        self.limits, self.answered, self.asked = limits, Counter(), Counter()

    def ask(self, cost, now):
        """(whether it is answered, whether it freezes), as the law of budgets says it."""
        self.asked[now // DAY_US] += cost
        fits = all(
            sum(count for at, count in self.answered.items() if at // size == now // size) + cost
            <= getattr(self.limits, name)
            for name, size in SIZES.items()
        )
        if fits:
            self.answered[now] += cost
        return fits, not fits and self.asked[now // DAY_US] > self.limits.day


@given(BUDGETS, STEPS)
@settings(max_examples=300)
def test_a_budget_is_spent_as_a_plain_count_of_its_windows_says(limits, steps):
    spent, plain, now = Spent(), Plain(limits), 7 * DAY_US + 12345
    for later, cost in steps:
        now += later
        got = take(spent, limits, cost, now)
        fits, freezes = plain.ask(cost, now)
        assert (got is None) == fits
        assert (got is not None and got.freezes) == freezes
        if got is not None:
            assert now < got.again_us <= now + SIZES[got.window]
            assert got.again_us % SIZES[got.window] == 0


@given(BUDGETS, STEPS)
@settings(max_examples=100)
def test_what_is_stored_in_between_changes_no_answer(limits, steps):
    kept, read_again, now = Spent(), Spent(), 7 * DAY_US
    for later, cost in steps:
        now += later
        read_again = Spent(**read_again.numbers())
        assert take(kept, limits, cost, now) == take(read_again, limits, cost, now)
    assert kept == read_again


@given(BUDGETS, st.lists(st.tuples(st.integers(-2 * DAY_US, 2 * DAY_US), st.integers(1, 4)), max_size=40))
@settings(max_examples=200)
def test_a_clock_that_jumps_gives_no_more_than_one_that_stands_at_the_latest_time(limits, jumps):
    spent, latest, answered = Spent(), 0, Counter()
    now = 9 * DAY_US
    for jump, cost in jumps:
        now = max(DAY_US, now + jump)
        latest = max(latest, now)
        if take(spent, limits, cost, now) is None:
            answered[latest // DAY_US] += cost
    assert all(count <= limits.day for count in answered.values())


@pytest.mark.parametrize(
    ("limits", "costs", "window", "limit"),
    [
        (Budget(2, 9, 9), [2, 1], "minute", 2),
        (Budget(2, 2, 9), [2, 1], "hour", 2),
        (Budget(2, 2, 2), [2, 1], "day", 2),
        (Budget(2, 9, 9), [3], "minute", 2),
        (Budget(2, 5, 9), [6], "hour", 5),
        (Budget(2, 5, 9), [10], "day", 9),
    ],
)
def test_the_longest_window_that_is_used_up_is_named(limits, costs, window, limit):
    spent = Spent()
    *before, last = [take(spent, limits, cost, NOON) for cost in costs]
    assert before in ([], [None])
    assert (last.window, last.limit, last.again_us) == (window, limit, NOON - NOON % SIZES[window] + SIZES[window])


@pytest.mark.parametrize("name", SIZES)
def test_a_window_ends_at_its_border_and_not_a_microsecond_before(name):
    limits = Budget(**{one: 1 if one == name else 100 for one in SIZES})
    border = NOON - NOON % SIZES[name] + SIZES[name]
    spent = Spent()
    assert take(spent, limits, 1, border - 1) is None
    assert take(spent, limits, 1, border - 1).again_us == border
    assert take(spent, limits, 1, border) is None
    assert take(spent, limits, 1, border + SIZES[name] - 1).window == name


@pytest.mark.parametrize("cost", [1 << 31, 1 << 32, (1 << 53) - 1, 1 << 53, 1 << 63, 1 << 64])
def test_what_was_asked_stays_a_number_that_json_keeps(cost):
    spent = Spent()
    assert take(spent, Budget(), cost, NOON).freezes
    assert take(spent, Budget(), cost, NOON + 1).freezes
    assert cost <= spent.asked or spent.asked == 1 << 53
    assert spent.asked <= 1 << 53
    assert (spent.minute, spent.hour, spent.day) == (0, 0, 0)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0, (10, 20, 50)),
        (12, (10, 20, 50)),
        (13, (10, 20, 81)),
        (14, (10, 40, 163)),
        (18, (131, 655, 2621)),
        (19, (250, 1250, 5000)),
        (63, (250, 1250, 5000)),
        (64, (250, 1250, 5000)),
        (10_000, (250, 1250, 5000)),
    ],
)
def test_the_default_of_each_entropy(bits, expected):
    made = budget.default(bits)
    assert (made.minute, made.hour, made.day) == expected
    assert made.minute <= made.hour <= made.day


# The rows of the store


@pytest.fixture
def people(tmp_path):
    with world(tmp_path / "home") as made:
        made.clock.now_us = NOON
        yield People(made)


def numbers(people, count, who="support", first=0):
    """A batch of so many look-ups; the code of what came."""
    items = [{"field": NUMBER, "index": "exact", "value": f"{number}"} for number in range(first, first + count)]
    try:
        people.call(who, "fields.search", purpose="support", items=items)
    except (SearchBudgetExceeded, SearchFrozen) as error:
        return error.code
    return ""


def kept(people):
    """The stored row of the support service."""
    with people.world.gate._doors.parts[Store].read() as tx:
        return budget_store.find(tx, (PLACE[0], "svc:support", PLACE[2]))


def test_what_is_answered_is_stored_with_its_record(people):
    assert kept(people) is None
    for count, used in ((3, 3), (1, 4), (16, 20)):
        assert numbers(people, count) == ""
        assert (kept(people).minute, kept(people).day, kept(people).asked) == (used, used, used)
    assert numbers(people, 1) == "GRD-RATE-020"
    people.world.clock.advance(60)
    assert numbers(people, 5) == ""
    assert (kept(people).minute, kept(people).hour, kept(people).day, kept(people).asked) == (5, 25, 25, 26)


def test_a_day_is_spent_in_sixty_an_hour_and_then_frozen(people):
    answered, codes = Counter(), []
    for hour in range(4):
        for minute in (0, 5, 10):
            people.world.clock.now_us = NOON + hour * HOUR_US + minute * MINUTE_US
            codes.append(numbers(people, 20, first=minute * 20))
            answered[hour] += 20 if codes[-1] == "" else 0
    assert codes == [""] * 5 + ["GRD-RATE-020"] + ["GRD-RATE-021"] * 6
    assert +answered == Counter({0: 60, 1: 40})
    assert kept(people).day == 100


def test_restarts_in_mid_window_add_up(tmp_path):
    home, answered, now = tmp_path / "home", 0, NOON
    for start in range(4):
        with world(home) as made:
            made.clock.now_us = now
            people = People(made)
            while numbers(people, 3, first=answered) == "":
                answered += 3
                if answered % 6 == 0:  # end here, in the middle of what the minute allows
                    break
            now = made.clock.now_us
        assert now // MINUTE_US == NOON // MINUTE_US, "the clock of the test left its minute"
        assert answered == min(6 * (start + 1), 18)


def test_what_nobody_needs_goes_with_the_next_newcomer_and_freezes_stay(people):
    assert people.call("officer", "budgets.list").data == []
    numbers(people, 1)
    numbers(people, 1, who="storing")
    while numbers(people, 20, who="storing") != "GRD-RATE-021":
        people.world.clock.advance(1)
    waiting = list(people.world.gate._doors.parts[Budgets].due(0))
    assert people.world.beat("budgets.exceeded", lambda _now: waiting) == 2
    people.world.clock.advance(3 * 86_400)
    people.people["late"] = people.world.hire("acme", "svc:late", "role:support")
    assert numbers(people, 1, who="late") == ""
    listed = people.call("officer", "budgets.list").data
    assert [(one.principal, bool(one.frozen_us)) for one in listed] == [("svc:storing", True), ("svc:late", False)]


def test_a_refused_batch_of_two_indexes_tells_which_one(people):
    items = [{"field": "people.born", "low": "1984-01-01"}] + [
        {"field": NUMBER, "index": "exact", "value": f"{number}"} for number in range(21)
    ]
    with pytest.raises(SearchBudgetExceeded) as caught:
        people.call("support", "fields.search", purpose="support", items=items)
    assert "people.number.exact" in caught.value.detail
    assert caught.value.extra["limit"] == 20
    assert caught.value.extra["window"] == "minute"


def test_the_seconds_to_wait_are_enough_and_not_too_many(people):
    numbers(people, 20)
    items = [{"field": NUMBER, "index": "exact", "value": "1"}]
    with pytest.raises(SearchBudgetExceeded) as caught:
        people.call("support", "fields.search", purpose="support", items=items)
    wait = caught.value.extra["retry_after_seconds"]
    assert 1 <= wait <= 60
    people.world.clock.now_us = people.world.clock.now_us // MINUTE_US * MINUTE_US  # as the refusal saw its window
    people.world.clock.advance(60)
    assert numbers(people, 1) == ""


def test_incidents_are_one_for_each_window_that_was_exceeded(people):
    budgets = people.world.gate._doors.parts[Budgets]
    for minute in range(3):
        people.world.clock.now_us = NOON + minute * MINUTE_US
        assert numbers(people, 20) == ""
        for _ in range(3):
            assert numbers(people, 1) == "GRD-RATE-020"
        waiting = list(budgets.due(0))
        assert len(waiting) == 1
        assert people.world.beat("budgets.exceeded", lambda _now, waiting=waiting: waiting) == 1
        assert list(budgets.due(0)) == []
    records = people.world.records("acme", action="budgets.exceeded")
    assert len(records) == 3


@given(st.integers(0, 2**32))
@settings(max_examples=50)
def test_many_principals_in_little_memory_are_counted_as_if_all_were_held(seed):
    draw, limits = random.Random(seed), Budget(3, 5, 100)
    small, large, stored = Budgets(max_held=8), Budgets(), {}
    for number in range(150):
        place, now = ("acme", f"svc:{draw.randint(1, 20)}", "i"), NOON + number // 30 * MINUTE_US
        mine = small.take(stored.get, place, limits, 1, now)
        other = large.take(lambda _: None, place, limits, 1, now)
        assert isinstance(mine, Refusal) == isinstance(other, Refusal)
        if isinstance(mine, Spent):  # with its record, as the gate does
            small._unsaved.discard(place)
            stored[place] = Spent(**mine.numbers())
        assert len(small) <= 8
        assert len(small._unsaved) <= 8


def test_findings_of_a_flood_are_bounded_and_come_again_once_there_is_room():
    budgets, limits = Budgets(), Budget(1, 100, 100)
    places = [("acme", f"svc:{number}", "i") for number in range(MAX_TOLD + 5)]
    for place in places:
        for _ in range(2):
            budgets.take(lambda _: None, place, limits, 1, NOON)
    waiting = list(budgets.due(0))
    assert len(waiting) == MAX_TOLD
    for _, facts in waiting:
        budgets.told(("acme", facts["principal"], facts["index"]), facts["window"])
    assert list(budgets.due(0)) == []
    for place in places[-5:]:  # who was not told of is, the next time it asks for too much
        budgets.take(lambda _: None, place, limits, 1, NOON)
    assert {facts["principal"] for _, facts in budgets.due(0)} == {place[1] for place in places[-5:]}
