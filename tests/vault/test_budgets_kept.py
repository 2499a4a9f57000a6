"""What a look-up used is kept where its own transaction refused it: a kill does not give it back."""

import pytest

from guard.errors import AlreadyExists
from guard.vault import budget_store
from guard.vault.budgets import MAX_SAVED, STORING, Budgets
from tests.vault.people import NUMBER, People, world

CLAIM = {"field": NUMBER, "index": "unique"}
PLACE = ("acme", "svc:storing", "people.number.unique" + STORING)


@pytest.fixture
def people(tmp_path):
    with world(tmp_path / "home") as made:
        yield People(made)


def stored(people, place=PLACE):
    """What a guard that starts now would know: the row, and nothing of this one's memory."""
    with people.world.guard.store.read() as tx:
        spent = budget_store.find(tx, place)
    return None if spent is None else (spent.minute, spent.hour, spent.day)


def budgets(people):
    return people.world.gate._doors.parts[Budgets]


def beat(people):
    return people.world.beat("budgets.store", budgets(people).store_due)


def refuse(people, row):
    with pytest.raises(AlreadyExists):
        people.call("storing", "fields.claim", **CLAIM, row=row, value="4711")


def test_refused_claims_are_counted_in_the_store_at_the_next_beat(people):
    people.call("storing", "fields.claim", **CLAIM, row="1", value="4711")
    assert stored(people) == (1, 1, 1)
    for row in ("2", "3", "4"):
        refuse(people, row)
    assert stored(people) == (1, 1, 1)  # undone with the transaction of each
    assert beat(people) == 1
    assert stored(people) == (4, 4, 4)
    assert beat(people) == 0


def test_a_claim_that_holds_is_counted_in_its_own_transaction(people):
    for number in range(1, 4):
        people.call("storing", "fields.claim", **CLAIM, row=str(number), value=f"471{number}")
        assert stored(people) == (number, number, number)


def test_after_a_kill_the_count_goes_on_from_there(people):
    people.call("storing", "fields.claim", **CLAIM, row="1", value="4711")
    refuse(people, "2")
    beat(people)
    budgets(people)._held.clear()  # as a process that starts anew
    refuse(people, "3")
    beat(people)
    assert stored(people) == (3, 3, 3)


def test_the_step_leaves_no_record_of_its_own(people):
    people.call("storing", "fields.claim", **CLAIM, row="1", value="4711")
    refuse(people, "2")
    size = people.world.guard.log.size
    assert beat(people) == 1
    assert people.world.guard.log.size == size


def test_so_many_at_a_time_and_none_is_left_out(people):
    held, limits = budgets(people), budget_store.Spent()
    places = [("acme", f"svc:{number}", "people.number.exact") for number in range(MAX_SAVED + 20)]
    for number, place in enumerate(places):
        held._held[place] = type(limits)(day=number + 1, day_us=1)
        held._unsaved.add(place)
    assert len(held.unsaved()) == MAX_SAVED
    assert [beat(people), beat(people), beat(people)] == [1, 1, 0]
    assert [stored(people, place)[2] for place in places] == [number + 1 for number in range(len(places))]
