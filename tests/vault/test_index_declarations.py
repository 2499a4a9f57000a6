"""Declarations of indexes that are refused, each with its line and the sentence that says what to write instead."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidPolicy
from guard.vault import policy
from guard.vault.domains import MAX_NUMBERS, Domain
from guard.vault.index import KINDS, MAX_SEARCH_BITS, Definition
from guard.vault.indexes import from_text, to_text
from guard.vault.normalisers import NORMALISERS

TABLE = """\
version: 1
table: people
rows: ROWS
columns:
  city: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [support]}
  name:
    class: contact
    suite: cbl256
    bind: [row]
    mask: none
    purposes: [support]
    entropy: 24
    index:
      - {INDEX}
"""
LINE = 14
EXACT = {"name": "i", "kind": "exact", "normalise": "trim", "bits": "8"}
PREFIX = {"name": "i", "kind": "prefix", "normalise": "trim", "bits": "4", "min_length": "4", "max_length": "6"}
COMPOUND = {"name": "i", "kind": "compound", "normalise": "trim", "with": "{city: trim}", "entropy": "30", "bits": "16"}
RANGE = {
    "name": "i", "kind": "range", "of": "integer", "low": "0", "high": "1023", "bits": "24", "shows_order": "true"
}  # fmt: skip
UNIQUE = EXACT | {"bits": "128", "unique": "true"}
FORMS = {"exact": EXACT, "prefix": PREFIX, "suffix": PREFIX | {"kind": "suffix"}, "compound": COMPOUND, "range": RANGE}


def declared(given, rows=1_000_000):
    text = ", ".join(f"{key}: {value}" for key, value in given.items() if value is not None)
    return policy.parse(TABLE.replace("ROWS", str(rows)).replace("INDEX", text), "people.yaml")[1].indexes[0]


def refusal(given, rows=1_000_000):
    with pytest.raises(InvalidPolicy) as caught:
        declared(given, rows)
    return caught.value.detail


@pytest.mark.parametrize(("kind", "given"), FORMS.items())
def test_each_form_of_this_page_is_accepted_as_it_stands(kind, given):
    made = declared(given)
    assert made.kind == kind
    assert made.key_name == "people.name.i"
    assert from_text(to_text(made)) == made


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("key", ["name", "bits"])
def test_what_every_kind_needs(kind, key):
    assert f"the key {key!r} here; it is missing" in refusal(FORMS[kind] | {key: None})


@pytest.mark.parametrize(
    ("kind", "key"),
    [(kind, key) for kind in FORMS for key in FORMS[kind] if key not in {"name", "bits", "kind"}],
)
def test_what_a_kind_needs_beyond_it(kind, key):
    detail = refusal(FORMS[kind] | {key: None})
    assert detail.startswith(f"people.yaml:{LINE}: ")
    assert f"the key {key!r} here; it is missing" in detail


ALLOWED = {
    "unique": ({"exact", "compound"}, "false"),
    "min_length": ({"prefix", "suffix"}, "4"),
    "with": ({"compound"}, "{city: trim}"),
    "of": ({"range"}, "integer"),
    "step": ({"range"}, "2"),
    "shows_order": ({"range"}, "true"),
    "normalise": ({"exact", "prefix", "suffix", "compound"}, "trim"),
    "partitions": ({"exact", "prefix", "suffix", "compound"}, "2"),
}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("key", ALLOWED)
def test_a_key_of_another_kind_is_refused_and_not_ignored(kind, key):
    kinds, value = ALLOWED[key]
    given = FORMS[kind] | {key: value, "bits": "2" if kind in {"prefix", "suffix"} else FORMS[kind]["bits"]}
    if kind in kinds:
        assert declared(given).kind == kind
    elif key == "partitions":
        assert "none of a unique or a range index" in refusal(given)
    else:
        assert f"{key!r} came" in refusal(given)


@pytest.mark.parametrize(
    ("form", "key", "value", "sentence"),
    [
        (EXACT, "kind", "fuzzy", "a kind of index (compound, exact, prefix, range, suffix); 'fuzzy' came"),
        (EXACT, "kind", "[exact]", "a kind of index; a list of 1 came"),
        (EXACT, "name", "Upper", "the name of the index in lower case"),
        (EXACT, "name", "a.b", "the name of the index in lower case"),
        (EXACT, "name", "x" * 64, "the name of the index in lower case"),
        (EXACT, "name", "17", "the name of the index; 17 came"),
        (EXACT, "normalise", "rot13", "a normaliser (casefold, digits, email, nfkc, trim); 'rot13' came"),
        (EXACT, "normalise", "trim@2", "a normaliser ("),
        (EXACT, "bits", "0", "an integer from 1 to 32; 0 came"),
        (EXACT, "bits", "33", "an integer from 1 to 32; 33 came"),
        (EXACT, "bits", "true", "an integer from 1 to 32; True came"),
        (EXACT, "bits", "8.5", "a decimal integer, true or false; '8.5' came"),
        (UNIQUE, "bits", "127", "an integer from 128 to 256; 127 came"),
        (UNIQUE, "bits", "257", "an integer from 128 to 256; 257 came"),
        (EXACT, "unique", "maybe", "true or false; 'maybe' came"),
        (EXACT, "partitions", "0", "an integer from 1 to 16; 0 came"),
        (EXACT, "partitions", "32", "an integer from 1 to 16; 32 came"),
        (EXACT, "partitions", "6", "1, 2, 4, 8 or 16 partitions"),
        (UNIQUE, "partitions", "2", "none of a unique or a range index"),
        (EXACT, "budget", "{minute: 5, hour: 4, day: 9}", "at least as many look-ups in an hour as in a minute"),
        (EXACT, "budget", "{minute: 5, hour: 9, day: 8}", "and in a day as in an hour"),
        (EXACT, "budget", "{minute: 5, hour: 9}", "the key 'day' here; it is missing"),
        (EXACT, "budget", "{minute: 1, hour: 2, day: 3, week: 4}", "'week' came"),
        (EXACT, "budget", "{minute: 1, hour: 2, day: 1000000001}", "an integer from 1 to 1000000000"),
        (EXACT, "budget", "none", "a mapping"),
        (EXACT, "entropy", "-1", "an integer from 0 to 256; -1 came"),
        (EXACT, "entropy", "257", "an integer from 0 to 256; 257 came"),
        (PREFIX, "min_length", "0", "an integer from 1 to 32; 0 came"),
        (PREFIX, "min_length", "33", "an integer from 1 to 32; 33 came"),
        (PREFIX, "max_length", "3", "an integer from 4 to 32; 3 came"),
        (PREFIX, "max_length", "33", "an integer from 4 to 32; 33 came"),
        (PREFIX, "normalise", "email", "nobody could ask for it; 'email' came"),
        (PREFIX, "normalise", "email@1", "nobody could ask for it; 'email@1' came"),
        (COMPOUND, "with", "[city]", "a mapping"),
        (COMPOUND, "with", "{city: rot13}", "a normaliser ("),
        (COMPOUND, "with", "{name: trim}", "1 to 4 other columns, each with its normaliser"),
        (COMPOUND, "with", "{a: trim, b: trim, c: trim, d: trim, e: trim}", "1 to 4 other columns"),
        (COMPOUND, "with", "{city: trim, zip: trim}", "columns of this table in 'with' of the index i"),
        (COMPOUND, "with", "{city: trim, city: nfkc}", "each key once; 'city' came twice"),
        (RANGE, "shows_order", "false", "'shows_order: true', by which you say"),
        (RANGE, "shows_order", "'true'", "true or false; 'true' came"),
        (RANGE, "of", "time", "what the numbers are (integer, date); 'time' came"),
        (RANGE, "of", "date", "a date as YYYY-MM-DD; 0 came"),
        (RANGE, "low", "1023", "'high' at least a step above 'low'"),
        (RANGE, "low", "1024", "'high' at least a step above 'low'"),
        (RANGE, "low", "true", "a whole number of at most 19 digits; True came"),
        (RANGE, "low", "'1e3'", "a whole number of at most 19 digits; '1e3' came"),
        (RANGE, "low", "'0x10'", "a whole number of at most 19 digits; '0x10' came"),
        (RANGE, "high", "'99999999999999999999'", "a whole number of at most 19 digits"),
        (RANGE, "high", str(MAX_NUMBERS), f"at most {MAX_NUMBERS} steps"),
        (RANGE, "step", "0", f"an integer from 1 to {MAX_NUMBERS}; 0 came"),
        (RANGE, "step", "1024", "'high' at least a step above 'low'"),
        (RANGE, "step", "-1", "an integer from 1 to"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_at_its_line(form, key, value, sentence):
    detail = refusal(form | {key: value})
    assert detail.startswith(f"people.yaml:{LINE}: ") or "this table in 'with'" in detail
    assert sentence in detail


@pytest.mark.parametrize(
    ("form", "rows", "sentence"),
    [
        (EXACT, 7, "an integer from 8 to 1099511627776; 7 came"),
        (EXACT, 100, "8 bits together, but among 100 rows more than 5 single out"),
        (EXACT | {"bits": "19"}, 10**6, "19 bits together"),
        (EXACT | {"partitions": "16", "bits": "15"}, 10**6, "19 bits together"),
        (EXACT | {"entropy": "3", "bits": "3"}, 10**6, "each of about 2^3 values a token of its own"),
        (EXACT | {"entropy": "0", "bits": "1"}, 10**6, "each of about 2^0 values"),
        (PREFIX | {"bits": "7"}, 10**6, "21 bits together"),
        (PREFIX | {"min_length": "1", "max_length": "2", "bits": "3"}, 10**6, "about 2^3 prefixes or suffixes"),
        (COMPOUND | {"bits": "19"}, 10**6, "19 bits together"),
        (RANGE, 1000, "10 bits together, but among 1000 rows more than 8"),
    ],
)
def test_what_shows_too_much_among_so_many_rows_is_refused(form, rows, sentence):
    detail = refusal(form, rows)
    assert detail.startswith("people.yaml:")
    assert sentence in detail
    assert not detail.endswith("..")


@pytest.mark.parametrize(
    ("form", "rows"),
    [
        (EXACT, 2**9),
        (EXACT | {"bits": "18"}, 2**19),
        (EXACT | {"partitions": "16", "bits": "14"}, 2**19),
        (PREFIX | {"bits": "6"}, 2**19),
        (COMPOUND, 2**17),
        (RANGE, 2**11),
        (RANGE | {"step": "16"}, 2**7),
    ],
)
def test_what_just_stands_among_so_many_rows_is_refused_among_one_less(form, rows):
    assert declared(form, rows)
    assert "bits together" in refusal(form, rows - 1)


def test_a_unique_index_stands_among_any_rows():
    assert declared(UNIQUE, 8).unique


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", '{"kind": "exact"}', '{"table": 1}', "{" * 40,
        to_text(Definition("t", "c", "i", "exact", NORMALISERS["trim", 1], 8)).replace("trim@1", "trim@9"),
        to_text(Definition("t", "c", "i", "exact", NORMALISERS["trim", 1], 8)).replace("trim@1", "trim"),
        to_text(Definition("t", "c", "i", "exact", NORMALISERS["trim", 1], 8)).replace("[0, 0]", "[0]"),
    ],
)  # fmt: skip
def test_a_definition_of_the_store_that_is_none_is_damage_in_one_sentence(text):
    with pytest.raises(Exception, match="is no such text; restore the last backup") as caught:
        from_text(text)
    assert caught.value.code.startswith("GRD-")


@given(
    st.builds(
        Definition,
        *[st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)] * 3,
        st.sampled_from(KINDS),
        st.sampled_from(list(NORMALISERS.values())),
        st.integers(1, MAX_SEARCH_BITS),
        unique=st.booleans(),
        lengths=st.tuples(st.integers(0, 32), st.integers(0, 32)),
        parts=st.lists(
            st.tuples(st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.sampled_from(list(NORMALISERS.values()))),
            max_size=4,
        ).map(tuple),
        domain=st.none()
        | st.builds(
            Domain,
            st.sampled_from(["integer", "date"]),
            st.integers(-(10**19), 0),
            st.integers(1, 10**19),
            st.integers(1, 99),
        ),
        partitions=st.sampled_from([1, 2, 4, 8, 16]),
    )
)
@settings(max_examples=150)
def test_a_definition_outlives_the_store_whole(one):
    assert from_text(to_text(one)) == one
    assert to_text(from_text(to_text(one))) == to_text(one)
