"""The canonical context: fixed bytes, refusals, and that it is a bijection."""

import struct
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InternalError, InvalidContext
from guard.vault import context
from guard.vault.context import Template

HEADER = bytes.fromhex("47010101001122334455667700000003")
GOLDEN_FIELDS = {"tenant": "acme", "table": "users", "column": "email", "subject": "u-17"}
GOLDEN = bytes.fromhex(
    "67756172642f6374782f3100470101010011223344556677000000030000000400000006636f6c756d6e0100000005656d61696c00000007"
    "7375626a6563740100000004752d3137000000057461626c65010000000575736572730000000674656e616e74010000000461636d65"
)
SOME_UUID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

keys = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
close_keys = st.sampled_from(["a", "b", "aa", "ab", "a_", "a0", "row"])
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20).filter(lambda text: text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)),
    st.binary(max_size=20),
    st.uuids(),
)
close_values = st.sampled_from(
    [
        None,
        "",
        b"",
        0,
        1,
        False,
        True,
        "0",
        "1",
        b"\0",
        b"\1",
        "\0",
        "a",
        b"a",
        "ab",
        "é",
        "e\u0301",
        SOME_UUID.bytes,
        SOME_UUID,
    ]
)
fields = st.dictionaries(keys, values, max_size=6)
close_fields = st.dictionaries(close_keys, close_values, max_size=3)


def typed(mapping):
    """Python holds True equal to 1; the canonical form must not."""
    return {key: (type(value), value) for key, value in mapping.items()}


def body(*parts: bytes, count: int = 1) -> bytes:
    return context.PREFIX + HEADER + struct.pack(">I", count) + b"".join(parts)


def field(key: bytes, tag: int, value: bytes) -> bytes:
    return struct.pack(">I", len(key)) + key + bytes([tag]) + struct.pack(">I", len(value)) + value


def test_golden_vector():
    assert context.encode(HEADER, GOLDEN_FIELDS) == GOLDEN
    assert len(GOLDEN) == 110
    assert context.parse(GOLDEN) == (HEADER, GOLDEN_FIELDS)


def test_order_of_the_mapping_does_not_matter():
    assert context.encode(HEADER, dict(reversed(GOLDEN_FIELDS.items()))) == GOLDEN


@pytest.mark.parametrize(
    ("value", "tag", "raw"),
    [
        (None, 0, b""),
        ("", 1, b""),
        ("é", 1, b"\xc3\xa9"),
        ("e\u0301", 1, b"e\xcc\x81"),
        ("\0", 1, b"\0"),
        (b"", 2, b""),
        (b"\xff\x00", 2, b"\xff\x00"),
        (0, 3, bytes(8)),
        (1, 3, bytes(7) + b"\x01"),
        (-1, 3, b"\xff" * 8),
        (2**63 - 1, 3, b"\x7f" + b"\xff" * 7),
        (-(2**63), 3, b"\x80" + bytes(7)),
        (False, 4, b"\x00"),
        (True, 4, b"\x01"),
        (SOME_UUID, 5, SOME_UUID.bytes),
    ],
    ids=repr,
)
def test_bytes_of_each_type(value, tag, raw):
    encoded = context.encode(HEADER, {"k": value})
    assert encoded == body(field(b"k", tag, raw))
    assert typed(context.parse(encoded)[1]) == typed({"k": value})


def test_null_absent_and_empty_are_three_contexts():
    forms = [{"k": None}, {}, {"k": ""}]
    assert len({context.encode(HEADER, form) for form in forms}) == 3


@pytest.mark.parametrize("key", ["", "A", "1a", "_a", "a-b", "a b", "a\n", "é", "a" * 65, "a.b"])
def test_keys_that_are_no_names_are_refused(key):
    with pytest.raises(InvalidContext, match="lower-case name"):
        context.encode(HEADER, {key: "x"})


