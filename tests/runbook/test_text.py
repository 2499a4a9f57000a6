"""The strict YAML reader: what a reader sees is what is meant."""

import json
import time
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from guard.errors import InvalidPlan
from guard.runbook.text import MAX_CHARACTERS, MAX_DEPTH, MAX_LINE_CHARACTERS, Document, load


def findings(text):
    with pytest.raises(InvalidPlan) as caught:
        load(text, "plan.yaml")
    return [(each["code"], each["line"], each["path"]) for each in caught.value.extra["findings"]]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("no", "no"),
        ("No", "No"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("n", "n"),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        ("2027-03-31", "2027-03-31"),
        ("2027-03-31T10:00:00Z", "2027-03-31T10:00:00Z"),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("0x", "0x"),
        ("=", "="),
        ("NO", "NO"),
        ("none", "none"),
        ("tRUE", "tRUE"),
        ("١٢", "١٢"),  # Arabic digits are text, not a number
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        ("0o17", 15),
        ("0xff", 255),
        ("9007199254740991", 2**53 - 1),
        ("'true'", "true"),
        ('"12"', "12"),
        ("''", ""),
    ],
)
def test_plain_words_mean_what_the_core_schema_says(word, value):
    assert load(f"a: {word}\n", "x").value == {"a": value}
    assert type(load(f"a: {word}\n", "x").value["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", [("DUPLICATE_KEY", 3, "")]),
        ("a: {b: 1, b: 2}", [("DUPLICATE_KEY", 1, "a")]),
        ("a:\n  - x: 1\n    x: 1", [("DUPLICATE_KEY", 3, "a.0")]),
        ('a: 1\n"a": 2', [("DUPLICATE_KEY", 2, "")]),
        ("a: &anchor 1", [("ANCHOR_REFUSED", 1, "a")]),
        ("&anchor a: 1", [("ANCHOR_REFUSED", 1, "")]),
        ("a: 1\nb: *a", [("ALIAS_REFUSED", 2, "b")]),
        ("a: &x {}\nb:\n  <<: *x", [("ANCHOR_REFUSED", 1, "a"), ("ALIAS_REFUSED", 3, "b.<<")]),
        ("a: !!str 12", [("TAG_REFUSED", 1, "a")]),
        ("a: ! 12", [("TAG_REFUSED", 1, "a")]),
        ("a: !!python/object/apply:os.system [x]", [("TAG_REFUSED", 1, "a")]),
        ("!!set {a: 1}", [("TAG_REFUSED", 1, "")]),
        ("1: a", [("KEY_NOT_TEXT", 1, "")]),
        ("true: a", [("KEY_NOT_TEXT", 1, "")]),
        ("~: a", [("KEY_NOT_TEXT", 1, "")]),
        ("? [a]\n: b", [("KEY_NOT_TEXT", 1, "")]),
        ("a: 1.5", [("NUMBER_REFUSED", 1, "a")]),
        ("a: [1, 2e3]", [("NUMBER_REFUSED", 1, "a.1")]),
        ("a: .nan", [("NUMBER_REFUSED", 1, "a")]),
        ("a: -.inf", [("NUMBER_REFUSED", 1, "a")]),
        ("a: 9007199254740992", [("NUMBER_REFUSED", 1, "a")]),
        ("a: 0xFFFFFFFFFFFFFFFF", [("NUMBER_REFUSED", 1, "a")]),
        ("a: " + "9" * 5000, [("NUMBER_REFUSED", 1, "a")]),
        ("%YAML 1.1\n---\na: no", [("YAML_INVALID", 2, "")]),
        ("a: 1\n---\nb: 1", [("YAML_INVALID", 2, "")]),
        ("", [("YAML_INVALID", 1, "")]),
        ("# only a comment\n", [("YAML_INVALID", 1, "")]),
        ("a: b: c", [("YAML_INVALID", 1, "")]),
        ("a:\n\t- x", [("YAML_INVALID", 2, "")]),
        ("a: [1, 2", [("YAML_INVALID", 1, "")]),
        ("a: 'x", [("YAML_INVALID", 1, "")]),
        ("a: 1\nb: \x07", [("YAML_INVALID", 2, "")]),
        ("a: 1\n\nb: \ud800", [("YAML_INVALID", 3, "")]),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text, expected):
    assert findings(text) == expected


