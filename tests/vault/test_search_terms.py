"""The terms of each kind of index: ranges are covered exactly, equal prefixes and nothing else meet, parts do not flow."""

import math
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidRequest
from guard.vault import dyadic, index, terms
from guard.vault.domains import Domain
from guard.vault.index import Definition
from guard.vault.normalisers import NORMALISERS
from guard.vault.terms import Query

KEY = bytes(range(32))
TRIM, CASEFOLD, DIGITS = (NORMALISERS[name, 1] for name in ("trim", "casefold", "digits"))
PREFIX = Definition("people", "name", "start", "prefix", CASEFOLD, 64, lengths=(3, 6))
SUFFIX = Definition("people", "phone", "last", "suffix", DIGITS, 64, lengths=(4, 6))
PAIR = Definition("people", "name", "both", "compound", TRIM, 64, parts=(("city", TRIM),))
AGES = Definition("people", "age", "range", "range", TRIM, 64, domain=Domain("integer", 0, 149))
BORN = Domain("date", date(1900, 1, 1).toordinal(), date(2030, 12, 31).toordinal())
TEXTS = st.text(alphabet="abcÄß ", min_size=1, max_size=9)


def row(definition, **values):
    return set(terms.stored(definition, values))


def hit(definition, query, **values):
    """Whether a row with these values is found, by its terms alone."""
    carried = row(definition, **values)
    return any(carried.issuperset(alternative) for alternative in terms.asked(definition, query))


@given(st.integers(1, 5000), st.data())
@settings(max_examples=300)
def test_a_cover_is_exactly_the_range_with_at_most_two_log_n_pieces(numbers, data):
    levels = dyadic.levels_of(numbers)
    first = data.draw(st.integers(0, numbers - 1))
    last = data.draw(st.integers(first, numbers - 1))
    pieces = dyadic.cover(first, last, levels)
    held = [number for level, position in pieces for number in range(position << level, (position + 1) << level)]
    assert sorted(held) == list(range(first, last + 1))  # each number once: nothing twice, nothing beside
    assert len(pieces) <= max(1, 2 * math.ceil(math.log2(numbers)) if numbers > 1 else 1)
    assert all(level < levels for level, _ in pieces)


@given(st.integers(1, 2000), st.data())
@settings(max_examples=200)
def test_a_number_carries_a_piece_of_a_cover_if_and_only_if_it_is_inside(numbers, data):
    levels = dyadic.levels_of(numbers)
    first, last, number = (data.draw(st.integers(0, numbers - 1)) for _ in range(3))
    pieces = set(dyadic.cover(first, last, levels))
    assert bool(pieces & set(dyadic.path(number, levels))) == (first <= number <= last)


@pytest.mark.parametrize(
    ("first", "last", "levels", "pieces"),
    [
        (0, 7, 3, [(2, 0), (2, 1)]),  # the whole line is two halves and no piece of its own
        (5, 5, 3, [(0, 5)]),
        (1, 6, 3, [(0, 1), (0, 6), (1, 1), (1, 2)]),
        (4, 3, 3, []),
        (0, 0, 1, [(0, 0)]),
    ],
)
def test_covers_of_a_short_line(first, last, levels, pieces):
    assert dyadic.cover(first, last, levels) == pieces


@given(st.integers(0, 149), st.integers(-20, 170), st.integers(-20, 170))
@settings(max_examples=300)
def test_a_range_finds_exactly_what_lies_in_it(age, low, high):
    if low > high:
        with pytest.raises(InvalidRequest, match="other way round"):
            terms.asked(AGES, Query(low=str(low), high=str(high)))
        return
    query = Query(low=str(low), high=str(high))
    assert hit(AGES, query, age=str(age)) == (low <= age <= high) == terms.fits(AGES, query, {"age": str(age)})


@given(st.dates(date(1900, 1, 1), date(2030, 12, 31)), st.dates(date(1900, 1, 1), date(2030, 12, 31)))
@settings(max_examples=200)
def test_open_ranges_of_dates_in_steps_find_all_and_opening_drops_the_edge(born, low):
    months = Definition("people", "born", "range", "range", TRIM, 64, domain=Domain("date", BORN.low, BORN.high, 30))
    query = Query(low=low.isoformat())
    inside = born >= low
    assert terms.fits(months, query, {"born": born.isoformat()}) == inside
    found = hit(months, query, born=born.isoformat())
    assert found or not inside  # never one too few
    assert inside or not found or (low - born).days < 30  # those too many are of the same step


def test_a_range_over_all_birth_dates_asks_for_few_tokens():
    born = Definition("people", "born", "range", "range", TRIM, 64, domain=BORN)
    assert (BORN.steps, BORN.levels) == (47847, 16)
    worst = terms.asked(born, Query(low="1900-01-02", high="2030-12-30"))
    assert all(len(alternative) == 1 for alternative in worst)
    assert len(worst) <= 2 * math.log2(BORN.steps) < 32
    assert len(row(born, born="1984-02-29")) == 16


