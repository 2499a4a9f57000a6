"""Budgets of search: a dictionary walked through the API is throttled, found and frozen; restarts give nothing back."""

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import Denied, NotFound, SearchBudgetExceeded, SearchFrozen
from guard.vault import budget
from guard.vault.budget import DAY_US, HOUR_US, MINUTE_US, Budget, Refusal, Spent, take
from guard.vault.budgets import Budgets
from tests.vault.people import BORN, NAME, NUMBER, People, world
from tests.world import START_US

SMALL = Budget(2, 3, 5)


@pytest.fixture
def people(tmp_path):
    with world(tmp_path / "home") as made:
        made.clock.now_us = START_US // DAY_US * DAY_US + DAY_US
        yield People(made)


def due(people):
    """Findings that wait, as the worker would take them."""
    return list(people.world.gate._doors.parts[Budgets].due(0))


def beat(people):
    found = due(people)
    return people.world.beat("budgets.exceeded", lambda _now: found)


def walk(people, dates, field=BORN):
    """Look up one birth date after the other, whatever comes back; how many were answered, and the last error."""
    answered, last = 0, None
    for day in dates:
        try:
            people.search(field, low=day, high=day)
            answered += 1
        except (SearchBudgetExceeded, SearchFrozen) as error:
            last = error
    return answered, last


def birth_dates(count):
    return [(date(1950, 1, 1) + timedelta(days=number)).isoformat() for number in range(count)]


def test_the_shipped_default_allows_one_value_in_a_hundred():
    assert budget.default(15) == Budget(16, 81, 327)
    assert budget.default(30) == budget.default(250) == Budget(250, 1250, 5000)
    assert budget.default(0) == Budget(10, 20, 50)