def test_every_fault_of_a_file_is_listed_with_its_line():
    assert findings("a: !t 1\nb: &x 2\nc: 1.5\nc: *x\n") == [
        ("TAG_REFUSED", 1, "a"),
        ("ANCHOR_REFUSED", 2, "b"),
        ("NUMBER_REFUSED", 3, "c"),
        ("DUPLICATE_KEY", 4, ""),
        ("ALIAS_REFUSED", 4, "c"),
    ]


def test_the_list_of_faults_is_bounded():
    assert len(findings("\n".join(f"k{n}: 1.5" for n in range(500)))) == 100


def test_a_value_is_not_quoted_in_a_message():
    with pytest.raises(InvalidPlan) as caught:
        load("password: &hunter2 hunter2hunter2\npassword: 1.2345678\n", "plan.yaml")
    assert "hunter2" not in str(caught.value.extra) + caught.value.detail
    assert "1.2345678" not in str(caught.value.extra)


def test_lines_are_known_for_every_part():
    document = load("a: 1\nb:\n  c:\n    - x\n    - y: 2\n", "x")
    assert [document.line(path) for path in [("a",), ("b", "c", 0), ("b", "c", 1), ("b", "c", 1, "y")]] == [1, 4, 5, 5]
    assert document.line(("b", "c", 1, "missing")) == 5
    assert document.line(("missing",)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        "[\n" * 500_000,
        "{a: " * 300_000,
        "- " * 500_000,
        "a:\n" + "".join(" " * n + "a:\n" for n in range(1, 300)),
        "!" * 1_000_000,
        "a: " + "x" * (MAX_LINE_CHARACTERS + 1),
        "a: 1\n" * MAX_CHARACTERS,
    ],
    ids=["flow", "flow-lines", "flow-maps", "dashes", "blocks", "tags", "line", "size"],
)
def test_hostile_text_is_refused_soon(text):
    began = time.monotonic()
    codes = {code for code, _, _ in findings(text)}
    assert codes & {"TOO_DEEP", "TOO_LARGE"}
    assert time.monotonic() - began < 10


def test_the_allowed_depth_is_readable():
    depth = MAX_DEPTH - 1
    assert load("a: " + "[" * depth + "]" * depth, "x").value["a"] is not None


words = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x9FFF, exclude_categories=["C", "Z"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(values)
@settings(max_examples=80, deadline=None)
def test_json_reads_as_the_same_value(value):
    """JSON is YAML 1.2, so what a JSON writer wrote has to come back unchanged."""
    assert load(json.dumps({"a": value}, ensure_ascii=False), "x").value == {"a": value}


@given(st.text(st.sampled_from("ab:-?&*!%[]{}'\"|>#,~ \n1.0"), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text):
    read = read_or_refused(text)
    assert read.line(()) >= 1 if isinstance(read, Document) else read.extra["findings"]


def read_or_refused(text):
    try:
        return load(text, "x")
    except InvalidPlan as refused:
        return refused


plain = st.sampled_from(
    ["no", "12:30", "true", "~", "5", "0x1F", "-3", "a b", "x:y", "'q'", '"d\\n"', "2027-03-31", "yes", "NULL", "0o7"]
)


def block(depth):
    """Lines of a block mapping or sequence, each as written by hand."""
    if depth == 0:
        return plain.map(lambda word: [f" {word}"])
    inner = block(depth - 1)
    mapping = st.lists(inner, min_size=1, max_size=3).map(lambda parts: ["", *_indented("k{}:", parts)])
    sequence = st.lists(inner, min_size=1, max_size=3).map(lambda parts: ["", *_indented("-", parts)])
    return mapping | sequence | inner


def _indented(head, parts):
    return ["  " + line for number, part in enumerate(parts) for line in [head.format(number) + part[0], *part[1:]]]


@given(block(3))
@settings(max_examples=80, deadline=None)
def test_another_reader_of_yaml_1_2_agrees(lines):
    """The values are those that the library's own constructor makes under version 1.2."""
    text = "root:" + "\n".join(lines) + "\n"
    other = YAML(typ="safe", pure=True)
    other.version = (1, 2)
    theirs = other.load(text)
    assert load(text, "x").value == _dates_as_text(theirs)


def _dates_as_text(value):
    """The library reads a date even under 1.2, where the core schema has none."""
    if isinstance(value, dict):
        return {key: _dates_as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_dates_as_text(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value
