"""The header and the text form: one value, one text."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidEnvelope
from guard.vault import envelope
from guard.vault.envelope import (
    ENVELOPE_SUITES,
    Header,
    SuiteId,
    census_prefixes,
    from_text,
    header_of,
    parse_header,
    to_text,
)

KEY_ID = bytes.fromhex("0011223344556677")
HEADER = Header(SuiteId.CBL256, 1, KEY_ID, 3)
RAW_HEADER = bytes.fromhex("47010101001122334455667700000003")
GOLDEN = (
    "gd1.RwEBAQARIjNEVWZ3AAAAA4CBgoOEhYaHiImKi4yNjo-QkZKTlJWWlxl4VwVd73HxoKfNnFPOMT99snKf8Fb-t7Ir1RVtGwXagGWe-Y8oXy"
    "QybFzSe34LSXeXcoGjK0HQp6WxpQ3Vzb_4"
)

headers = st.builds(
    Header, st.sampled_from(SuiteId), st.integers(0, 3), st.binary(min_size=8, max_size=8), st.integers(0, 2**32 - 1)
)


def test_golden_header():
    assert HEADER.encode() == RAW_HEADER
    assert parse_header(RAW_HEADER) == HEADER
    assert header_of(GOLDEN) == HEADER
    assert from_text(GOLDEN)[:16] == RAW_HEADER
    assert to_text(from_text(GOLDEN)) == GOLDEN


def test_suite_numbers_are_frozen():
    assert {suite.name: suite.value for suite in SuiteId} == {
        "CBL256": 1,
        "XAES": 2,
        "SIV": 3,
        "GCM96": 4,
        "SEAL": 5,
        "FF1": 6,
        "LEASED": 7,
    }


@given(headers, st.binary(max_size=20))
@settings(max_examples=100)
def test_header_there_and_back(header, body):
    assert parse_header(header.encode() + body) == header
    assert header_of(to_text(header.encode() + body + b"\0")) == header


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (Header(SuiteId.CBL256, 0, b"1234567", 1), "8 bytes; 7"),
        (Header(SuiteId.CBL256, 0, b"", 1), "8 bytes; 0"),
        (Header(SuiteId.CBL256, 0, KEY_ID, -1), "32-bit"),
        (Header(SuiteId.CBL256, 0, KEY_ID, 2**32), "32-bit"),
        (Header(SuiteId.CBL256, 4, KEY_ID, 1), "flags 4"),
        (Header(SuiteId.CBL256, -1, KEY_ID, 1), "flags -1"),
    ],
)
def test_headers_that_cannot_be_written(header, message):
    with pytest.raises(InvalidEnvelope, match=message):
        header.encode()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "16 bytes; 0"),
        (RAW_HEADER[:15], "16 bytes; 15"),
        (b"\x48" + RAW_HEADER[1:], "47 01"),
        (b"\x47\x02" + RAW_HEADER[2:], "47 01"),
        (RAW_HEADER[:2] + b"\x00" + RAW_HEADER[3:], "suite 0"),
        (RAW_HEADER[:2] + b"\x08" + RAW_HEADER[3:], "suite 8"),
        (RAW_HEADER[:3] + b"\x04" + RAW_HEADER[4:], "flags 4"),
        (RAW_HEADER[:3] + b"\x80" + RAW_HEADER[4:], "flags 128"),
    ],
)
def test_headers_that_cannot_be_read(raw, message):
    with pytest.raises(InvalidEnvelope, match=message):
        parse_header(raw)


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=200)
def test_text_there_and_back(raw):
    text = to_text(raw)
    assert text == "gd1." + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert from_text(text) == raw


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "nothing"),
        ("gd1.", "nothing behind the prefix"),
        ("gd1", "half a prefix"),
        ("GD1." + GOLDEN[4:], "another case"),
        ("gd2." + GOLDEN[4:], "another version"),
        (GOLDEN[4:], "no prefix"),
        (" " + GOLDEN, "white space in front"),
        (GOLDEN + " ", "white space behind"),
        (GOLDEN + "\n", "a line end behind"),
        (GOLDEN[:40] + "\n" + GOLDEN[40:], "a line end inside"),
        (GOLDEN[:40] + "\t  \t" + GOLDEN[40:], "four white characters inside"),
        (GOLDEN[:40] + "\0" * 4 + GOLDEN[40:], "zero bytes inside"),
        ("gd1.QQ==", "two paddings"),
        ("gd1.QUE=", "one padding"),
        ("gd1.QQ=", "half a padding"),
        ("gd1.QUFB====", "a whole group of padding"),
        ("gd1.QUFB=", "padding where none belongs"),
        ("gd1.Q", "one character"),
        ("gd1.QUFBQ", "one character over"),
        ("gd1.QR", "stray bits in the last but one place"),
        ("gd1.QUF", "stray bits in the last place"),
        ("gd1.+/+/", "the standard alphabet"),
        ("gd1.QUF+", "a plus at the end"),
        ("gd1.QUF/", "a slash at the end"),
        ("gd1.QU!B", "a character of no alphabet"),
        ("gd1.QUé1", "a letter outside ASCII"),
        ("gd1.ＱＵＦＢ", "full-width letters"),  # the point of the case
        ("gd1.\ud800QUF", "a lone surrogate"),
        ("gd1.gd1.QUFB", "the prefix twice"),
    ],
    ids=lambda item: item if " " in str(item) or str(item).isalpha() else "-",
)
def test_texts_that_are_refused(text, what):
    with pytest.raises(InvalidEnvelope):
        from_text(text)


def test_every_character_outside_the_alphabet_is_refused_everywhere():
    alphabet = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    for code in [*range(256), 0x100, 0x2028, 0xFF21, 0x1F600]:
        if chr(code) in alphabet:
            continue
        for at in (4, 5, len(GOLDEN) // 2, len(GOLDEN) - 1):
            with pytest.raises(InvalidEnvelope):
                from_text(GOLDEN[:at] + chr(code) + GOLDEN[at + 1 :])


@given(st.text(alphabet="QURE-_+/=\n A", max_size=24))
@settings(max_examples=400)
def test_what_is_taken_is_the_one_canonical_text(tail):
    text = "gd1." + tail
    try:
        raw = from_text(text)
    except InvalidEnvelope:
        return
    assert to_text(raw) == text


def test_too_long_a_text_is_refused_before_it_is_decoded():
    with pytest.raises(InvalidEnvelope, match="at most"):
        from_text("gd1." + "A" * (4 * envelope.MAX_ENVELOPE_BYTES))
    assert len(from_text(to_text(bytes(envelope.MAX_ENVELOPE_BYTES)))) == envelope.MAX_ENVELOPE_BYTES


def test_errors_do_not_repeat_the_text():
    with pytest.raises(InvalidEnvelope) as caught:
        from_text("alice@example.com")
    assert "alice" not in str(caught.value)


def test_header_of_needs_only_its_26_characters():
    assert header_of(GOLDEN[:26]) == HEADER
    assert header_of(GOLDEN[:26] + "this is not looked at \0") == HEADER
    with pytest.raises(InvalidEnvelope):
        header_of(GOLDEN[:25])


def test_header_of_folds_all_variants_of_the_last_character():
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    first = alphabet.index(GOLDEN[25]) & 0b110000
    variants = {header_of(GOLDEN[:25] + alphabet[first + low]) for low in range(16)}
    assert variants == {HEADER}
    assert header_of(GOLDEN[:25] + alphabet[first ^ 0b010000]) != HEADER


@pytest.mark.parametrize(
    "text",
    ["", "gd1.", "gd1." + "A" * 22, "gd1.RwEBAQARIjNEVWZ3AAAAA=", "gd1.RwEBAQARIjNEVWZ3AAAA+A", "gd1.RwEBAQARIjNEVWZ3AAAA A",
     "gd1.RwEBAQARIjNEVWZ3AAAAé4", "xx1.RwEBAQARIjNEVWZ3AAAAA4"],
)  # fmt: skip
def test_header_of_refuses(text):
    with pytest.raises(InvalidEnvelope):
        header_of(text)


@given(headers.filter(lambda header: header.suite in ENVELOPE_SUITES), st.binary(min_size=1, max_size=3))
@settings(max_examples=60)
def test_census_prefixes_find_every_text_of_a_version(header, body):
    assert to_text(header.encode() + body)[:26] in census_prefixes(header.key_id, header.key_version)


def test_census_prefixes_find_nothing_else():
    found = census_prefixes(KEY_ID, 3)
    assert len(found) == len(set(found)) == len(ENVELOPE_SUITES) * 4 * 16
    assert list(found) == sorted(found)
    assert {(header_of(one).key_id, header_of(one).key_version) for one in found} == {(KEY_ID, 3)}
    assert not set(found) & set(census_prefixes(KEY_ID, 4))


def test_census_prefixes_of_one_suite():
    found = census_prefixes(KEY_ID, 3, suites=[SuiteId.SIV], flags=[0])
    assert len(found) == 16
    assert {header_of(one) for one in found} == {Header(SuiteId.SIV, 0, KEY_ID, 3)}