def test_longest_key_passes():
    assert context.parse(context.encode(HEADER, {"a" * 64: "x"}))[1] == {"a" * 64: "x"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.0, "float came"),
        (float("nan"), "float came"),
        ([1], "list came"),
        ({"a": 1}, "dict came"),
        (bytearray(b"a"), "bytearray came"),
        (object(), "object came"),
        ("\ud800", "lone surrogate"),
        ("a\udfffb", "lone surrogate"),
        (2**63, "64 signed bits"),
        (-(2**63) - 1, "64 signed bits"),
        ("a" * 4097, "at most 4096 bytes; 4097"),
        ("é" * 2049, "at most 4096 bytes; 4098"),
        (b"a" * 4097, "at most 4096 bytes; 4097"),
    ],
    ids=lambda item: repr(item)[:20],
)
def test_values_that_have_no_form_are_refused(value, message):
    with pytest.raises(InvalidContext, match=message):
        context.encode(HEADER, {"k": value})


def test_refusals_do_not_repeat_the_value():
    with pytest.raises(InvalidContext) as caught:
        context.encode(HEADER, {"k": "alice@example.com" * 1000})
    assert "alice" not in str(caught.value)


def test_limits_of_count_and_size():
    names = [f"k{number}" for number in range(33)]
    assert len(context.parse(context.encode(HEADER, dict.fromkeys(names[:32], "x")))[1]) == 32
    with pytest.raises(InvalidContext, match="at most 32 fields; 33"):
        context.encode(HEADER, dict.fromkeys(names, "x"))
    with pytest.raises(InvalidContext, match="at most 16384 bytes"):
        context.encode(HEADER, dict.fromkeys(names[:4], "x" * 4096))


@pytest.mark.parametrize("size", [0, 15, 17])
def test_header_has_sixteen_bytes(size):
    with pytest.raises(InvalidContext, match="16 bytes"):
        context.encode(bytes(size), {})


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "begins with its version"),
        (GOLDEN[:27], "begins with its version"),
        (b"guard/ctx/2\0" + GOLDEN[12:], "begins with its version"),
        (GOLDEN[:30], "cut short"),
        (GOLDEN[:-1], "cut short"),
        (GOLDEN + b"\0", "1 more bytes"),
        (body(count=33), "at most 32 fields"),
        (body(count=2**32 - 1), "at most 32 fields"),
        (body(field(b"K", 1, b"")), "lower-case name"),
        (body(field(b"", 1, b"")), "lower-case name"),
        (body(field(b"k\xff", 1, b"")), "lower-case name"),
        (body(field(b"k", 6, b"")), "tag from 0 to 5; 6"),
        (body(field(b"k", 255, b"")), "tag from 0 to 5"),
        (body(field(b"k", 0, b"x")), "null in a context is empty"),
        (body(field(b"k", 1, b"\xff")), "UTF-8"),
        (body(field(b"k", 1, b"\xed\xa0\x80")), "UTF-8"),  # a surrogate, encoded
        (body(field(b"k", 1, b"\xc0\x80")), "UTF-8"),  # NUL, overlong
        (body(field(b"k", 2, bytes(4097))), "at most 4096"),
        (body(field(b"k", 3, bytes(7))), "8 bytes; 7"),
        (body(field(b"k", 3, bytes(9))), "8 bytes; 9"),
        (body(field(b"k", 4, b"\x02")), "00 or 01"),
        (body(field(b"k", 4, b"")), "00 or 01"),
        (body(field(b"k", 5, bytes(15))), "16 bytes; 15"),
        (body(field(b"b", 0, b""), field(b"a", 0, b""), count=2), "sorted"),
        (body(field(b"a", 0, b""), field(b"a", 0, b""), count=2), "sorted"),
        (body(field(b"a", 0, b""), field(b"b", 0, b""), count=1), "more bytes"),
        (body(struct.pack(">I", 2**32 - 1) + b"k"), "cut short"),
        (bytes(16385), "at most 16384"),
    ],
)
def test_parser_refuses(raw, message):
    with pytest.raises(InvalidContext, match=message):
        context.parse(raw)


@given(fields, st.binary(min_size=16, max_size=16))
@settings(max_examples=150)
def test_parser_is_the_inverse(mapping, header):
    parsed_header, parsed = context.parse(context.encode(header, mapping))
    assert parsed_header == header
    assert typed(parsed) == typed(mapping)


@given(close_fields, close_fields)
@settings(max_examples=400)
def test_equal_bytes_mean_equal_contexts(one, other):
    assert (context.encode(HEADER, one) == context.encode(HEADER, other)) == (typed(one) == typed(other))


