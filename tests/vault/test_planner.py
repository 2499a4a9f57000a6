"""The index planner: published ranges, and what it refuses."""

import collections
import dataclasses
import functools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidPolicy
from guard.vault import planner
from guard.vault.index import Definition
from guard.vault.normalisers import NORMALISERS
from guard.vault.planner import Declared


@pytest.mark.parametrize(
    ("rows", "lowest", "highest"),
    [(8, 2, 2), (9, 2, 2), (16, 2, 3), (17, 3, 3), (64, 3, 5), (10**4, 7, 12), (10**6, 10, 18), (10**8, 14, 25)],
)
def test_recommended_bits(rows, lowest, highest):
    assert planner.recommend(rows) == (lowest, highest)


@given(st.integers(8, 2**40))
@settings(max_examples=300)
def test_recommendation_keeps_both_bounds_and_is_tight(rows):
    lowest, highest = planner.recommend(rows)
    assert lowest <= highest
    assert 4**lowest >= rows > 4 ** (lowest - 1)  # C = R / 2^L <= sqrt(R)
    assert 2**highest * 2 <= rows < 2 ** (highest + 1) * 2  # C >= 2


@pytest.mark.parametrize("rows", [-1, 0, 1, 7])
def test_too_few_rows_to_hide_among(rows):
    with pytest.raises(InvalidPolicy, match="at least 8 rows"):
        planner.recommend(rows)
    with pytest.raises(InvalidPolicy, match="at least 8 rows"):
        planner.plan(rows, [])


def test_a_plan_says_what_it_costs():
    plan = planner.plan(10**6, [Declared("exact", 16, 30)])
    assert (plan.rows, plan.lowest_bits, plan.highest_bits, plan.spent_bits) == (10**6, 10, 18, 16)
    assert plan.coincidences == pytest.approx(15.26, abs=0.01)
    assert plan.leaks == (
        (
            "exact: shows groups of about 16 rows, each mixed from about 16384 possible values. "
            "Who knows how common each value is names at most one row in 16384 rightly."
        ),
    )


@pytest.mark.parametrize(
    ("rows", "declared"),
    [
        (10**6, []),
        (10**6, [Declared("a", 18, 30)]),
        (10**6, [Declared("a", 9, 30), Declared("b", 9, 20)]),
        (10**6, [Declared("a", 32, 18)]),  # entropy counts, not the longer token
        (10**6, [Declared("a", 4, 5)]),  # few values, but tokens are shared
        (10**6, [Declared("a", 18, 30), Declared("u", 128, 30, unique=True)]),
        (10**6, [Declared("u", 128, 3, unique=True)]),
    ],
    ids=repr,
)
def test_plans_that_pass(rows, declared):
    plan = planner.plan(rows, declared)
    assert plan.coincidences >= 2
    assert len(plan.leaks) == len(declared)
    assert all(leak.startswith(f"{one.name}: ") for leak, one in zip(plan.leaks, declared, strict=True))


@pytest.mark.parametrize(
    ("rows", "declared", "message"),
    [
        (10**6, [Declared("a", 19, 30)], "19 bits together, but among 1000000 rows more than 18"),
        (10**6, [Declared("a", 10, 30), Declared("b", 9, 30)], "19 bits together"),
        (10**4, [Declared("a", 18, 30)], "7 to 12 bits are useful"),
        (10**6, [Declared("sex", 1, 1)], "each of about 2\\^1 values a token of its own"),
        (10**6, [Declared("country", 8, 5)], "fewer than 5 bits"),
        (10**6, [Declared("a", 18, 30), Declared("country", 9, 9)], "country"),
    ],
)
def test_plans_that_are_refused(rows, declared, message):
    with pytest.raises(InvalidPolicy, match=message):
        planner.plan(rows, declared)


@pytest.mark.parametrize(
    ("declared", "leak"),
    [
        (Declared("u", 128, 30, unique=True), "was seen before, exactly"),
        (Declared("a", 20, 12), "how often each of about 2^12 occurs"),
        (Declared("a", 12, 20), "about 245 rows, each mixed from about 256 possible values"),
    ],
)
def test_what_each_index_leaks(declared, leak):
    assert leak in planner.plan(10**6, [declared]).leaks[0]


PREFIX = Declared("p", 5, 24, kind="prefix", tokens=4, shortest=3)
RANGE = Declared("r", 32, 15, kind="range", tokens=16)


@pytest.mark.parametrize(
    ("one", "spent"),
    [
        (PREFIX, 20),
        (dataclasses.replace(PREFIX, bits=8), 24),  # four tokens tell no more than the value does
        (RANGE, 15),
        (Declared("c", 16, 30, kind="compound"), 16),
        (Declared("e", 10, 30, partitions=8), 13),
        (Declared("u", 128, 30, unique=True), 30),
    ],
    ids=repr,
)
def test_how_many_bits_the_tokens_of_a_row_tell(one, spent):
    assert one.spent_bits == spent


