"""Canonical JSON against another implementation of RFC 8785 and against published vectors."""

import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidRequest
from guard.runbook.canonical import MAX_DEPTH, canonical, sha256_of

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=20,
)


@given(values)
@settings(max_examples=300, deadline=None)
def test_the_bytes_are_those_of_rfc_8785(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(text, st.integers(0, 9), max_size=6))
@settings(deadline=None)
def test_the_order_of_keys_does_not_matter(value):
    assert canonical(value) == canonical(dict(reversed(value.items())))
    assert json.loads(canonical(value)) == value


def test_keys_are_sorted_by_utf_16():
    """U+1F600 begins with the unit D83D, so it comes before U+FB33; by code point it would come after."""
    assert canonical({"\ufb33": 1, "\U0001f600": 2}).index("\U0001f600".encode()) == 2


def test_published_vectors(conformance):
    checked = 0
    for source in sorted((conformance / "jcs" / "input").glob("*.json")):
        raw = source.read_text(encoding="utf-8")
        value = json.loads(raw)
        if any(isinstance(each, float) for each in _leaves(value)):
            with pytest.raises(InvalidRequest):
                canonical(value)
            continue
        assert canonical(value) == (conformance / "jcs" / "output" / source.name).read_bytes(), source.name
        checked += 1
    assert checked >= 4


def _leaves(value):
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value


deep = None
for _ in range(MAX_DEPTH + 1):
    deep = [deep]


@pytest.mark.parametrize(
    "value",
    [1.5, float("nan"), 2**53, -(2**53), "\ud800", {"\udfff": 1}, {1: 2}, {"a": {1, 2}}, b"x", object(), deep],
    ids=["fraction", "nan", "large", "small", "surrogate", "key", "number-key", "set", "bytes", "object", "deep"],
)
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(InvalidRequest):
        canonical(value)


def test_the_hash_is_sha_256_in_lower_case():
    assert sha256_of({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
