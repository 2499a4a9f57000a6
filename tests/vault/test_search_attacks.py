"""What a second reading of search found: each test is an attack or an accident that once went through."""

import threading

import pytest

from guard.errors import (
    AlreadyExists,
    InvalidPolicy,
    InvalidRequest,
    KeyInUse,
    KeyStateConflict,
    NotFound,
    SearchBudgetExceeded,
    SearchFrozen,
)
from guard.vault import policy as field_policy
from guard.vault.budget import DAY_US, Budget, Refusal, Spent
from guard.vault.budgets import Budgets
from guard.vault.normalisers import MAX_CHARACTERS
from tests.vault.people import BORN, CITY, NAME, NUMBER, POLICY, People, Table, matches, source_of, world
from tests.vault.shop import b64, item
from tests.world import START_US

PLACE = ("acme", "svc:eve", "people.born.range")
ONE_A_DAY = Budget(1, 1, 1)
CLAIM = {"field": NUMBER, "index": "unique"}
WIDE = "name: unique, kind: exact, normalise: digits, bits: 128, unique: true"


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path / "shop.db")


@pytest.fixture
def people(tmp_path, table):
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        made.clock.now_us = START_US // DAY_US * DAY_US + DAY_US
        yield People(made)


def build(people, field):
    """All rows of the source, in one call; what it came to."""
    answer = people.call("keys", "sources.index", source="people", field=field)
    assert answer.done
    return answer


def found(people, field, **asked):
    people.world.clock.advance(60)
    answer = people.call("support", "sources.search", source="people", purpose="support", field=field, **asked)
    return set(answer.rows)


def carried(table, index):
    return {tuple(one) for one in table.run("SELECT row, version FROM guard_tokens WHERE idx = ?", index)}


# Rows of a source


def test_a_unique_version_is_not_retired_while_rows_of_a_source_have_no_newer_one(people, table):
    table.fill(people, [{"number": "4711"}, {"number": "4712"}])
    build(people, NUMBER)
    people.call("keys", "indexes.rotate", name="people.number.unique")
    with pytest.raises(KeyInUse, match="2 rows of source people carry tokens of version 1"):
        people.call("keys", "indexes.retire", name="people.number.unique", version=1)
    build(people, NUMBER)
    people.call("keys", "indexes.retire", name="people.number.unique", version=1)
    assert found(people, NUMBER, index="unique", value="4711") == {"1"}


@pytest.mark.parametrize("gone", ["DELETE FROM people WHERE id <= 2", "UPDATE people SET name = NULL WHERE id <= 2"])
def test_rows_that_are_gone_keep_no_version_alive(people, table, gone):
    table.fill(people, [{"name": f"Ana {number}", "city": "Porto"} for number in range(5)])
    build(people, NAME)
    people.call("keys", "indexes.rotate", name="people.name.start")
    table.run(gone)
    build(people, NAME)
    people.call("keys", "indexes.retire", name="people.name.start", version=1)
    assert carried(table, "people.name.start") == {("3", 2), ("4", 2), ("5", 2)}
    assert found(people, NAME, kind="prefix", value="ana") == {"3", "4", "5"}


def test_a_version_that_a_living_row_needs_stays_whatever_is_gone_beside_it(people, table):
    table.fill(people, [{"name": f"Ana {number}", "city": "Porto"} for number in range(5)])
    build(people, NAME)
    people.call("keys", "indexes.rotate", name="people.name.start")
    table.run("DELETE FROM people WHERE id <= 2")
    with pytest.raises(KeyInUse, match="3 rows"):
        people.call("keys", "indexes.retire", name="people.name.start", version=1)
    assert found(people, NAME, kind="prefix", value="ana") == {"3", "4", "5"}


