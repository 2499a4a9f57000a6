"""Forms of human steps, against a full JSON Schema validator."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidRequest
from guard.runbook.form import MAX_FIELDS, MAX_LENGTH, check, faults, is_moment

FORM = {
    "type": "object",
    "required": ["note", "count"],
    "properties": {
        "note": {"type": "string", "maxLength": 5, "title": {"en": "Note", "zh": "备注"}},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "sure": {"type": "boolean"},
        "colour": {"type": "string", "enum": ["red", "green"]},
        "level": {"type": "integer", "enum": [0, 1]},
        "at": {"type": "string", "format": "date-time"},
    },
}
GOOD = {"note": "ok", "count": 1}


def test_a_fitting_answer_is_recorded():
    answer = GOOD | {"share": 1.5, "sure": False, "colour": "red", "level": 0, "at": "2026-11-22T03:00:00Z"}
    assert check(FORM, answer) == answer | {"share": "1.5"}


@pytest.mark.parametrize(
    ("value", "recorded"), [(1.0, 1), (-0.0, 0), (2.5, "2.5"), (7, 7), (1e15, 10**15), (0.1, "0.1")]
)
def test_numbers_are_recorded_without_fractions(value, recorded):
    kept = check(FORM, GOOD | {"share": value})["share"]
    assert kept == recorded
    assert not isinstance(kept, float)


@pytest.mark.parametrize(
    ("answer", "pointer", "code"),
    [
        ({"count": 1}, "/note", "required"),
        ({}, "/note", "required"),
        (GOOD | {"extra": 1}, "/extra", "unknown"),
        (GOOD | {"note": "123456"}, "/note", "maxLength"),
        (GOOD | {"note": 5}, "/note", "type"),
        (GOOD | {"note": None}, "/note", "type"),
        (GOOD | {"note": "a\0b"}, "/note", "text"),
        (GOOD | {"note": "\ud800"}, "/note", "text"),
        (GOOD | {"count": True}, "/count", "type"),
        (GOOD | {"count": "1"}, "/count", "type"),
        (GOOD | {"count": 1.5}, "/count", "type"),
        (GOOD | {"count": 2**53}, "/count", "type"),
        (GOOD | {"share": float("nan")}, "/share", "type"),
        (GOOD | {"share": float("inf")}, "/share", "type"),
        (GOOD | {"share": "1"}, "/share", "type"),
        (GOOD | {"sure": 1}, "/sure", "type"),
        (GOOD | {"sure": "yes"}, "/sure", "type"),
        (GOOD | {"colour": "blue"}, "/colour", "enum"),
        (GOOD | {"level": 2}, "/level", "enum"),
        (GOOD | {"level": True}, "/level", "type"),
        (GOOD | {"at": "2026-11-22"}, "/at", "format"),
        (GOOD | {"at": "2026-11-22T03:00:00"}, "/at", "format"),
    ],
)
def test_a_wrong_answer_names_its_field(answer, pointer, code):
    with pytest.raises(InvalidRequest, match=pointer) as caught:
        check(FORM, answer)
    assert (caught.value.extra["errors"][0]["pointer"], caught.value.extra["errors"][0]["code"]) == (pointer, code)


def test_all_faults_come_at_once_and_no_value_is_quoted():
    with pytest.raises(InvalidRequest) as caught:
        check(FORM, {"note": "hunter2hunter2", "colour": "hunter2", "hunter2 is no field": 1})
    assert len(caught.value.extra["errors"]) == 4
    assert "hunter2" not in str(caught.value.extra) + caught.value.detail


@pytest.mark.parametrize("answer", [None, [], "x", 5])
def test_an_answer_is_a_mapping(answer):
    with pytest.raises(InvalidRequest):
        check(FORM, answer)


def test_without_a_form_only_an_empty_answer_fits():
    assert check(None, {}) == {}
    with pytest.raises(InvalidRequest):
        check(None, {"a": 1})


def test_text_without_a_limit_has_one():
    form = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert check(form, {"a": "x" * MAX_LENGTH})
    with pytest.raises(InvalidRequest):
        check(form, {"a": "x" * (MAX_LENGTH + 1)})


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2026-11-22T03:00:00Z", True),
        ("2026-11-22t03:00:00z", True),
        ("2026-11-22T03:00:00.123456789+01:00", True),
        ("2028-02-29T00:00:00-11:30", True),
        ("2026-12-31T23:59:60Z", True),
        ("2027-01-01T08:59:60+09:00", True),
        ("2026-12-31T12:00:60Z", False),
        ("2026-02-29T00:00:00Z", False),
        ("2026-11-22T24:00:00Z", False),
        ("2026-11-22T03:60:00Z", False),
        ("2026-11-22T03:00:61Z", False),
        ("2026-11-22 03:00:00Z", False),
        ("2026-11-22T03:00Z", False),
        ("2026-11-22T03:00:00+0100", False),
        ("2026-11-22T03:00:00+25:00", False),
        ("0000-01-01T00:00:00Z", False),
        ("0001-01-01T00:00:00+14:00", False),
        ("2026-11-22T03:00:00Z\n", False),
        ("٢٠٢٦-11-22T03:00:00Z", False),
    ],
)
def test_a_time_has_an_offset_and_exists(text, valid):
    assert is_moment(text) is valid


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ({"properties": {"a": {"type": "string"}}}, ("type",)),
        ({"type": "object"}, ("properties",)),
        ({"type": "object", "properties": {}}, ("properties",)),
        (
            {"type": "object", "properties": {f"a{n}": {"type": "string"} for n in range(MAX_FIELDS + 1)}},
            ("properties",),
        ),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]}, ("required",)),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": "a"}, ("required",)),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "allOf": []}, ("allOf",)),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, ("properties", "a", "type")),
        ({"type": "object", "properties": {"a": {"type": ["string"]}}}, ("properties", "a", "type")),
        ({"type": "object", "properties": {"a": "string"}}, ("properties", "a")),
        ({"type": "object", "properties": {"a b": {"type": "string"}}}, ("properties", "a b")),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+"}}},
            ("properties", "a", "pattern"),
        ),
        ({"type": "object", "properties": {"a": {"type": "string", "format": "email"}}}, ("properties", "a", "format")),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "format": "date-time"}}},
            ("properties", "a", "format"),
        ),
        ({"type": "object", "properties": {"a": {"type": "string", "maxLength": 0}}}, ("properties", "a", "maxLength")),
        (
            {"type": "object", "properties": {"a": {"type": "string", "maxLength": True}}},
            ("properties", "a", "maxLength"),
        ),
        ({"type": "object", "properties": {"a": {"type": "integer", "enum": [1, "2"]}}}, ("properties", "a", "enum")),
        ({"type": "object", "properties": {"a": {"type": "string", "enum": []}}}, ("properties", "a", "enum")),
        ({"type": "object", "properties": {"a": {"type": "string", "enum": ["x", "x"]}}}, ("properties", "a", "enum")),
        ({"type": "object", "properties": {"a": {"type": "string", "title": "A"}}}, ("properties", "a", "title")),
    ],
)
def test_an_unusable_form_is_found(form, path):
    assert [found for found, _ in faults(form)] == [path]


def test_a_usable_form_has_no_faults():
    assert list(faults(FORM)) == []


fields = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 3},
        {"type": "string", "enum": ["a", "b"]},
        {"type": "integer"},
        {"type": "integer", "enum": [0, 1]},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "boolean", "enum": [True]},
    ]
)
names = st.sampled_from(["a", "b", "c", "d"])
answers = st.dictionaries(
    names,
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=5)
    | st.integers(-5, 5)
    | st.floats(-9, 9)
    | st.booleans()
    | st.none()
    | st.sampled_from(["a", "b"]),
    max_size=4,
)


@given(st.dictionaries(names, fields, min_size=1, max_size=4), st.sets(names), answers)
@settings(max_examples=400, deadline=None)
def test_a_json_schema_validator_agrees(properties, required, answer):
    form = {"type": "object", "properties": properties, "required": sorted(required & properties.keys())}
    assert list(faults(form)) == []
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, a test requirement, is not installed")
    agrees = jsonschema.Draft202012Validator(form | {"additionalProperties": False}).is_valid(answer)
    try:
        check(form, answer)
    except InvalidRequest:
        assert not agrees
    else:
        assert agrees
