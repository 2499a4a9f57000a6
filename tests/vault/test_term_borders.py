"""The borders of terms: the ends of numbers and of the calendar, letters beyond ASCII, and tokens computed a second way."""

import hashlib
import hmac
import unicodedata
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidRequest
from guard.vault import dyadic, terms
from guard.vault.domains import MAX_NUMBERS, Domain, parse
from guard.vault.index import Definition
from guard.vault.indexes import Version
from guard.vault.keys import IndexKey, Secret
from guard.vault.normalisers import NORMALISERS
from guard.vault.terms import Query

TRIM, CASEFOLD, NFKC, DIGITS = (NORMALISERS[name, 1] for name in ("trim", "casefold", "nfkc", "digits"))
FIRST_DAY, LAST_DAY = date.min.isoformat(), date.max.isoformat()
CALENDAR = Domain("date", date.min.toordinal(), date.max.toordinal())
WIDE = 10**19 - 1
KEY = bytes(range(32))


def over(domain, bits=64):
    return Definition("t", "n", "range", "range", TRIM, bits, domain=domain)


def begin(rule=CASEFOLD, lengths=(2, 4), kind="prefix"):
    return Definition("t", "n", "start", kind, rule, 64, lengths=lengths)


def hit(definition, query, **values):
    carried = set(terms.stored(definition, values))
    return any(carried.issuperset(alternative) for alternative in terms.asked(definition, query))


# Numbers


@pytest.mark.parametrize("middle", [0, 1 << 31, 1 << 32, 1 << 53, 1 << 62, 1 << 63, WIDE - 600, -(1 << 31), -(1 << 63)])
def test_a_range_around_a_border_of_machine_numbers_is_exact(middle):
    one = over(Domain("integer", middle - 500, middle + 500))
    for low, high in ((-1, 1), (0, 0), (-500, 500), (-500, -499), (499, 500), (-257, 256)):
        query = Query(low=str(middle + low), high=str(middle + high))
        for offset in (-500, -499, -258, -257, -2, -1, 0, 1, 2, 256, 257, 499, 500):
            value = str(middle + offset)
            assert hit(one, query, n=value) == (low <= offset <= high) == terms.fits(one, query, {"n": value})


@pytest.mark.parametrize(
    ("low", "high", "step", "steps", "levels"),
    [
        (0, 1, 1, 2, 1),
        (0, 2, 1, 3, 2),
        (0, 3, 1, 4, 2),
        (0, 4, 1, 5, 3),
        (0, (1 << 32) - 1, 1, 1 << 32, 32),
        (0, 1 << 32, 1, (1 << 32) + 1, 33),
        (0, MAX_NUMBERS - 1, 1, MAX_NUMBERS, 40),
        (-WIDE, WIDE, 1 << 25, 596047, 20),
        (0, 99, 10, 10, 4),
        (0, 100, 10, 11, 4),
    ],
)
def test_steps_and_levels_of_a_domain(low, high, step, steps, levels):
    domain = Domain("integer", low, high, step)
    if low != -WIDE:
        assert domain.steps == steps
    else:
        assert domain.steps == 2 * WIDE // step + 1
        levels = (domain.steps - 1).bit_length()
    assert domain.levels == levels
    assert domain.place(str(low)) == 0
    assert domain.place(str(high)) == domain.steps - 1
    assert len(terms.stored(over(domain), {"n": str(high)})) == levels


@given(st.integers(0, MAX_NUMBERS - 1), st.integers(0, MAX_NUMBERS - 1), st.integers(0, MAX_NUMBERS - 1))
@settings(max_examples=300)
def test_the_widest_range_asks_for_eighty_tokens_at_most_and_is_exact(one, other, value):
    low, high = sorted((one, other))
    wide = over(Domain("integer", 0, MAX_NUMBERS - 1))
    query = Query(low=str(low), high=str(high))
    assert len(terms.asked(wide, query)) <= 80
    assert len({tuple(alternative) for alternative in terms.asked(wide, query)}) == len(terms.asked(wide, query))
    for number in {value, low, high, max(0, low - 1), min(MAX_NUMBERS - 1, high + 1)}:
        assert hit(wide, query, n=str(number)) == (low <= number <= high)


