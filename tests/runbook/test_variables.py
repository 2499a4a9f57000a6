"""Inputs and their places: one pass, typed, and what is filled in is never read again."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidRequest
from guard.runbook.variables import MAX_VALUE_CHARACTERS, Input, bind, fill, references, render, typed


def declared(type_name="string", external=True, value=None):
    return {"__x__": Input("__x__", type_name, external, value, {})}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("host __x__:value is down", "host H is down"),
        ("__x__:value", "H"),
        ("__x__:value__x__:value", "HH"),
        ("__x__ alone is text", "__x__ alone is text"),
        ("__y__:value is not known", "__y__:value is not known"),
        ("{{7*7}} $(id) ${__x__} %s", "{{7*7}} $(id) ${__x__} %s"),
        ("__X__:value", "__X__:value"),
        ("__1__:value", "__1__:value"),
        ("__n__:value items, __b__:value", "12 items, true"),
    ],
)
def test_references_are_filled_in(text, result):
    assert fill(text, {"__x__": "H", "__n__": 12, "__b__": True}) == result


def test_what_is_filled_in_is_not_read_again():
    values = {"__x__": "__y__:value", "__y__": "secret"}
    assert fill("__x__:value", values) == "__y__:value"
    assert render({"a": ["__x__:value"]}, values) == {"a": ["__y__:value"]}


def test_a_whole_value_keeps_its_type_and_a_part_becomes_text():
    values = {"__n__": 12, "__b__": False}
    given_value = {"n": "__n__:value", "b": "__b__:value", "s": "n=__n__:value", "l": ["__n__:value", 5, None], "k": {}}
    assert render(given_value, values) == {"n": 12, "b": False, "s": "n=12", "l": [12, 5, None], "k": {}}


def test_keys_are_never_references():
    assert render({"__x__:value": 1}, {"__x__": "a"}) == {"__x__:value": 1}


def test_names_are_listed_in_order():
    assert references("__b__:value __a__:value __b__:value __c__") == ("__b__", "__a__", "__b__")


def test_a_wall_of_underscores_costs_little():
    began = time.monotonic()
    assert references("_" * 4000) == ()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("type_name", "value", "fits"),
    [
        ("string", "crm.email", True),
        ("string", "", False),
        ("string", "x" * MAX_VALUE_CHARACTERS, True),
        ("string", "x" * (MAX_VALUE_CHARACTERS + 1), False),
        ("string", "a\nb", False),
        ("string", "a\x1b[2J", False),
        ("string", "a\u2028b", False),
        ("string", "\ud800", False),
        ("string", 5, False),
        ("string", None, False),
        ("integer", 0, True),
        ("integer", -5, True),
        ("integer", 2**53, False),
        ("integer", True, False),
        ("integer", "5", False),
        ("bool", False, True),
        ("bool", 0, False),
        ("ipv4-addr", "192.0.2.7", True),
        ("ipv4-addr", "192.0.2.07", False),
        ("ipv4-addr", "192.0.2.0/24", False),
        ("ipv4-addr", "2001:db8::1", False),
        ("ipv6-addr", "2001:db8::1", True),
        ("ipv6-addr", "192.0.2.7", False),
        ("uuid", "0190a1b2-0000-7000-8000-000000000000", True),
        ("uuid", "not-a-uuid", False),
    ],
)
def test_values_fit_their_type(type_name, value, fits):
    assert (typed(type_name, value) is not None) is fits
    if fits:
        assert bind(declared(type_name), {"__x__": value}) == {"__x__": value}
    else:
        with pytest.raises(InvalidRequest, match="__x__"):
            bind(declared(type_name), {} if value is None else {"__x__": value})


def test_a_plan_keeps_its_own_values():
    assert bind(declared("integer", False, 3), {}) == {"__x__": 3}
    with pytest.raises(InvalidRequest, match="not an external input"):
        bind(declared("integer", False, 3), {"__x__": 4})


def test_every_fault_is_named_and_no_value_is_quoted():
    with pytest.raises(InvalidRequest) as caught:
        bind(declared("integer"), {"__x__": "hunter2", "__other__": "hunter2", "hunter2": 1})
    pointers = [each["pointer"] for each in caught.value.extra["errors"]]
    assert pointers == ["/inputs/__other__", "/inputs/a name that is no variable", "/inputs/__x__"]
    assert "hunter2" not in str(caught.value.extra) + caught.value.detail


@given(st.text(max_size=60), st.text(max_size=20))
@settings(deadline=None)
def test_text_without_references_is_left_alone(text, value):
    if not references(text):
        assert fill(text, {"__x__": value}) == text


@given(st.lists(st.sampled_from(["__x__:value", "__y__:value", " ", "z"]), max_size=8), st.text(max_size=20))
@settings(deadline=None)
def test_filling_in_replaces_exactly_the_references(parts, value):
    text = " ".join(parts)
    assert fill(text, {"__x__": value}) == " ".join(value if part == "__x__:value" else part for part in parts)
