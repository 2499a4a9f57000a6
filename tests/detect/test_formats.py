"""The contract of a log format, for every file in the folder: whatever comes is an event or a counted rejection."""

import time
from importlib import import_module
from pkgutil import iter_modules

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import guard.detect.formats
from guard.detect.address import canonical, ip_key
from guard.detect.event import Fields, Parse
from guard.detect.formats import MAX_LINE_BYTES, Reason, Rejected
from guard.detect.path import mask_query
from guard.detect.user import user_key

FORMATS = sorted(module.name for module in iter_modules(guard.detect.formats.__path__))

# One good line of each format.
GOOD = {
    "combined": b'203.0.113.7 - alice [17/May/2015:10:05:03 +0000] "GET /a?token=x&b=1 HTTP/1.1" 200 5 "https://x.example/" "UA"',
}


def check(fields):
    """What holds of everything that a format hands on."""
    assert isinstance(fields, Fields | Rejected)
    if isinstance(fields, Rejected):
        assert isinstance(fields.reason, Reason)
        return
    assert isinstance(fields.ts, int)
    assert fields.ip == canonical(fields.ip).text
    assert fields.ip_key == ip_key(canonical(fields.ip))
    assert fields.user_key == (None if fields.user is None else user_key(fields.user))
    assert fields.status is None or 0 <= fields.status <= 999
    assert fields.bytes_out is None or fields.bytes_out >= 0
    assert fields.parse in Parse
    assert list(fields.flags) == sorted(set(fields.flags))
    assert fields.parse is Parse.STRICT or fields.flags
    assert fields.query is None or mask_query(fields.query) == fields.query
    assert (fields.target is None) == (fields.decoded is None)
    for text in (
        fields.user,
        fields.method,
        fields.target,
        fields.decoded,
        fields.path,
        fields.query,
        fields.referer,
        fields.ua,
    ):
        assert text is None or len(text) <= 4 * MAX_LINE_BYTES


@pytest.fixture(params=FORMATS)
def name(request):
    return request.param


def parser(name):
    return import_module(f"guard.detect.formats.{name}").parse


def test_every_format_has_a_good_line():
    assert set(GOOD) == set(FORMATS)


def test_a_good_line_is_strict(name):
    fields = parser(name)(GOOD[name])
    check(fields)
    assert fields.parse is Parse.STRICT
    assert fields.query == "token=***&b=1"


def test_every_beginning_of_a_good_line_is_read_or_rejected(name):
    for end in range(len(GOOD[name])):
        check(parser(name)(GOOD[name][:end]))


def test_every_line_with_one_byte_changed_is_read_or_rejected(name):
    good = GOOD[name]
    for at in range(len(good)):
        for byte in (0x00, 0x0D, 0x1B, 0x20, 0x22, 0x5B, 0x5C, 0x5D, 0x7F, 0x80, 0xFF):
            check(parser(name)(good[:at] + bytes([byte]) + good[at + 1 :]))


def test_every_line_with_one_byte_missing_or_doubled_is_read_or_rejected(name):
    good = GOOD[name]
    for at in range(len(good)):
        check(parser(name)(good[:at] + good[at + 1 :]))
        check(parser(name)(good[:at] + good[at : at + 1] + good[at:]))


@settings(max_examples=150)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_read_or_rejected(data):
    for each in FORMATS:
        check(parser(each)(data))


@settings(max_examples=150)
@given(st.data())
def test_pieces_of_good_lines_in_any_order_are_read_or_rejected(data):
    for each in FORMATS:
        pieces = GOOD[each].split(b" ")
        mixed = data.draw(st.lists(st.sampled_from([*pieces, b'"', b"\\", b"\xff", b"-", b"%2e"]), max_size=25))
        check(parser(each)(b" ".join(mixed)))


def test_reading_twice_gives_the_same(name):
    parse = parser(name)
    for line in (GOOD[name], b"", b"nonsense", GOOD[name] * 3, GOOD[name] + b"\xff"):
        assert parse(line) == parse(line)


def test_time_grows_with_the_line_and_not_faster(name):
    """Twice the line may cost about twice the time; a quadratic reading would cost four times, and soon minutes."""
    parse = parser(name)
    for filling in (b"a", b'"', b"\\", b"\\x22", b"%25", b" ", b"[", b"/../", b"&token=a"):
        longest = (GOOD[name].replace(b"/a", b"/a" + filling * MAX_LINE_BYTES))[:MAX_LINE_BYTES]
        begin = time.process_time()
        for _ in range(3):
            parse(longest)
        assert time.process_time() - begin < 2, filling


def test_longer_than_the_limit_is_kept_and_flagged(name):
    fields = parser(name)(GOOD[name].replace(b"/a", b"/" + b"a" * MAX_LINE_BYTES))
    check(fields)
    assert "truncated" in fields.flags
    assert fields.ip == "203.0.113.7"


def test_printing_what_was_read_shows_nobody(name):
    fields = parser(name)(GOOD[name])
    assert not any(word in repr(fields) for word in ("203.0.113.7", "alice", "token"))