@given(st.integers(1, 60), st.integers(1, 9), st.data())
@settings(max_examples=200)
def test_steps_find_all_and_too_many_only_of_the_same_step(length, step, data):
    if length < step:
        return
    domain = Domain("integer", -7, length - 7, step)
    low, high, value = (data.draw(st.integers(-9, length - 5)) for _ in range(3))
    if low > high or not domain.low <= value <= domain.high:
        return
    query = Query(low=str(low), high=str(high))
    found = hit(over(domain), query, n=str(value))
    assert found or not low <= value <= high
    assert not found or low - step < value < high + step


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("-0", 0), ("+7", 7), ("007", 7), ("9" * 19, WIDE), ("-" + "9" * 19, -WIDE),
        ("1" * 20, None), ("", None), ("+", None), ("--1", None), ("1.0", None), ("1_000", None), ("１", None), ("٣", None),
        ("0x1", None), ("1\n", None), ("\x001", None), ("²", None), ("1 2", None), ("−1", None),
    ],
)  # fmt: skip
def test_which_texts_are_whole_numbers(text, number):
    assert parse("integer", text) == number


# Dates


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (FIRST_DAY, True), (LAST_DAY, True), ("2000-02-29", True), ("1900-02-28", True), ("2024-02-29", True),
        ("0000-01-01", False), ("1900-02-29", False), ("2100-02-29", False), ("2023-13-01", False), ("2023-00-10", False),
        ("2023-04-31", False), ("10000-01-01", False), ("-001-01-01", False), ("2023-W01-1", False), ("2023-001", False),
        ("2023-1-01", False), ("２０２３-01-01", False), ("2023-01-01T00:00", False), ("2023-01-01\n", False), ("2023/01/01", False),
    ],
)  # fmt: skip
def test_which_texts_are_dates(text, valid):
    assert parse("date", text) == (date.fromisoformat(text).toordinal() if valid else None)


@given(st.dates(), st.dates(), st.dates())
@settings(max_examples=200)
def test_the_whole_calendar_is_searched_exactly(one, other, born):
    low, high = sorted((one, other))
    query = Query(low=low.isoformat(), high=high.isoformat())
    assert hit(over(CALENDAR), query, n=born.isoformat()) == (low <= born <= high)
    for open_query, inside in ((Query(low=low.isoformat()), born >= low), (Query(high=high.isoformat()), born <= high)):
        assert hit(over(CALENDAR), open_query, n=born.isoformat()) == inside


@pytest.mark.parametrize(
    "day", [date(1999, 12, 31), date(2000, 2, 28), date(1970, 1, 1), date(1582, 10, 15), date(1900, 3, 1)]
)
def test_neighbouring_days_are_told_apart(day):
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    query = Query(low=day.isoformat(), high=day.isoformat())
    assert [hit(over(CALENDAR), query, n=one.isoformat()) for one in (before, day, after)] == [False, True, False]
    assert len(terms.asked(over(CALENDAR), query)) == 1


@pytest.mark.parametrize("bad", ["low", "high"])
@pytest.mark.parametrize("value", [" ", "today", "2023-02-30"])
def test_a_bound_that_is_no_date_is_refused_and_not_taken_as_open(bad, value):
    with pytest.raises(InvalidRequest, match="YYYY-MM-DD"):
        terms.asked(over(CALENDAR), Query(**{"low": "2000-01-01", "high": "2001-01-01", bad: value}))


# Letters


@pytest.mark.parametrize(
    ("stored", "sought", "found"),
    [
        ("Straße", "STRASS", True),
        ("STRASSE", "straß", True),
        ("Ångström", "A\u030angs", True),
        ("A\u030angström", "ång", True),
        ("ﬁnn", "fin", True),
        ("Finn", "ﬁ", True),
        ("Ǆemal", "ǆe", True),
        ("İstanbul", "i\u0307st", True),
        ("日本語テスト", "日本", True),
        ("ﾃｽﾄ", "テス", True),
        ("👩‍🚀 Ana", "👩‍🚀", True),
        ("Ana", "Аn", False),  # a Cyrillic letter is another, whatever it looks like
        ("e\u0301a", "ea", False),
        ("Ana", "ＡＮ", True),
        ("  Ana", "an", True),
        ("a\u00a0b", "a b", True),
    ],
)
def test_a_beginning_is_found_in_each_spelling_of_it(stored, sought, found):
    query = Query({"n": sought})
    assert hit(begin(), query, n=stored) == found == terms.fits(begin(), query, {"n": stored})


TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "Zs", "So")), min_size=1, max_size=10)


@given(TEXTS, st.integers(1, 10), st.sampled_from([CASEFOLD, NFKC, TRIM]), st.sampled_from(["prefix", "suffix"]))
@settings(max_examples=400)
def test_no_row_is_missed_by_an_end_of_its_own_form(value, size, rule, kind):
    definition = begin(rule, kind=kind)
    try:
        whole = rule.apply(value)
        sought = whole[:size] if kind == "prefix" else whole[-size:]
        query = Query({"n": sought})
        wanted = rule.apply(sought)
        found = hit(definition, query, n=value)
    except InvalidRequest:
        return  # too short, or nothing is left of it
    fitting = whole.startswith(wanted) if kind == "prefix" else whole.endswith(wanted)
    assert terms.fits(definition, query, {"n": value}) == fitting
    assert found or not fitting


