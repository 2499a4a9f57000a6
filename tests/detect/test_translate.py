"""Sigma detections as predicate trees: the contract that every later engine evaluates."""

import pytest

from guard.detect.event import FIELDS
from guard.detect.translate import MAX_DEPTH, predicate_of
from guard.errors import InvalidRule
from tests.detect.building import plain


def tree(detection):
    return plain(detection).ir["inputs"][0]["pred"]


def eq(field, value, *, cased=False):
    return {"eq": {"field": field, "value": value, "cased": cased}}


def like(field, *parts, cased=False):
    return {"like": {"field": field, "parts": list(parts), "cased": cased}}


@pytest.mark.parametrize(
    ("selection", "pred"),
    [
        ("cs-method: GET", eq("cs-method", "GET")),
        ("cs-method|cased: GET", eq("cs-method", "GET", cased=True)),
        ("cs-method: [b, a]", {"in": {"field": "cs-method", "values": ["a", "b"], "cased": False}}),
        ("sc-status: 404", eq("sc-status", 404)),
        ("sc-status: '404'", eq("sc-status", 404)),
        ("sc-status: [404, '403', 404]", {"in": {"field": "sc-status", "values": [403, 404], "cased": False}}),
        ("cs-username: 007", eq("cs-username", "7")),
        ("cs-username: '007'", eq("cs-username", "007")),
        ("cs-uri: /a*b", like("cs-uri", "/a", 0, "b")),
        ("cs-uri: /a?b", like("cs-uri", "/a", 1, "b")),
        (r"cs-uri: /a\?b", eq("cs-uri", "/a?b")),
        (r"cs-uri: \\x", eq("cs-uri", r"\x")),
        ("cs-uri|contains: x", like("cs-uri", 0, "x", 0)),
        ("cs-uri|startswith: x", like("cs-uri", "x", 0)),
        ("cs-uri|endswith: x", like("cs-uri", 0, "x")),
        ("cs-uri|contains: '*x*'", like("cs-uri", 0, "x", 0)),
        ("cs-uri|contains|cased: x", like("cs-uri", 0, "x", 0, cased=True)),
        ("cs-uri|contains: [x, y]", {"or": [like("cs-uri", 0, "x", 0), like("cs-uri", 0, "y", 0)]}),
        ("cs-uri|contains|all: [x, y]", {"and": [like("cs-uri", 0, "x", 0), like("cs-uri", 0, "y", 0)]}),
        ("cs-uri|re: 'a+'", {"re": {"field": "cs-uri", "pattern": "a+", "flags": ""}}),
        ("cs-uri|re|i: 'a*'", {"re": {"field": "cs-uri", "pattern": "a*", "flags": "i"}}),
        (r"cs-uri|re|s|m|i: '\.\*?'", {"re": {"field": "cs-uri", "pattern": r"\.\*?", "flags": "ims"}}),
        ("sc-bytes|gte: 5", {"cmp": {"field": "sc-bytes", "op": "gte", "value": 5}}),
        ("sc-bytes|lt: 5", {"cmp": {"field": "sc-bytes", "op": "lt", "value": 5}}),
        ("c-ip: 192.0.2.1", eq("c-ip", "192.0.2.1")),
        ("c-ip: '2001:DB8::0:1'", eq("c-ip", "2001:db8::1")),
        ("c-ip: 192.0.2.*", like("c-ip", "192.0.2.", 0)),
        ("c-ip|cidr: 192.0.2.0/24", {"cidr": {"field": "c-ip", "network": "192.0.2.0/24"}}),
        ("c-ip|cidr: '2001:DB8::/32'", {"cidr": {"field": "c-ip", "network": "2001:db8::/32"}}),
        ("cs-referer: null", {"null": {"field": "cs-referer"}}),
        ("cs-referer: ''", eq("cs-referer", "")),
        ("cs-referer|exists: false", {"exists": {"field": "cs-referer", "value": False}}),
        ("cs-method|neq: GET", {"not": eq("cs-method", "GET")}),
        (
            "cs-username|fieldref: cs-host",
            {"fieldref": {"field": "cs-username", "other": "cs-host", "starts": False, "ends": False}},
        ),
        (
            "cs-username|fieldref|endswith: cs-host",
            {"fieldref": {"field": "cs-username", "other": "cs-host", "starts": False, "ends": True}},
        ),
    ],
)
def test_selections(selection, pred):
    assert tree(f"{{sel: {{{selection}}}, condition: sel}}") == pred


