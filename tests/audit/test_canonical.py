"""The fast canonical form against RFC 8785 by others, over everything that a record may hold."""

import hashlib
import json
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from uuid import UUID

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guard.audit.canonical import MAX_DEPTH, b64u, canonical, commitment
from guard.errors import InvalidRequest

NONCE = bytes(range(32))
LIMIT = 2**53
texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers(1 - LIMIT, LIMIT - 1) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6))


class Colour(StrEnum):
    RED = "red\n"


class Plain(Enum):
    A = "a"
    ONE = 1


class Number(IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


def nested(depth):
    value = "end"
    for _ in range(depth):
        value = {"a": value}
    return value


class TestAgainstTheStandard:
    @given(values)
    @settings(max_examples=400)
    @example("".join(map(chr, range(0x80))))
    @example("\u2028\u2029\ufeff\uffff\U0001f600\U0010ffff")
    @example({"b": 1, "a": 2, "_": 3, "10": 4, "1": 5, "9": 6})
    @example([LIMIT - 1, 1 - LIMIT, 0, -1])
    def test_the_bytes_are_those_of_rfc_8785(self, value):
        assert canonical(value) == rfc8785.dumps(value)

    @pytest.mark.parametrize(
        "code", [*range(0x21), 0x22, 0x2F, 0x5C, 0x7F, 0x80, 0x9F, 0xD7FF, 0xE000, 0xFFFF, 0x10000]
    )
    def test_each_character_is_escaped_as_the_standard_says(self, code):
        assert canonical({"a": chr(code)}) == rfc8785.dumps({"a": chr(code)})

    @given(values)
    @settings(max_examples=100)
    def test_what_is_written_reads_back(self, value):
        assert json.loads(canonical(value)) == value

    def test_the_published_pairs(self, conformance):
        """The 6 pairs of cyberphone/json-canonicalization: equal bytes, or outside the profile and refused."""
        accepted = []
        files = sorted((conformance("jcs") / "input").iterdir())
        for file in files:
            expected = (conformance("jcs") / "output" / file.name).read_bytes()
            value = json.loads(file.read_text())
            assert rfc8785.dumps(value) == expected
            try:
                written = canonical(value)
            except InvalidRequest:
                continue
            assert written == expected
            accepted.append(file.stem)
        assert len(files) == 6
        assert accepted == ["arrays"]

    @pytest.mark.parametrize("name", ["arrays", "french", "structures", "unicode", "values", "weird"])
    def test_the_values_of_the_published_pairs_under_keys_of_the_profile(self, conformance, name):
        value = json.loads((conformance("jcs") / "input" / f"{name}.json").read_text())
        renamed = under_plain_keys(value)
        assert canonical(renamed) == rfc8785.dumps(renamed)


def under_plain_keys(value):
    """The same value with keys and numbers of the profile."""
    match value:
        case dict():
            return {f"k{number}": under_plain_keys(item) for number, item in enumerate(value.values())}
        case list():
            return [under_plain_keys(item) for item in value]
        case float():
            return repr(value)
        case _:
            return value


class TestForms:
    @pytest.mark.parametrize(
        ("value", "written"),
        [
            ({}, b"{}"),
            ([], b"[]"),
            ((), b"[]"),
            ("", b'""'),
            (None, b"null"),
            ({"b": [1, (2, None)], "a": True}, b'{"a":true,"b":[1,[2,null]]}'),
            ({"a": Colour.RED, "b": Plain.A}, b'{"a":"red\\n","b":"a"}'),
            ([Colour.RED], b'["red\\n"]'),
            ('\x08\t\n\x0c\r\x0b\x1f"\\/', b'"\\b\\t\\n\\f\\r\\u000b\\u001f\\"\\\\/"'),
            ("é\u2028😀", '"é\u2028😀"'.encode()),
        ],
    )
    def test_what_a_record_may_hold(self, value, written):
        assert canonical(value) == written

    def test_the_deepest_value(self):
        assert canonical(nested(MAX_DEPTH)) == rfc8785.dumps(nested(MAX_DEPTH))
        with pytest.raises(InvalidRequest, match="16 levels"):
            canonical(nested(MAX_DEPTH + 1))

    def test_a_value_that_holds_itself_ends_too(self):
        loop = []
        loop.append(loop)
        with pytest.raises(InvalidRequest, match="16 levels"):
            canonical(loop)


REFUSED = [
    1.0,
    0.5,
    float("nan"),
    float("inf"),
    LIMIT,
    -LIMIT,
    2**60,
    10**30,
    "\ud800",
    "a\udfffb",
    b"a",
    {1},
    Decimal(1),
    UUID(int=1),
    datetime(2026, 1, 1, tzinfo=UTC),
    Number.ONE,
    Plain.ONE,
    Text("a"),
    object(),
    OrderedDict(a=1),
    MappingProxyType({"a": 1}),
    {"A": 1},
    {"": 1},
    {"a-b": 1},
    {"a b": 1},
    {"é": 1},
    {"a\n": 1},
    {1: 2},
    {None: 1},
    {b"a": 1},
    {Text("a"): 1},
    {Colour.RED: 1},
    {"a": 1, "": 2},
]


class TestRefusals:
    @pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
    @pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"a": v}, lambda v: {"a": [{"b": v}]}])
    def test_what_a_record_may_not_hold(self, value, wrap):
        with pytest.raises(InvalidRequest):
            canonical(wrap(value))

    def test_a_refusal_names_the_place_and_the_type_and_no_value(self):
        with pytest.raises(InvalidRequest) as caught:
            canonical({"fine": 1, "data": {"inner": [1, 3.14159]}})
        assert caught.value.detail.startswith("In data: Expected text, integers")
        assert "got float" in caught.value.detail
        assert "3.14" not in caught.value.detail

    @pytest.mark.parametrize("value", [{"alice@example.com": 1}, {"a": {"alice@example.com": 1}}, "alice\ud800", 2**70])
    def test_a_refusal_repeats_neither_key_nor_value(self, value):
        with pytest.raises(InvalidRequest) as caught:
            canonical(value)
        assert "alice" not in caught.value.detail
        assert str(2**70) not in caught.value.detail
        assert caught.value.__cause__ is None


