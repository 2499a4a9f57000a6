"""Lines of `guard tokens` as properties: one answer for each line, in order, whatever stands in them."""

import io
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from guard.cli.lines import MAX_LINE_BYTES, read
from guard.cli.token_lines import MAX_ITEMS
from guard.errors import Denied, InvalidRequest, TokenEnded
from tests.cli.asking import answered

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def finite(value):
    """Whether every number in it is one."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


class Strict:
    """A server that takes no more than it says, and refuses a request in which any item is bad."""

    def __init__(self, error):
        self.error, self.done, self.calls = error, [], 0

    def call(self, _operation, *, items):
        self.calls += 1
        assert 1 <= len(items) <= MAX_ITEMS
        json.dumps(items, allow_nan=False)  # as a client does
        if any(one.get("bad") for one in items):
            raise self.error
        self.done += [one["n"] for one in items]
        return {"results": [{"token": str(one["n"])} for one in items]}


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_bytes_are_lines_with_numbers_that_rise(raw):
    found = list(read(io.BytesIO(raw)))
    numbers = [one.number for one in found]
    assert numbers == sorted(set(numbers))
    assert numbers == [at for at, line in enumerate(raw.split(b"\n"), 1) if line.strip()]


@given(st.lists(json_values, max_size=10))
@settings(max_examples=200)
def test_a_line_is_taken_exactly_if_it_is_an_object_that_json_can_hold(values):
    raw = b"".join(json.dumps(one).encode() + b"\n" for one in values)
    found = list(read(io.BytesIO(raw)))
    assert len(found) == len(values)
    for value, one in zip(values, found, strict=True):
        assert (one.error is None) is (isinstance(value, dict) and finite(value))
        assert one.error is None or one.error.detail.startswith("Expected a JSON object")


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sampled_from([InvalidRequest, Denied, TokenEnded]))
@settings(max_examples=150)
def test_every_good_line_is_done_once_and_every_bad_one_named(bad, error):
    raw = b"".join(json.dumps({"n": at, "bad": one}).encode() + b"\n" for at, one in enumerate(bad))
    server = Strict(error("Expected another."))
    answers = answered(server, "tokens.issue", {}, list(read(io.BytesIO(raw))))
    assert [one.get("token") for one in answers] == [None if one else str(at) for at, one in enumerate(bad)]
    assert [one["line"] for one in answers if "problem" in one] == [at + 1 for at, one in enumerate(bad) if one]
    assert server.done == [at for at, one in enumerate(bad) if not one]


@given(st.integers(0, 199))
@settings(max_examples=25)
def test_one_bad_line_of_200_is_found_in_few_requests(at):
    raw = b"".join(json.dumps({"n": number, "bad": number == at}).encode() + b"\n" for number in range(200))
    server = Strict(InvalidRequest("no"))
    answers = answered(server, "tokens.issue", {}, list(read(io.BytesIO(raw))))
    assert [place for place, one in enumerate(answers) if "problem" in one] == [at]
    assert server.calls <= 17  # two for each halving of 200, and the first


@given(st.integers(-3, 3))
def test_a_line_is_too_long_from_one_byte_on(more):
    line = b'{"a": "' + b"x" * (MAX_LINE_BYTES - 10 + more) + b'"}'
    [one] = read(io.BytesIO(line + b"\n"))
    assert (one.error is not None) is (len(line) + 1 > MAX_LINE_BYTES)