A, B, C = eq("cs-method", "A"), eq("cs-host", "B"), eq("cs-version", "C")
NAMED = "a: {cs-method: A}, b: {cs-host: B}, c: {cs-version: C}"


@pytest.mark.parametrize(
    ("condition", "pred"),
    [
        ("a", A),
        ("not a", {"not": A}),
        ("a and b", {"and": [A, B]}),
        ("a and b and c", {"and": [A, B, C]}),
        ("a or b", {"or": [A, B]}),
        ("a and (b or not c)", {"and": [A, {"or": [B, {"not": C}]}]}),
        ("not (a or b)", {"not": {"or": [A, B]}}),
        ("1 of them", {"or": [A, B, C]}),
        ("all of them", {"and": [A, B, C]}),
        ("a or b and c", {"or": [A, {"and": [B, C]}]}),
    ],
)
def test_conditions(condition, pred):
    assert tree(f"{{{NAMED}, condition: '{condition}'}}") == pred


def test_a_mapping_is_all_of_its_fields_and_a_list_of_mappings_any():
    assert tree("{sel: {cs-method: A, cs-host: B}, condition: sel}") == {"and": [A, B]}
    assert tree("{sel: [{cs-method: A}, {cs-host: B}], condition: sel}") == {"or": [A, B]}


def keyword(*parts, cased=False):
    return {"keyword": {"parts": list(parts), "cased": cased}}


@pytest.mark.parametrize(
    ("keywords", "pred"),
    [
        ("[x, 'y*z']", {"or": [keyword("x"), keyword("y", 0, "z")]}),
        ("x", keyword("x")),
        ("404", keyword("404")),
        ("{'|all': [x, y]}", {"and": [keyword("x"), keyword("y")]}),
        ("{'|re': 'x+'}", {"keyword_re": {"pattern": "x+", "flags": ""}}),
        ("{'|cased': X}", keyword("X", cased=True)),
    ],
)
def test_keywords(keywords, pred):
    assert tree(f"{{keywords: {keywords}, condition: keywords}}") == pred


def test_values_that_a_modifier_multiplies_are_alternatives_even_under_all():
    pred = tree("{sel: {cs-uri|windash|contains|all: [' -x', ' -y']}, condition: sel}")
    (first, second) = pred["and"]
    assert like("cs-uri", 0, " -x", 0) in first["or"]
    assert like("cs-uri", 0, " /y", 0) in second["or"]


def test_encoded_values_are_written_out():
    assert tree("{sel: {cs-uri|base64: guard}, condition: sel}") == eq("cs-uri", "Z3VhcmQ=")
    offsets = tree("{sel: {cs-uri|base64offset|contains: guard}, condition: sel}")
    assert len(offsets["or"]) == 3


@pytest.mark.parametrize("field", FIELDS)
def test_every_known_field_can_be_asked_for(field):
    assert tree(f"{{sel: {{{field}|exists: true}}, condition: sel}}") == {"exists": {"field": field, "value": True}}


def test_field_names_are_exact():
    with pytest.raises(InvalidRule, match="'C-IP'"):
        tree("{sel: {C-IP: 192.0.2.1}, condition: sel}")


def test_what_is_no_condition_is_refused():
    with pytest.raises(InvalidRule, match="not supported"):
        predicate_of(None)


def test_nesting_has_a_limit():
    deep = "a"
    for _ in range(MAX_DEPTH + 1):
        deep = f"not ({deep})"
    with pytest.raises(InvalidRule):
        tree(f"{{a: {{cs-method: A}}, condition: '{deep}'}}")