def test_a_row_without_the_other_part_is_found_by_its_other_indexes(people, table):
    table.fill(people, [{"name": "Ana"}, {"name": "Ana", "city": "Porto"}])
    assert build(people, NAME).failed == 0
    assert found(people, NAME, value="ana") == {"1", "2"}
    assert found(people, NAME, kind="prefix", value="ana") == {"1", "2"}
    assert found(people, NAME, kind="compound", value="ana", values={"city": "porto"}) == {"2"}


COMPOUND_FIRST = POLICY.replace(
    "{name: exact, kind: exact, normalise: casefold, bits: 16, partitions: 4},",
    "{name: digits, kind: exact, normalise: digits, bits: 8}, "
    "{name: exact, kind: exact, normalise: casefold, bits: 16, partitions: 4},",
)


def test_a_value_without_a_form_in_the_first_index_has_its_tokens_in_the_second(tmp_path, table):
    with world(tmp_path / "home", COMPOUND_FIRST, sources=(source_of(table.path),)) as made:
        people = People(made)
        table.fill(people, [{"name": "Ana", "city": "Porto"}, {"name": "Ana 7", "city": "Porto"}])
        assert build(people, NAME).failed == 1  # no digits in the first: it is told, and the rest is written
        assert found(people, NAME, index="exact", value="ana") == {"1"}
        assert found(people, NAME, index="digits", value="7") == {"2"}


def test_tokens_of_a_value_that_became_unfit_go_with_the_next_indexing(people, table):
    table.fill(people, [{"born": "1984-02-29"}])
    build(people, BORN)
    sealed = people.seal("unknown", field=BORN, rows=["1"])[0]
    table.run("UPDATE people SET born = ? WHERE id = 1", sealed)
    assert build(people, BORN).failed == 1
    assert carried(table, "people.born.range") == set()
    people.call("keys", "indexes.rotate", name="people.born.range")
    people.call("keys", "indexes.retire", name="people.born.range", version=1)


def test_rows_with_odd_keys_are_found_page_by_page(tmp_path):
    table = Table(tmp_path / "shop.db")
    table.run("DROP TABLE people")
    table.run("CREATE TABLE people (id TEXT PRIMARY KEY, name TEXT, city TEXT, born TEXT, number TEXT)")
    rows = {"1", "01", " 1", "ä", "a\u0308", "0x1", "\U0001f600", "\uffee", "it's", "%"}
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        people = People(made)
        ordered = sorted(rows | {f"k{number}" for number in range(450)})  # three pages of a search
        for row, sealed in zip(ordered, people.seal(*["Ana"] * len(ordered), field=NAME, rows=ordered), strict=True):
            table.run("INSERT INTO people (id, name) VALUES (?, ?)", row, sealed)
        build(people, NAME)
        assert found(people, NAME, kind="prefix", value="ana", limit=500) == set(ordered)
        assert found(people, NAME, value="ana", limit=500) == set(ordered)


# Definitions that a policy changed under a living name


def test_an_index_that_became_unique_claims_no_short_tokens(tmp_path):
    home = tmp_path / "home"
    short = POLICY.replace(WIDE, "name: unique, kind: exact, normalise: digits, bits: 1")
    with world(home, short) as made:
        People(made)
    with world(home) as made:
        people = People(made)
        with pytest.raises(KeyStateConflict, match="rotate it first"):
            people.call("storing", "fields.claim", **CLAIM, row="1", value="1")
        people.call("keys", "indexes.rotate", name="people.number.unique")
        for number in range(8):  # with tokens of one bit of version 1 the third at the latest would be taken
            assert people.call("storing", "fields.claim", **CLAIM, row=f"r{number}", value=f"{number}").tokens == 1
        with pytest.raises(AlreadyExists):
            people.call("storing", "fields.claim", **CLAIM, row="other", value="7")