@given(TEXTS)
@settings(max_examples=300)
def test_equal_values_in_other_spellings_have_one_token(value):
    exact = Definition("t", "n", "exact", "exact", CASEFOLD, 64)
    for other in (unicodedata.normalize("NFD", value), unicodedata.normalize("NFC", value), f"  {value}\t"):
        try:
            assert terms.stored(exact, {"n": other}) == terms.stored(exact, {"n": value})
        except InvalidRequest:
            with pytest.raises(InvalidRequest):
                terms.stored(exact, {"n": value})


@pytest.mark.parametrize("value", ["\ud800", "ab\udcff", "\udfff" * 5])
@pytest.mark.parametrize("kind", ["exact", "prefix", "suffix", "compound"])
def test_half_a_character_has_no_token_and_is_not_shown(kind, value):
    definition = Definition("t", "n", "i", kind, TRIM, 64, lengths=(1, 3), parts=(("m", TRIM),) * (kind == "compound"))
    with pytest.raises(InvalidRequest, match="lone surrogate") as caught:
        terms.stored(definition, {"n": value, "m": "x"})
    caught.value.detail.encode()


# Tokens, computed by a second reading of the law


def lp(raw):
    return len(raw).to_bytes(4, "big") + raw


def again(definition, version, term, partition=""):
    """HMAC and cut by hand."""
    names = [definition.table, definition.column, definition.name]
    head = b"guard/bi/1" + b"".join(lp(name.encode()) for name in names) + lp(version.to_bytes(4, "big"))
    whole = hmac.new(KEY, head + lp(partition.encode()) + lp(term), hashlib.sha256).digest()
    bits = "".join(f"{byte:08b}" for byte in whole)[: definition.bits]
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def version_of(definition, number=3):
    return Version(definition, IndexKey("acme", definition.key_name, number, Secret(KEY, "test")))


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 31, 32])
def test_the_tokens_of_each_kind_are_those_of_the_law(bits):
    start = Definition("t", "n", "start", "prefix", CASEFOLD, bits, lengths=(2, 3))
    assert version_of(start).stored({"n": "ANA"}) == [again(start, 3, b"an"), again(start, 3, b"ana")]
    end = Definition("t", "n", "end", "suffix", DIGITS, bits, lengths=(2, 3))
    assert version_of(end).stored({"n": "4-7-11"}) == [again(end, 3, b"11"), again(end, 3, b"711")]
    both = Definition("t", "n", "both", "compound", TRIM, bits, parts=(("m", CASEFOLD),))
    assert version_of(both).stored({"n": "a", "m": "ßX"}) == [again(both, 3, lp(b"a") + lp(b"ssx"))]
    numbers = Definition("t", "n", "range", "range", TRIM, bits, domain=Domain("integer", -2, 5))
    pieces = [bytes([level]) + (5 >> level).to_bytes(8, "big") for level in range(3)]
    assert version_of(numbers).stored({"n": "3"}) == [again(numbers, 3, piece) for piece in pieces]


@given(st.text(min_size=1, max_size=30), st.sampled_from([2, 4, 8, 16]))
@settings(max_examples=200)
def test_a_row_in_a_partition_is_met_by_exactly_one_of_its_tokens(row, partitions):
    definition = Definition("t", "n", "exact", "exact", TRIM, 32, partitions=partitions)
    try:
        [stored] = version_of(definition).stored({"n": "x"}, row)
    except InvalidRequest:
        return  # half a character in the row's id
    asked = [token for [token] in version_of(definition).asked(Query({"n": "x"}))]
    assert len(set(asked)) == partitions
    assert asked.count(stored) == 1
    number = int.from_bytes(hashlib.sha256(b"guard/partition/1" + lp(row.encode())).digest()[:8], "big") % partitions
    assert stored == again(definition, 3, b"x", str(number))


@given(st.integers(2, 300), st.data())
@settings(max_examples=150)
def test_no_cover_could_be_smaller(numbers, data):
    """Against all sets of pieces, by the plain recursion over halves."""
    levels = dyadic.levels_of(numbers)
    first = data.draw(st.integers(0, numbers - 1))
    last = data.draw(st.integers(first, numbers - 1))

    def fewest(level, position):
        low, high = position << level, ((position + 1) << level) - 1
        if high < first or low > last:
            return 0
        if first <= low and high <= last:
            return 1
        return fewest(level - 1, 2 * position) + fewest(level - 1, 2 * position + 1)

    top = levels - 1
    assert len(dyadic.cover(first, last, levels)) == sum(fewest(top, position) for position in range(2))