@given(st.dictionaries(close_keys, close_values, min_size=1, max_size=3), st.data())
@settings(max_examples=150)
def test_one_changed_value_changes_the_bytes(mapping, data):
    key = data.draw(st.sampled_from(sorted(mapping)))
    changed = mapping | {key: data.draw(close_values)}
    same = typed(changed) == typed(mapping)
    assert (context.encode(HEADER, changed) == context.encode(HEADER, mapping)) == same


@given(fields, st.data())
@settings(max_examples=400)
def test_every_other_byte_string_is_refused(mapping, data):
    raw = bytearray(context.encode(HEADER, mapping))
    at = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["flip", "insert", "delete", "cut"])):
        case "flip":
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        case "insert":
            raw.insert(at, data.draw(st.integers(0, 255)))
        case "delete":
            del raw[at]
        case "cut":
            del raw[at:]
    try:
        header, parsed = context.parse(bytes(raw))
    except InvalidContext:
        return
    assert context.encode(header, parsed) == bytes(raw)


@given(st.binary(max_size=80))
@settings(max_examples=150)
def test_random_bytes_behind_a_right_beginning(tail):
    raw = context.PREFIX + HEADER + tail
    try:
        header, parsed = context.parse(raw)
    except InvalidContext:
        return
    assert context.encode(header, parsed) == raw


present = values.filter(lambda value: value is not None and value != "")  # 0 and False are values here


@given(fields, st.dictionaries(keys, present, max_size=3))
@settings(max_examples=200)
def test_template_gives_the_bytes_of_the_whole(shared, varying):
    shared = {key: value for key, value in shared.items() if key not in varying}
    names = tuple(sorted(varying))
    filled = Template(HEADER, shared, names).fill(tuple(varying[name] for name in names))
    assert filled == context.encode(HEADER, shared | varying)


def test_template_can_be_filled_again_and_again():
    template = Template(HEADER, {"tenant": "acme", "table": "users", "column": "email"}, ("subject",))
    assert template.fill(("u-18",)) != GOLDEN
    assert template.fill(("u-17",)) == GOLDEN


@pytest.mark.parametrize("varying", [("row", "row"), ("subject", "row"), ("tenant",)])
def test_template_names_each_key_once_and_in_order(varying):
    with pytest.raises(InvalidContext, match="sorted order"):
        Template(HEADER, {"tenant": "acme"}, varying)


@pytest.mark.parametrize("value", [None, ""])
def test_template_refuses_rows_that_name_nothing(value):
    with pytest.raises(InvalidContext, match="neither null nor empty"):
        Template(HEADER, {}, ("row",)).fill((value,))


@pytest.mark.parametrize("value", [0, False, b"", "0"])
def test_template_takes_falsy_rows_that_name_something(value):
    assert Template(HEADER, {}, ("row",)).fill((value,)) == context.encode(HEADER, {"row": value})


@pytest.mark.parametrize("given_values", [(), ("a", "b")])
def test_template_wants_one_value_for_each(given_values):
    with pytest.raises(InternalError, match="1 varying"):
        Template(HEADER, {}, ("row",)).fill(given_values)


def test_template_keeps_the_limits():
    with pytest.raises(InvalidContext, match="at most 32 fields"):
        Template(HEADER, {f"k{number}": 1 for number in range(32)}, ("row",))
    big = Template(HEADER, {"a": "x" * 4096, "b": "x" * 4096, "c": "x" * 4096}, ("row",))
    assert len(big.fill(("x" * 3900,))) <= 16384
    with pytest.raises(InvalidContext, match="at most 16384"):
        big.fill(("x" * 4096,))
    with pytest.raises(InvalidContext, match="at most 4096"):
        big.fill(("x" * 4097,))