@pytest.mark.parametrize(
    ("rows", "one", "message"),
    [
        (10**6, PREFIX, "20 bits together, but among 1000000 rows more than 18"),
        (10**6, dataclasses.replace(PREFIX, bits=6, shortest=2, tokens=2), "about 2\\^6 prefixes or suffixes a token"),
        (10**4, RANGE, "15 bits together, but among 10000 rows more than 12"),
        (10**6, Declared("e", 16, 30, partitions=8), "19 bits together"),
    ],
)
def test_kinds_that_show_too_much_are_refused(rows, one, message):
    with pytest.raises(InvalidPolicy, match=message):
        planner.plan(rows, [one])


@pytest.mark.parametrize(
    ("one", "leak"),
    [
        (dataclasses.replace(PREFIX, bits=4), "share a beginning of 3 to 6 characters, in groups of about 62500 rows"),
        (dataclasses.replace(PREFIX, bits=4, kind="suffix"), "share an end of 3 to 6"),
        (RANGE, "which rows lie close together"),
        (Declared("c", 16, 30, kind="compound"), "possible combinations"),
        (Declared("e", 10, 30, partitions=8), "8 partitions: a common value is spread"),
    ],
)
def test_what_each_kind_shows_in_plain_words(one, leak):
    assert leak in planner.plan(10**6, [one]).leaks[0]


@given(
    st.integers(64, 2**40),
    st.builds(
        Declared,
        st.just("i"),
        st.just(1),
        st.integers(12, 64),
        kind=st.sampled_from(["exact", "prefix", "suffix", "compound", "range"]),
        tokens=st.integers(1, 8),
        partitions=st.sampled_from([1, 2, 4, 8]),
    ),
)
@settings(max_examples=300)
def test_the_advised_bits_are_the_most_that_a_plan_accepts(rows, one):
    advised = planner.advise(rows, one)
    if not advised:
        return
    plan = planner.plan(rows, [dataclasses.replace(one, bits=advised)])
    assert plan.coincidences >= 2
    more = dataclasses.replace(one, bits=advised + 1)
    if more.bits * more.tokens <= one.entropy_bits:  # else a longer token tells no more
        with pytest.raises(InvalidPolicy):
            planner.plan(rows, [more])


def population(rows, values, seed):
    """Rows with values as unevenly spread as first names are, and the bits of entropy that the planner is told."""
    draw = random.Random(seed)
    weights = [1 / (rank + 200) for rank in range(values)]
    common = max(weights) / sum(weights)
    return draw.choices(range(values), weights, k=rows), math.floor(-math.log2(common))


@pytest.mark.parametrize("bits", [2, 4, 6])
@pytest.mark.parametrize("partitions", [1, 4])
def test_frequency_analysis_of_the_index_column_gains_no_more_than_the_plan_says(bits, partitions):
    rows, entropy = population(100_000, 4000, bits)
    one = Declared("i", bits, entropy, partitions=partitions)
    definition = Definition("t", "c", "i", "exact", NORMALISERS["trim", 1], bits, partitions=partitions)
    groups = collections.defaultdict(collections.Counter)
    tokens = functools.cache(lambda partition, value: definition.token(bytes(32), 1, f"value {value}", partition))
    for number, value in enumerate(rows):
        partition = definition.partition(str(number))
        groups[partition, tokens(partition, value)][value] += 1
    # The strongest guess that any analysis can end in: in each group of equal tokens the value that is most common of
    # all there (the lowest number), as if the analyst had the key and lacked only the sealed values.
    best = sum(group[min(group)] for group in groups.values()) / len(rows)
    blind = rows.count(0) / len(rows)
    assert blind < best <= planner.guesses(one) * 1.15  # the entropy is of the spread, the rows are a sample of it
    share = round(1 / planner.guesses(one))
    assert f"at most one row in {share} rightly" in planner.plan(100_000, [one]).leaks[0]


@given(st.integers(8, 2**40), st.lists(st.tuples(st.integers(1, 32), st.integers(1, 64)), max_size=4))
@settings(max_examples=300)
def test_no_accepted_plan_singles_out_rows(rows, pairs):
    declared = [Declared(f"i{number}", bits, entropy) for number, (bits, entropy) in enumerate(pairs)]
    try:
        plan = planner.plan(rows, declared)
    except InvalidPolicy:
        return
    assert rows / 2 ** sum(min(bits, entropy) for bits, entropy in pairs) == plan.coincidences >= 2


@pytest.mark.parametrize(("rows", "entropy"), [(1, 1), (2, 1), (1024, 10), (1025, 11), (10**6, 20), (10**6, 30)])
def test_deterministic_columns_that_pass(rows, entropy):
    planner.check_deterministic(rows, entropy)


@pytest.mark.parametrize(("rows", "entropy"), [(2, 0), (1025, 10), (10**6, 19), (10**6, 1)])
def test_deterministic_columns_that_are_refused(rows, entropy):
    with pytest.raises(InvalidPolicy, match=f"{math.ceil(math.log2(rows))} bits are needed"):
        planner.check_deterministic(rows, entropy)
