"""Two live versions of an index: every row is found in each moment; unique values; what an old version still needs."""

import shutil
import threading

import pytest

from guard.errors import (
    AlreadyExists,
    Denied,
    InvalidRequest,
    InvalidSetting,
    KeyInUse,
    KeyStateConflict,
    NotFound,
)
from tests.vault.people import BORN, NAME, NUMBER, POLICY, People, Table, matches, source_of, world

ROWS = [
    {"name": f"{name} {number}", "city": city, "born": f"19{50 + number:02}-05-17", "number": f"{4711 + number}"}
    for number, (name, city) in enumerate(
        [("Ana", "Porto"), ("Anatol", "Porto"), ("Ben", "Lisboa"), ("Benita", "Faro"), ("Cy", "Porto")] * 4
    )
]
CLAIM = {"field": NUMBER, "index": "unique"}


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path / "shop.db")


@pytest.fixture
def people(tmp_path, table):
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        yield People(made)


def build(people, field=NAME, rows=500, again=False):
    """Give all rows their tokens; how many calls it took."""
    for calls in range(1, 100):
        answer = people.call(
            "keys", "sources.index", source="people", field=field, rows=rows, again=again and calls == 1
        )
        if answer.done:
            return calls
    raise AssertionError("the tokens are never done")


def found(people, field=NAME, **asked):
    people.world.clock.advance(60)
    answer = people.call("support", "sources.search", source="people", purpose="support", field=field, **asked)
    return {int(row) for row in answer.rows}


def test_a_source_is_searched_by_every_kind_and_false_hits_are_dropped(people, table):
    table.fill(people, ROWS)
    for field in (NAME, BORN, NUMBER):
        build(people, field)
    assert found(people, value="ana 0") == {1}
    assert found(people, kind="prefix", value="ana") == {1, 2, 6, 7, 11, 12, 16, 17}
    assert found(people, kind="prefix", value="Anatol 1") == {12, 17, 2}
    assert found(people, kind="compound", value="Cy 4", values={"city": "porto"}) == {5}
    assert found(people, kind="compound", value="Cy 4", values={"city": "faro"}) == set()
    assert found(people, BORN, low="1951-01-01", high="1953-12-31") == {2, 3, 4}
    assert found(people, NUMBER, index="unique", value="47-12") == {2}


def test_false_hits_of_a_short_token_are_opened_and_dropped(people, table):
    table.fill(people, [{"name": f"{number:06} x", "city": "y"} for number in range(60)])
    build(people)
    answer = people.call(
        "support", "sources.search", source="people", purpose="support", field=NAME, kind="prefix", value="000001 x"
    )
    assert answer.rows == ["2"]
    assert answer.dropped == 0 or answer.dropped < 60
    narrow = people.call(
        "support",
        "sources.search",
        source="people",
        purpose="support",
        field=NAME,
        kind="prefix",
        value="0000",
        limit=5,
    )
    assert (len(narrow.rows), narrow.more) == (5, True)


def test_a_row_that_changed_since_is_no_hit_and_is_found_again_after_indexing(people, table):
    table.fill(people, ROWS[:3])
    build(people)
    sealed = people.seal("Zoe", field=NAME, rows=["1"])[0]
    table.run("UPDATE people SET name = ? WHERE id = 1", sealed)
    assert found(people, value="ana 0") == set()
    assert found(people, value="zoe") == set()
    build(people, again=True)
    assert found(people, value="zoe") == {1}