def test_another_kind_under_an_old_name_is_refused_in_one_sentence(tmp_path):
    home = tmp_path / "home"
    with world(home) as made:
        People(made)
    exact = "{name: start, kind: exact, normalise: casefold, bits: 5},"
    prefix = "{name: start, kind: prefix, normalise: casefold, bits: 5, min_length: 3, max_length: 6},"
    assert POLICY.count(prefix) == 1
    with world(home, POLICY.replace(prefix, exact)) as made:
        people = People(made)
        asked = {"field": NAME, "index": "start", "value": "ana"}
        for name in ("fields.search", "indexes.compute"):
            answer = people.call("support", name, purpose="support", items=[asked])["results"][0]
            assert "to stay prefix as rows have it, got exact" in answer["problem"]["detail"]
        with pytest.raises(KeyStateConflict, match="a name of its own"):
            people.call("keys", "indexes.rotate", name="people.name.start")
        [listed] = [one for one in people.call("keys", "indexes.list").data if one.index == "people.name.start"]
        assert (listed.kind, listed.current) == ("prefix", False)


@pytest.mark.parametrize("kind", ["prefix", "suffix"])
def test_a_part_of_an_e_mail_address_has_no_form(kind):
    declared = f"{{name: start, kind: {kind}, normalise: email, bits: 4, min_length: 3, max_length: 6}}"
    text = POLICY.replace("{name: exact, kind: exact, normalise: casefold, bits: 16, partitions: 4}", declared)
    with pytest.raises(InvalidPolicy, match="nobody could ask for it"):
        field_policy.parse(text, "people.yaml")


# Values that come with sealing


def tokens_with(people, *values, field=NAME):
    """The tokens that come with sealing in one batch of one row."""
    items = [item(name, "9", plaintext=value) for name, value in values]
    return people.call("storing", "fields.encrypt", indexes=True, items=items)["results"]


def test_bytes_that_are_no_text_are_sealed_and_are_no_value_of_an_index(people):
    broken = ["Nzf/", "Nzf+"]  # 77 and a byte that is no UTF-8: with a mark in its place both would be one value
    for one in broken:
        [sealed] = tokens_with(people, (NUMBER, one))
        assert sealed["missing"] == ["unique", "exact"]
        assert sealed["indexes"] == []


@pytest.mark.parametrize(("length", "indexed"), [(MAX_CHARACTERS - 1, True), (MAX_CHARACTERS, True)])
def test_the_longest_value_has_tokens_in_either_way(people, length, indexed):
    [sealed] = tokens_with(people, (NUMBER, b64("7" * length)))
    assert bool(sealed["indexes"]) == indexed
    assert {one["index"]: one["tokens"] for one in sealed["indexes"]} == people.stored(NUMBER, "7" * length, "9")


def test_another_part_that_is_too_long_is_missing_and_not_cut(people):
    sealed = tokens_with(people, (NAME, b64("Ana")), (CITY, b64("P" * (MAX_CHARACTERS + 1))))
    assert sealed[0]["missing"] == ["both"]
    assert {one["index"] for one in sealed[0]["indexes"]} == {"exact", "start"}
    assert "ciphertext" in sealed[1]


# Queries


def test_a_value_that_stands_as_a_column_is_not_repeated(people):
    asked = {"kind": "compound", "value": "Ana", "values": {"Rua Augusta 7": "city"}}
    detail = people.search(NAME, **asked)["problem"]["detail"]
    assert "Expected columns of people as keys of 'values'" in detail
    assert "Rua" not in detail
    with pytest.raises(InvalidRequest) as caught:
        people.call("support", "sources.search", source="people", purpose="support", field=NAME, **asked)
    assert "Rua" not in str(caught.value.detail)
    assert "Rua" not in str([one.model_dump() for one in people.world.records("acme")])


# Budgets


def frozen_in(budgets):
    """Eve asks for two with one a day."""
    assert isinstance(budgets.take(lambda _: None, PLACE, ONE_A_DAY, 1, DAY_US), Spent)
    assert isinstance(budgets.take(lambda _: None, PLACE, ONE_A_DAY, 1, DAY_US), Refusal)
    assert budgets.take(lambda _: None, PLACE, ONE_A_DAY, 1, DAY_US).frozen_us == DAY_US