@given(st.lists(st.tuples(st.integers(0, DAY_US // 2), st.integers(1, 3)), max_size=60))
@settings(max_examples=200)
def test_no_window_lets_more_through_than_it_allows(steps):
    spent, now, answered = Spent(), 10 * DAY_US, []
    for later, cost in steps:
        now += later
        if take(spent, SMALL, cost, now) is None:
            answered += [now] * cost
    for name, size in (("minute", MINUTE_US), ("hour", HOUR_US), ("day", DAY_US)):
        for _, group in itertools.groupby(answered, lambda at, size=size: at // size):
            assert len(list(group)) <= getattr(SMALL, name)


def test_a_refusal_uses_nothing_up_and_says_when_it_is_over():
    spent = Spent()
    assert take(spent, SMALL, 2, DAY_US) is None
    refused = take(spent, SMALL, 1, DAY_US + 5)
    assert refused == Refusal("minute", 2, DAY_US + MINUTE_US, freezes=False)
    assert (spent.minute, spent.day, spent.asked) == (2, 2, 3)
    assert take(spent, SMALL, 1, DAY_US + MINUTE_US) is None


def test_a_clock_that_goes_back_gives_nothing_again():
    spent = Spent()
    assert take(spent, SMALL, 2, 2 * DAY_US) is None
    assert take(spent, SMALL, 1, DAY_US) is not None


def test_asking_for_more_than_a_day_allows_freezes_whether_it_was_answered_or_not():
    spent = Spent()
    got = [take(spent, SMALL, 1, DAY_US + number) for number in range(6)]
    assert [one and one.freezes for one in got] == [None, None, False, False, False, True]


def test_a_walk_through_all_birth_dates_is_throttled_found_and_frozen(people):
    answered, last = walk(people, birth_dates(300))
    assert answered == 20
    assert isinstance(last, SearchFrozen)
    assert "guard budgets thaw" in last.detail
    assert beat(people) == 2  # throttled, and frozen
    assert due(people) == []
    analyst = people.world.hire("acme", "user:local|ann", "role:analyst")
    incidents = people.world.call("incidents.list", analyst).data
    assert {(one.title, one.severity) for one in incidents} == {
        ("Search in people.born.range is throttled", 3),
        ("Search in people.born.range is frozen: it asked for more than a day allows", 2),
    }
    records = people.world.records("acme", action="budgets.exceeded")
    assert len(records) == 2
    assert "1950" not in str([one.model_dump() for one in records])


def test_a_patient_walk_within_the_minute_ends_at_the_day(people):
    answered = 0
    for day in birth_dates(400):
        people.world.clock.advance(61)
        got, last = walk(people, [day])
        answered += got
    assert answered == 100
    assert isinstance(last, SearchFrozen)


def test_nine_digit_numbers_in_one_batch_are_refused_whole(people):
    items = [{"field": NUMBER, "index": "exact", "value": f"{number:09}"} for number in range(21)]
    with pytest.raises(
        SearchBudgetExceeded, match=r"at most 20 look-ups a minute in people\.number\.exact, got 21"
    ) as caught:
        people.call("support", "fields.search", purpose="support", items=items)
    assert caught.value.extra["retry_after_seconds"] >= 1
    assert people.call("support", "fields.search", purpose="support", items=items[:20])["results"][19]["tokens"]
    with pytest.raises(SearchBudgetExceeded, match="used up; try again in"):
        people.call("support", "fields.search", purpose="support", items=items[:1])


def test_the_other_operations_are_no_way_round(people):
    asked = [{"field": NUMBER, "index": "exact", "value": "1"}] * 20
    people.call("support", "indexes.compute", purpose="support", items=asked)
    with pytest.raises(SearchBudgetExceeded):
        people.search(NUMBER, index="exact", value="2")
    with pytest.raises(SearchBudgetExceeded):
        people.call("support", "indexes.compute", purpose="support", items=asked[:1])


def test_a_refusal_is_on_record_and_says_no_value(people):
    items = [{"field": NUMBER, "index": "exact", "value": "987654321"}] * 21
    with pytest.raises(SearchBudgetExceeded):
        people.call("support", "fields.search", purpose="support", items=items)
    refused = [one for one in people.world.records("acme", action="fields.search") if one.status != "ok"]
    assert len(refused) == 1
    assert "GRD-RATE-020" in str(refused[0].model_dump())
    assert "987654321" not in str(refused[0].model_dump())


def test_principals_indexes_and_tenants_have_budgets_of_their_own(people):
    walk(people, birth_dates(20))
    with pytest.raises(SearchBudgetExceeded):
        people.search(BORN, low="1984-01-01")
    assert people.search(NUMBER, index="exact", value="1")["tokens"]
    assert people.search(NAME, value="ana")["tokens"]
    assert people.search(BORN, "storing", low="1984-01-01")["tokens"]
    assert People(people.world, "globex").search(BORN, low="1984-01-01")["tokens"]


def test_what_does_not_fit_costs_nothing(people):
    for _ in range(30):
        assert "problem" in people.search(BORN, low="never")
    assert people.search(BORN, low="1984-01-01")["tokens"]


def test_a_restart_gives_nothing_back(tmp_path):
    home = tmp_path / "home"
    with world(home) as made:
        made.clock.now_us = START_US // DAY_US * DAY_US + DAY_US
        walk(People(made), birth_dates(20))
        now_us = made.clock.now_us
    with world(home) as made:
        made.clock.now_us = now_us
        people = People(made)
        with pytest.raises(SearchBudgetExceeded):
            people.search(BORN, low="1984-01-01")
        walk(people, birth_dates(90))
        assert beat(people) == 2
    with world(home) as made:
        made.clock.now_us = now_us + 30 * DAY_US
        with pytest.raises(SearchFrozen):  # a freeze outlives its day
            People(made).search(BORN, low="1984-01-01")


def test_a_privacy_officer_lifts_a_freeze_and_nobody_else(people):
    walk(people, birth_dates(200))
    beat(people)
    place = {"principal": "svc:support", "index": "people.born.range"}
    with pytest.raises(Denied):
        people.call("support", "budgets.thaw", **place)
    [shown] = [one for one in people.call("officer", "budgets.list").data if one.index == place["index"]]
    assert (shown.principal, shown.day) == ("svc:support", 20)
    assert shown.frozen_us
    people.call("officer", "budgets.thaw", **place)
    assert people.search(BORN, low="1984-01-01")["tokens"]
    with pytest.raises(NotFound):
        people.call("officer", "budgets.thaw", principal="svc:nobody", index="people.born.range")


def test_another_tenant_lifts_and_sees_nothing_of_it(people):
    other = People(people.world, "globex")
    walk(people, birth_dates(200))
    beat(people)
    assert other.call("officer", "budgets.list").data == []
    with pytest.raises(NotFound):
        other.call("officer", "budgets.thaw", principal="svc:support", index="people.born.range")


def test_memory_is_bounded_and_forgets_nobody_who_is_stored():
    kept, stored = Budgets(max_held=100), {}
    place = ("acme", "svc:0", "i")
    assert isinstance(kept.take(stored.get, place, SMALL, 2, DAY_US), Spent)
    stored[place] = Spent(DAY_US, 2, DAY_US, 2, DAY_US, 2, 2)
    kept._unsaved.clear()
    for number in range(1, 5000):
        kept.take(stored.get, ("acme", f"svc:{number}", "i"), SMALL, 1, DAY_US)
    assert len(kept) <= 100
    assert isinstance(kept.take(stored.get, place, SMALL, 1, DAY_US), Refusal)


def test_findings_are_one_for_a_window_and_bounded():
    kept = Budgets()
    for number in range(3000):
        for _ in range(4):
            kept.take(lambda _: None, ("acme", f"svc:{number}", "i"), Budget(1, 100, 100), 1, DAY_US)
    assert len(list(kept.due(0))) == 1024