def test_every_row_is_found_in_each_moment_of_a_rotation(people, table):
    table.fill(people, ROWS)
    build(people)
    assert [one.version for one in people.call("keys", "indexes.rotate", name="people.name.start").data] == [2, 1]
    people.call("keys", "indexes.rotate", name="people.name.exact")
    moments = 0
    while True:
        assert found(people, kind="prefix", value="ana") == {1, 2, 6, 7, 11, 12, 16, 17}
        assert found(people, kind="prefix", value="ben") == {3, 4, 8, 9, 13, 14, 18, 19}
        assert all(found(people, value=row["name"]) == {number} for number, row in enumerate(ROWS[:3], 1))
        carried = {
            version for (version,) in table.run("SELECT DISTINCT version FROM guard_tokens WHERE idx LIKE '%start'")
        }
        if moments and people.call("keys", "sources.index", source="people", field=NAME, rows=3).done:
            break
        moments += 1
        assert carried <= {1, 2}
        with pytest.raises(KeyInUse, match="carry tokens of version 1"):
            people.call("keys", "indexes.retire", name="people.name.start", version=1)
    assert moments > 5
    people.call("keys", "indexes.retire", name="people.name.start", version=1)
    assert found(people, kind="prefix", value="ana") == {1, 2, 6, 7, 11, 12, 16, 17}
    assert {one.version for one in people.call("keys", "indexes.list").data if one.index == "people.name.start"} == {2}


def test_an_application_that_keeps_tokens_itself_finds_both_versions(people):
    old = people.stored(NAME, "ana")["exact"]
    people.call("keys", "indexes.rotate", name="people.name.exact")
    new = people.stored(NAME, "ana")["exact"]
    asked = people.search(NAME, value="ana")
    assert old != new
    assert matches(asked, old, 1)
    assert matches(asked, new, 2)
    assert [one["version"] for one in asked["tokens"]] == [2] * 4 + [1] * 4 or {
        one["version"] for one in asked["tokens"]
    } == {1, 2}


def test_versions_survive_a_restart_and_a_changed_policy_waits_for_a_rotation(tmp_path):
    home = tmp_path / "home"
    with world(home) as made:
        before = People(made).stored(NAME, "Ana Silva", city="Porto")
    shutil.copytree(home, tmp_path / "copy")
    changed = POLICY.replace("bits: 5, min_length: 3, max_length: 6", "bits: 8, min_length: 2, max_length: 4")
    with world(home, changed) as made:
        people = People(made)
        assert people.stored(NAME, "Ana Silva", city="Porto") == before  # tokens as the rows have them
        listed = {one.index: one for one in people.call("keys", "indexes.list").data}
        assert (listed["people.name.start"].current, listed["people.name.start"].bits) == (False, 5)
        assert listed["people.name.exact"].current
        people.call("keys", "indexes.rotate", name="people.name.start")
        after = people.stored(NAME, "Ana Silva", city="Porto")["start"]
        assert len(after) == 3  # lengths 2, 3 and 4
        asked = people.search(NAME, kind="prefix", value="ana")
        assert matches(asked, before["start"], 1)
        assert matches(asked, after, 2)
    with world(home, changed) as made:
        people = People(made)
        assert people.stored(NAME, "Ana Silva", city="Porto")["start"] == after
        assert matches(people.search(NAME, kind="prefix", value="ana"), before["start"], 1)


def test_the_newest_version_and_unknown_ones_are_not_retired(people):
    with pytest.raises(KeyStateConflict, match="is the newest"):
        people.call("keys", "indexes.retire", name="people.name.exact", version=1)
    with pytest.raises(NotFound):
        people.call("keys", "indexes.retire", name="people.name.exact", version=7)
    with pytest.raises(NotFound):
        people.call("keys", "indexes.rotate", name="people.name.nothing")
    with pytest.raises(Denied):
        people.call("support", "indexes.rotate", name="people.name.exact")


def test_a_source_of_another_tenant_or_without_the_columns_is_refused(people, table):
    other = People(people.world, "globex")
    with pytest.raises(InvalidSetting):
        other.call("support", "sources.search", source="people", purpose="support", field=NAME, value="ana")
    with pytest.raises(InvalidRequest, match=r"customers\.email among the columns of source people"):
        people.call(
            "support", "sources.search", source="people", purpose="support", field="customers.email", value="a@b.c"
        )
    with pytest.raises(Denied):
        people.call("billing", "sources.search", source="people", purpose="billing", field=NAME, value="ana")