def test_what_was_read_before_a_thaw_does_not_freeze_after_it():
    budgets, reads = Budgets(), []
    frozen = Spent(day_us=DAY_US, day=1, asked=9, frozen_us=DAY_US)

    def read(place):
        reads.append(place)
        if len(reads) == 1:  # the officer's thaw commits between this reading and its use
            budgets.thaw(place)
            return frozen
        return None

    assert budgets.take(read, PLACE, ONE_A_DAY, 1, DAY_US).frozen_us == 0
    assert len(reads) == 2


def test_a_thaw_drops_findings_that_wait():
    budgets = Budgets()
    frozen_in(budgets)
    assert budgets.thaw(PLACE)
    assert list(budgets.due(0)) == []
    assert not budgets.thaw(PLACE)


def test_a_freeze_that_is_not_stored_yet_is_lifted(people):
    items = [{"field": NUMBER, "index": "exact", "value": f"{number}"} for number in range(101)]
    with pytest.raises(SearchBudgetExceeded):
        people.call("support", "fields.search", purpose="support", items=items)
    with pytest.raises(SearchFrozen):
        people.search(NUMBER, index="exact", value="1")
    place = {"principal": "svc:support", "index": "people.number.exact"}
    people.call("officer", "budgets.thaw", **place)
    assert people.search(NUMBER, index="exact", value="1")["tokens"]
    people.call("officer", "budgets.thaw", **place)
    with pytest.raises(NotFound):
        people.call("officer", "budgets.thaw", **place)


def test_the_budget_of_a_storing_service_can_be_lifted_too(people):
    people.stored(NUMBER, "4711")
    listed = {(one.principal, one.index) for one in people.call("officer", "budgets.list").data}
    assert ("svc:storing", "people.number.unique:store") in listed
    people.call("officer", "budgets.thaw", principal="svc:storing", index="people.number.unique:store")
    left = {one.index for one in people.call("officer", "budgets.list").data}
    assert "people.number.unique:store" not in left
    assert "people.number.exact:store" in left


def test_memory_that_is_full_of_unstored_principals_gives_nobody_a_second_budget_at_once():
    budgets = Budgets(max_held=2)
    for number in range(500):
        place = ("acme", f"svc:{number}", "i")
        assert isinstance(budgets.take(lambda _: None, place, ONE_A_DAY, 1, DAY_US), Spent)
        assert isinstance(budgets.take(lambda _: None, place, ONE_A_DAY, 1, DAY_US), Refusal)


def test_of_threads_that_ask_at_once_as_many_are_answered_as_the_budget_has():
    budgets, answered, ready = Budgets(max_held=4), [], threading.Barrier(8)
    limits = Budget(50, 50, 1000)

    def ask(worker):
        ready.wait()
        for number in range(40):
            got = budgets.take(lambda _: None, PLACE, limits, 1, DAY_US)
            answered.extend([(worker, number)] * isinstance(got, Spent))

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(answered) == 50


def test_a_search_goes_on_while_an_index_is_rotated_and_retired(people):
    old = people.stored(NAME, "ana")["start"]
    problems, stop = [], threading.Event()

    def rotate():
        for version in range(1, 6):
            people.call("keys", "indexes.rotate", name="people.name.start")
            people.call("keys", "indexes.retire", name="people.name.start", version=version)
        stop.set()

    turning = threading.Thread(target=rotate)
    turning.start()
    while not stop.is_set():
        people.world.clock.advance(3)
        answer = people.search(NAME, "storing", kind="prefix", value="ana")
        if "problem" in answer:
            problems.append(answer["problem"])
    turning.join()
    assert [one for one in problems if one["code"] != "GRD-SEAL-001"] == []
    assert not matches(people.search(NAME, "storing", kind="prefix", value="ana"), old)
