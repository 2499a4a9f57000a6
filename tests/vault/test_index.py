"""Blind-index tokens: fixed bytes, what enters them, and their length."""

import dataclasses
import hashlib
import hmac
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidRequest
from guard.vault import index
from guard.vault.index import Definition
from guard.vault.keys import IndexKey, Secret
from guard.vault.normalisers import NORMALISERS

KEY = bytes(range(32))
GOLDEN = bytes.fromhex("346b54e78a8f037e993370457bd1fffd9c51d2adc02964c40479ae84c1ed917b")
EXACT = Definition("users", "email", "exact", "exact", NORMALISERS["email", 1], 18)


def lp(raw):
    return struct.pack(">I", len(raw)) + raw


def test_golden_vector():
    assert index.digest(KEY, "users", "email", "exact", 1, "", b"alice@example.com") == GOLDEN
    assert index.to_integer(GOLDEN, 18) == 53677
    assert EXACT.token(KEY, 1, "alice@example.com") == bytes.fromhex("346b40")
    assert index.to_integer(EXACT.token(KEY, 1, "alice@example.com"), 18) == 53677


def test_digest_is_the_frozen_form():
    message = b"guard/bi/1" + lp(b"t") + lp(b"c") + lp(b"i") + lp(b"\0\0\1\2") + lp(b"p9") + lp("é".encode())
    expected = hmac.new(KEY, message, hashlib.sha256).digest()
    assert index.digest(KEY, "t", "c", "i", 258, "p9", "é".encode()) == expected
    assert index.digest(bytearray(KEY), "t", "c", "i", 258, "p9", "é".encode()) == expected


@pytest.mark.parametrize(
    ("bits", "token"),
    [
        (1, "00"),
        (3, "20"),
        (7, "34"),
        (8, "34"),
        (9, "3400"),
        (16, "346b"),
        (17, "346b00"),
        (18, "346b40"),
        (24, "346b54"),
        (31, "346b54e6"),
        (32, "346b54e7"),
        (128, GOLDEN[:16].hex()),
        (255, GOLDEN[:31].hex() + "7a"),
        (256, GOLDEN.hex()),
    ],
)
def test_truncation_keeps_the_leftmost_bits(bits, token):
    assert index.truncate(GOLDEN, bits).hex() == token


@given(st.binary(min_size=32, max_size=32), st.integers(1, 256))
@settings(max_examples=200)
def test_truncation_against_a_string_of_bits(whole, bits):
    text = "".join(f"{byte:08b}" for byte in whole)[:bits]
    padded = text.ljust((bits + 7) // 8 * 8, "0")
    token = index.truncate(whole, bits)
    assert "".join(f"{byte:08b}" for byte in token) == padded
    assert index.to_integer(token, bits) == index.to_integer(whole, bits) == int(text, 2)


@pytest.mark.parametrize(
    "changed",
    [{"table": "customers"}, {"column": "phone"}, {"name": "prefix"}, {"table": "user", "column": "semail"}],
    ids=repr,
)
def test_tokens_of_two_columns_or_indexes_cannot_be_compared(changed):
    wide = dataclasses.replace(EXACT, bits=256)
    assert wide.token(KEY, 1, "a@b.c") != dataclasses.replace(wide, **changed).token(KEY, 1, "a@b.c")


def test_key_version_and_partition_enter_the_token():
    wide = dataclasses.replace(EXACT, bits=256)
    tokens = {
        wide.token(KEY, 1, "a@b.c"),
        wide.token(KEY, 2, "a@b.c"),
        wide.token(KEY, 1, "a@b.c", "0"),
        wide.token(KEY, 1, "a@b.c", "1"),
        wide.token(bytes(32), 1, "a@b.c"),
    }
    assert len(tokens) == 5


def test_equal_spellings_have_one_token():
    spellings = ["Alice@Example.com", " alice@example.com ", "ALICE@EXAMPLE.COM."]
    assert {EXACT.token(KEY, 1, one) for one in spellings} == {EXACT.token(KEY, 1, "alice@example.com")}


def test_a_value_without_a_spelling_has_no_token():
    with pytest.raises(InvalidRequest, match="e-mail"):
        EXACT.token(KEY, 1, "alice")
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        dataclasses.replace(EXACT, normaliser=NORMALISERS["trim", 1]).token(KEY, 1, "a\ud800")


def test_tokens_under_all_live_versions():
    keys = [IndexKey("acme", "users.email.exact", number, Secret(bytes([number]) * 32, "i")) for number in (3, 2)]
    assert EXACT.tokens(keys, "alice@example.com") == [
        (3, EXACT.token(b"\x03" * 32, 3, "alice@example.com")),
        (2, EXACT.token(b"\x02" * 32, 2, "alice@example.com")),
    ]
    assert EXACT.tokens([], "alice@example.com") == []
    assert EXACT.tokens(keys, "alice@example.com", "7") != EXACT.tokens(keys, "alice@example.com")


def test_the_name_of_the_key_names_the_whole_place():
    assert EXACT.key_name == "users.email.exact"


def test_short_tokens_are_shared_and_long_ones_are_not():
    trim = dataclasses.replace(EXACT, normaliser=NORMALISERS["trim", 1])
    values = [f"value {number}" for number in range(2000)]
    short = {dataclasses.replace(trim, bits=6).token(KEY, 1, value) for value in values}
    unique = {dataclasses.replace(trim, bits=128, unique=True).token(KEY, 1, value) for value in values}
    assert len(short) == 64
    assert len(unique) == 2000


@given(st.lists(st.text(alphabet="ab", max_size=3), min_size=4, max_size=4), st.integers(1, 3), st.binary(max_size=3))
@settings(max_examples=150)
def test_parts_cannot_flow_into_one_another(parts, version, normalised):
    table, column, name, partition = parts
    here = index.digest(KEY, table, column, name, version, partition, normalised)
    moved = (table + column, "", name, partition)
    there = index.digest(KEY, *moved[:3], version, partition, normalised)
    assert (here == there) == ((table, column, name, partition) == moved)