def test_a_unique_value_is_had_by_one_row_until_it_is_released(people):
    assert people.call("storing", "fields.claim", **CLAIM, row="1", value="4711").tokens == 1
    assert people.call("storing", "fields.claim", **CLAIM, row="1", value="47 11").tokens == 1
    with pytest.raises(AlreadyExists, match="got one that is taken") as caught:
        people.call("storing", "fields.claim", **CLAIM, row="2", value="47-11")
    assert "4711" not in caught.value.detail
    people.call("storing", "fields.claim", **CLAIM, row="2", value="4712")
    people.call("storing", "fields.claim", **CLAIM, row="1", value="4713")  # a row that changes gives up what it had
    people.call("storing", "fields.claim", **CLAIM, row="3", value="4711")
    assert people.call("storing", "fields.release", **CLAIM, row="3").tokens == 1
    assert people.call("storing", "fields.release", **CLAIM, row="3").tokens == 0
    assert People(people.world, "globex").call("storing", "fields.claim", **CLAIM, row="9", value="4712").tokens == 1


def test_a_value_claimed_under_the_old_version_is_taken_under_the_new_one(people):
    people.call("storing", "fields.claim", **CLAIM, row="1", value="4711")
    people.call("keys", "indexes.rotate", name="people.number.unique")
    with pytest.raises(AlreadyExists):
        people.call("storing", "fields.claim", **CLAIM, row="2", value="4711")
    assert people.call("storing", "fields.claim", **CLAIM, row="2", value="4712").tokens == 2
    with pytest.raises(KeyInUse, match="1 claimed values"):
        people.call("keys", "indexes.retire", name="people.number.unique", version=1)
    people.call("storing", "fields.claim", **CLAIM, row="1", value="4711")
    people.call("keys", "indexes.retire", name="people.number.unique", version=1)
    for row, value in (("3", "4711"), ("3", "4712")):
        with pytest.raises(AlreadyExists):
            people.call("storing", "fields.claim", **CLAIM, row=row, value=value)


def test_of_threads_that_claim_one_value_in_mid_rotation_exactly_one_wins(people):
    for number in range(10):
        outcomes, ready = [], threading.Barrier(5)

        def race(row, number=number, outcomes=outcomes, ready=ready):
            ready.wait()
            try:
                if row == "rotation":
                    people.call("keys", "indexes.rotate", name="people.number.unique")
                else:
                    outcomes.append(people.call("storing", "fields.claim", **CLAIM, row=row, value=f"{number}").row)
            except AlreadyExists:
                outcomes.append("taken")
            except Exception as error:  # noqa: BLE001  a thread's error would be lost
                outcomes.append(type(error).__name__)

        racers = ["1", "2", "3", "4", "rotation"] if number % 3 == 0 else ["1", "2", "3", "4", "5"]
        threads = [
            threading.Thread(target=race, args=(f"{number}-{row}" if row != "rotation" else row,)) for row in racers
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        won = [one for one in outcomes if one not in {"taken", "Conflict"}]
        assert len(won) <= 1, outcomes
        assert won or "Conflict" in outcomes, outcomes
        if not won:  # all came while the index was being rotated; whoever tries again gets it
            people.call("storing", "fields.claim", **CLAIM, row="late", value=f"{number}")


def test_a_unique_index_of_the_application_stores_a_token_of_each_live_version(people):
    people.call("keys", "indexes.rotate", name="people.number.unique")
    asked = [{"field": NUMBER, "value": "4711", "row": "1"}]
    answer = people.call("storing", "fields.index_tokens", items=asked)["results"][0]["indexes"]
    assert sorted(one["version"] for one in answer if one["index"] == "unique") == [1, 2]
    assert [one["version"] for one in answer if one["index"] == "exact"] == [1]


def test_only_a_unique_index_can_be_claimed_in(people):
    with pytest.raises(InvalidRequest, match=r"a unique index of people\.number, got exact"):
        people.call("storing", "fields.claim", field=NUMBER, index="exact", row="1", value="1")
    with pytest.raises(Denied):
        people.call("support", "fields.claim", **CLAIM, row="1", value="1")