@given(TEXTS, TEXTS)
@settings(max_examples=400)
def test_prefix_tokens_are_equal_if_and_only_if_the_prefixes_are(one, other):
    try:
        left, right = CASEFOLD.apply(one), CASEFOLD.apply(other)
    except InvalidRequest:
        return
    shared = {PREFIX.cut(KEY, 1, term) for term in row(PREFIX, name=one)} & {
        PREFIX.cut(KEY, 1, term) for term in row(PREFIX, name=other)
    }
    equal = [size for size in range(3, 7) if min(len(left), len(right)) >= size and left[:size] == right[:size]]
    assert len(shared) == len(equal)


@given(TEXTS, TEXTS)
@settings(max_examples=300)
def test_a_prefix_finds_whatever_begins_with_it(name, sought):
    try:
        begins = CASEFOLD.apply(name).startswith(CASEFOLD.apply(sought))
        found = hit(PREFIX, Query({"name": sought}), name=name)
    except InvalidRequest:
        return
    assert found or not begins
    if len(CASEFOLD.apply(sought)) <= 6:
        assert found == begins


def test_a_prefix_longer_than_the_index_is_cut_and_the_rest_dropped_after_opening():
    query = Query({"name": "Alexandra"})
    assert hit(PREFIX, query, name="Alexander")
    assert not terms.fits(PREFIX, query, {"name": "Alexander"})
    assert terms.fits(PREFIX, query, {"name": "ALEXANDRA Maier"})
    assert [len(one) for one in terms.asked(PREFIX, Query({"name": "Alexa"}))] == [3]  # each length narrows it down


@pytest.mark.parametrize(("sought", "found"), [("4711", True), ("84711", True), ("0000", False), ("0170 4711", False)])
def test_the_last_digits_of_a_number_find_it(sought, found):
    query = Query({"phone": sought})
    assert terms.fits(SUFFIX, query, {"phone": "+49 170-84711"}) == found
    assert hit(SUFFIX, query, phone="+49 170-84711") == found


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=4, max_size=4))
@settings(max_examples=200)
def test_parts_of_a_compound_index_cannot_flow_into_one_another(parts):
    left, right = {"name": parts[0], "city": parts[1]}, {"name": parts[2], "city": parts[3]}
    assert (terms.stored(PAIR, left) == terms.stored(PAIR, right)) == (left == right)
    assert hit(PAIR, Query(left), **right) == (left == right)


@pytest.mark.parametrize(
    ("definition", "query", "message"),
    [
        (PREFIX, Query({"name": "al"}), "at least 3 characters for start, got 2"),
        (PREFIX, Query({"name": "   "}), "leaves nothing"),
        (PREFIX, Query(), "a value of name for the index start"),
        (PREFIX, Query({"name": "alex"}, low="1"), "a value for the prefix index start, got bounds"),
        (PAIR, Query({"name": "alex"}), "a value of city for the compound index both"),
        (AGES, Query({"age": "3"}), "low, high or both for the range index range"),
        (AGES, Query(), "low, high or both"),
        (AGES, Query(low="three"), "a whole number of at most 19 digits"),
        (AGES, Query(low="1e3"), "a whole number"),
        (AGES, Query(low="5", high="4"), "other way round"),
    ],
)
def test_queries_that_do_not_fit(definition, query, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        terms.asked(definition, query)
    for value in (*query.values.values(), query.low):
        assert len(value.strip()) < 3 or f" {value}" not in caught.value.detail


@pytest.mark.parametrize("text", ["1984-2-29", "1985-02-29", "19840229", "1984-02-30", "29.02.1984", "٢٠٢٠-01-01"])
def test_a_date_is_an_iso_date(text):
    with pytest.raises(InvalidRequest, match="YYYY-MM-DD"):
        BORN.number(text)


@pytest.mark.parametrize("value", ["150", "-1"])
def test_a_value_outside_the_bounds_has_no_tokens(value):
    with pytest.raises(InvalidRequest, match="got one outside"):
        terms.stored(AGES, {"age": value})


def test_a_range_outside_the_bounds_finds_nothing_and_asks_for_nothing():
    assert terms.asked(AGES, Query(low="150")) == []
    assert terms.asked(AGES, Query(high="-1")) == []


def test_a_value_shorter_than_the_least_prefix_has_no_tokens():
    assert terms.stored(PREFIX, {"name": "Al"}) == []


def test_a_query_is_not_shown():
    assert "alex" not in repr(Query({"name": "alex"}, low="x"))


def test_the_terms_of_a_range_are_frozen():
    assert terms.stored(AGES, {"age": "5"})[:3] == [
        bytes.fromhex("000000000000000005"),
        bytes.fromhex("010000000000000002"),
        bytes.fromhex("020000000000000001"),
    ]
    assert terms.stored(PAIR, {"name": "ab", "city": "c"}) == [bytes.fromhex("0000000261620000000163")]


def test_partitions_are_frozen_and_spread_rows():
    split = Definition("users", "email", "exact", "exact", TRIM, 18, partitions=8)
    spread = [split.partition(str(number)) for number in range(4000)]
    counts = [spread.count(str(number)) for number in range(8)]
    assert sum(counts) == 4000
    assert min(counts) > 400
    assert spread[:5] == ["3", "4", "6", "4", "4"]
    assert split.all_partitions() == [str(number) for number in range(8)]
    assert PREFIX.partition("17") == ""  # one partition keeps the frozen form of a token
    assert index.digest(KEY, "users", "email", "exact", 1, "", b"alice@example.com").hex().startswith("346b54e7")