class TestCommitment:
    def test_the_golden_value(self):
        made = b64u(commitment(NONCE, "alice@example.com"))
        assert made == "2EK1OSLAqRqmH5-pje4upiu2JHK63TvLuorvvT2KVTQ"

    @given(values)
    @settings(max_examples=60)
    def test_it_is_the_hash_of_mark_nonce_and_canonical_value(self, value):
        assert commitment(NONCE, value) == hashlib.sha256(b"\x02" + NONCE + rfc8785.dumps(value)).digest()

    @pytest.mark.parametrize("value", [True, False, 0, 1, "1", None, "", {}, []])
    def test_even_the_smallest_values_differ_and_hide(self, value):
        others = [True, False, 0, 1, "1", None, "", {}, []]
        same = [other for other in others if commitment(NONCE, other) == commitment(NONCE, value)]
        assert [type(one) for one in same] == [type(value)]
        assert commitment(bytes(32), value) != commitment(NONCE, value)

    @pytest.mark.parametrize("length", [0, 16, 31, 33])
    def test_a_nonce_of_another_length_is_refused(self, length):
        with pytest.raises(InvalidRequest, match="32 random bytes"):
            commitment(bytes(length), "a")


@pytest.mark.parametrize(
    ("data", "text"), [(b"", ""), (b"\x00", "AA"), (b"\xfb\xff", "-_8"), (bytes(16), "A" * 22), (bytes(32), "A" * 43)]
)
def test_base64url_has_no_padding(data, text):
    assert b64u(data) == text
