"""Indexes of each kind as a policy declares them: what is read, and what is refused with its line."""

import re
from pathlib import Path

import pytest

from guard.errors import InvalidPolicy
from guard.vault import policy
from guard.vault.budget import Budget
from guard.vault.domains import Domain
from guard.vault.indexes import from_text, to_text
from guard.vault.normalisers import NORMALISERS

TABLE = """\
version: 1
table: people
rows: 1000000
columns:
  city: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [support]}
  born:
    class: contact
    suite: cbl256
    bind: [row]
    mask: none
    purposes: [support]
    entropy: 24
    index: [{INDEX}]
"""
KINDS = {
    "prefix": "name: i, kind: prefix, normalise: casefold, bits: 4, min_length: 3, max_length: 6",
    "suffix": "name: i, kind: suffix, normalise: digits, bits: 6, min_length: 4, max_length: 6",
    "compound": "name: i, kind: compound, normalise: trim, with: {city: casefold}, entropy: 30, bits: 16",
    "range": "name: i, kind: range, of: date, low: '1900-01-01', high: '1999-12-31', bits: 24, shows_order: true",
    "exact": "name: i, kind: exact, normalise: trim, bits: 8, partitions: 4, budget: {minute: 1, hour: 2, day: 3}",
}


def read(declared):
    return policy.parse(TABLE.replace("{INDEX}", "{" + declared + "}"), "people.yaml")[1].indexes[0]


def refusal(declared, table=TABLE):
    with pytest.raises(InvalidPolicy) as caught:
        policy.parse(table.replace("{INDEX}", "{" + declared + "}"), "people.yaml")
    return caught.value.detail


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_read_and_kept_as_text(kind):
    one = read(KINDS[kind])
    assert one.kind == kind
    assert from_text(to_text(one)) == one


def test_what_each_key_means():
    assert read(KINDS["prefix"]).lengths == (3, 6)
    assert read(KINDS["compound"]).parts == (("city", NORMALISERS["casefold", 1]),)
    assert read(KINDS["exact"]).budget == Budget(1, 2, 3)
    assert read(KINDS["exact"]).partitions == 4
    assert read(KINDS["range"]).domain == Domain("date", 693596, 730119)
    assert read(KINDS["range"] + ", step: 30").domain.steps == 1218
    assert read(
        KINDS["range"].replace("of: date, low: '1900-01-01', high: '1999-12-31'", "of: integer, low: -5, high: 99")
    )


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        ("prefix", "max_length: 6", "max_length: 2", "an integer from 3 to 32; 2 came"),
        ("prefix", ", max_length: 6", "", "the key 'max_length' here; it is missing"),
        ("prefix", "bits: 4", "bits: 4, unique: true", "'unique' came"),
        ("prefix", "bits: 4", "bits: 5", "20 bits together"),
        ("prefix", "min_length: 3", "min_length: 1", "about 2^3 prefixes or suffixes"),
        ("suffix", "bits: 6", "bits: 7", "21 bits together"),
        ("compound", "city: casefold", "shoe: casefold", "columns of this table in 'with'"),
        ("compound", "city: casefold", "born: casefold", "1 to 4 other columns"),
        ("compound", "{city: casefold}", "{}", "1 to 4 other columns"),
        ("compound", "entropy: 30, ", "", "the key 'entropy' here; it is missing"),
        ("range", ", shows_order: true", "", "the key 'shows_order' here; it is missing"),
        ("range", "shows_order: true", "shows_order: false", "by which you say that the tokens may show which rows"),
        ("range", "of: date", "of: float", "what the numbers are (integer, date); 'float' came"),
        ("range", "'1900-01-01'", "'1900-02-30'", "a date as YYYY-MM-DD"),
        ("range", "'1999-12-31'", "'1899-12-31'", "'high' at least a step above 'low'"),
        ("range", "bits: 24", "bits: 24, partitions: 2", "none of a unique or a range index"),
        ("range", "bits: 24", "bits: 24, normalise: trim", "'normalise' came"),
        ("exact", "partitions: 4", "partitions: 3", "1, 2, 4, 8 or 16 partitions"),
        ("exact", "minute: 1", "minute: 9", "at least as many look-ups in an hour as in a minute"),
        ("exact", "minute: 1", "minute: 0", "an integer from 1 to"),
        ("exact", "bits: 8, partitions: 4", "bits: 128, unique: true, partitions: 4", "none of a unique"),
    ],
)
def test_refusals_name_the_place_and_what_to_do(kind, old, new, message):
    assert KINDS[kind].count(old) == 1
    detail = refusal(KINDS[kind].replace(old, new))
    assert detail.startswith("people.yaml:")
    assert message in detail


def test_a_range_over_few_rows_needs_a_wider_step():
    few = TABLE.replace("rows: 1000000", "rows: 10000")
    assert "15 bits together" in refusal(KINDS["range"].replace("bits: 24", "bits: 24, entropy: 15"), few)
    assert policy.parse(few.replace("{INDEX}", "{" + KINDS["range"] + ", step: 30}"), "people.yaml")


def test_indexes_of_a_table_are_planned_together():
    both = f"{KINDS['suffix']}}}, {{{KINDS['exact'].replace('name: i', 'name: j')}"
    assert "28 bits together" in refusal(both)


def test_the_policy_that_the_documentation_shows_loads():
    page = (Path(__file__).resolve().parents[2] / "docs" / "developer.md").read_text(encoding="utf-8")
    [block] = [one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "table: people" in one]
    name, born = policy.parse(block, "people.yaml")
    assert (name.indexes[0].kind, born.indexes[0].kind) == ("prefix", "range")
    assert born.indexes[0].budget == Budget(20, 60, 100)