@pytest.mark.parametrize("row", ["a", "a" * 256])
def test_template_keeps_the_limit_of_the_whole_for_short_rows_too(row):
    shared = {"a": "x" * 4096, "b": "x" * 4096, "c": "x" * 4096}
    room = 16384 - len(context.encode(HEADER, shared | {"d": "", "row": row}))
    full = Template(HEADER, shared | {"d": "x" * room}, ("row",))
    assert len(full.fill((row,))) == 16384
    with pytest.raises(InvalidContext, match="at most 16384"):
        full.fill((row + "a",))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", ""),
        ("text", "text"),
        (7, 7),
        (True, True),
        ({"b64": ""}, b""),
        ({"b64": "AP8="}, b"\x00\xff"),
        ({"b64": "+/8="}, b"\xfb\xff"),
        ({"uuid": str(SOME_UUID)}, SOME_UUID),
    ],
    ids=repr,
)
def test_json_values(value, expected):
    got = context.from_json(value)
    assert (type(got), got) == (type(expected), expected)


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        [],
        {},
        {"b64": "AA==", "uuid": str(SOME_UUID)},
        {"b64": "AP8"},  # no padding
        {"b64": "AP9="},  # stray trailing bits
        {"b64": "AP8=\n"},
        {"b64": "A P8="},
        {"b64": "-_8="},  # the other alphabet
        {"b64": "é"},
        {"b64": 1},
        {"b64": None},
        {"uuid": str(SOME_UUID).upper()},
        {"uuid": SOME_UUID.hex},
        {"uuid": "{" + str(SOME_UUID) + "}"},
        {"uuid": SOME_UUID.urn},
        {"uuid": "x"},
        {"uuid": 5},
        {"hex": "00"},
        {1: "x"},
    ],
    ids=repr,
)
def test_json_values_that_are_refused(value):
    with pytest.raises(InvalidContext):
        context.from_json(value)


def test_json_fields():
    assert context.fields_from_json({"tenant": "acme", "row": {"b64": "AA=="}}) == {"tenant": "acme", "row": b"\0"}


@pytest.mark.parametrize("value", [None, [], "x", {"A": 1}, {"a": 1.5}, {f"k{number}": 1 for number in range(33)}])
def test_json_fields_that_are_refused(value):
    with pytest.raises(InvalidContext):
        context.fields_from_json(value)


def test_json_text():
    assert context.parse_json('{"row": 1, "column": "é"}') == {"row": 1, "column": "é"}
    assert context.parse_json(b'{"row": {"uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}}') == {"row": SOME_UUID}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ('{"row": 1, "row": 2}', "once"),
        ('{"row": {"b64": "AA==", "b64": "AQ=="}}', "once"),
        ('{"row": 1,}', "well-formed"),
        ("", "well-formed"),
        (b"\xff", "well-formed"),
        ("[" * 20_000, "well-formed"),
        ("null", "is an object"),
        ('{"row": 1e3}', "float came"),
        ('{"row": NaN}', "float came"),
        (" " * 70_000, "at most 65536"),
    ],
    ids=lambda item: repr(item)[:30],
)
def test_json_text_that_is_refused(raw, message):
    with pytest.raises(InvalidContext, match=message):
        context.parse_json(raw)


CELL = {"tenant": "acme", "table": "users", "column": "email"}


@pytest.mark.parametrize(
    ("mapping", "options"),
    [
        (CELL | {"row": "1"}, {}),
        (CELL | {"row": 0}, {}),
        (CELL | {"subject": SOME_UUID}, {}),
        (CELL | {"row": None, "subject": "u"}, {}),
        (CELL, {"portable": True}),
        (CELL, {"deterministic": True}),
        (CELL | {"subject": "u"}, {"deterministic": True}),
    ],
)
def test_cells_that_are_named(mapping, options):
    context.check_cell(mapping, **options)


@pytest.mark.parametrize(
    ("mapping", "options", "message"),
    [
        (CELL, {}, "'row' or its 'subject'"),
        (CELL | {"row": None}, {}, "'row' or its 'subject'"),
        (CELL | {"row": ""}, {}, "'row' or its 'subject'"),
        (CELL | {"row": "", "subject": None}, {}, "'row' or its 'subject'"),
        (CELL | {"row": "1"}, {"deterministic": True}, "no 'row'"),
        ({"table": "t", "column": "c", "row": 1}, {}, "'tenant'"),
        (CELL | {"tenant": ""}, {"portable": True}, "'tenant'"),
        (CELL | {"table": 5}, {"portable": True}, "'table'"),
        (CELL | {"column": None}, {"portable": True}, "'column'"),
    ],
)
def test_cells_that_are_not(mapping, options, message):
    with pytest.raises(InvalidContext, match=message):
        context.check_cell(mapping, **options)
