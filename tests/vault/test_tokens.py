"""Tokens as pure functions: their form, what they keep of a value, Luhn, how they stand, and their keyed hashes."""

import hmac
import os
import re
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import Conflict, InvalidRequest
from guard.vault import tokens
from guard.vault.formats import Format
from guard.vault.token_policy import Domain
from guard.vault.tokens import Life, Standing, draw, luhn, parted, payload, reference, same, value_index

DIGITS = "0123456789"
CARD = Format(DIGITS, 13, 2, 4)
RANDOM = Domain("checkout")
KEY = bytes(range(32))


def never(_token):
    return False


def test_a_token_is_128_random_bits_in_26_lower_case_characters():
    assert draw(RANDOM, "x", bytes, never) == "tok_" + "a" * 26
    assert draw(RANDOM, "x", lambda size: b"\xff" * size, never) == "tok_" + "7" * 25 + "4"
    drawn = {draw(RANDOM, "x", os.urandom, never) for _ in range(500)}
    assert len(drawn) == 500
    assert all(re.fullmatch(r"tok_[a-z2-7]{25}[aeimquy4]", token) for token in drawn)


@pytest.mark.parametrize(
    ("digits", "passes"),
    [
        ("79927398713", True),
        ("79927398710", False),
        ("4111111111111111", True),
        ("0", True),
        ("18", True),
        ("19", False),
    ],
)
def test_luhns_check(digits, passes):
    assert luhn(digits) is passes


@given(st.text(DIGITS, min_size=1, max_size=30))
def test_one_last_digit_in_ten_passes_luhns_check(digits):
    assert [luhn(digits + last) for last in DIGITS].count(True) == 1


@given(st.text(DIGITS, min_size=13, max_size=40), st.booleans())
@settings(max_examples=200)
def test_a_token_of_the_same_format_has_length_alphabet_and_the_kept_parts(value, fails):
    token = draw(Domain("partner", CARD, fails), value, os.urandom, never)
    assert len(token) == len(value)
    assert set(token) <= set(DIGITS)
    assert (token[:2], token[-4:]) == (value[:2], value[-4:])
    assert token != value
    assert not (fails and luhn(token))


@given(st.data())
def test_any_alphabet_of_any_order_gives_its_own_characters(data):
    alphabet = "".join(data.draw(st.permutations("ABCDEFGHJKLMNPQRSTUVWXYZ-äß€漢")))
    form = Format(alphabet, 6, 0, 1)
    value = data.draw(st.text(alphabet, min_size=6, max_size=20))
    token = same(form, value, os.urandom)
    assert len(token) == len(value)
    assert set(token) <= set(alphabet)
    assert token[-1] == value[-1]


def test_every_hidden_character_is_equally_likely():
    counts = dict.fromkeys(DIGITS, 0)
    for _ in range(400):
        for character in same(Format(DIGITS, 13), "1" * 100, os.urandom):
            counts[character] += 1
    assert all(3600 < count < 4400 for count in counts.values()), counts  # 4000 of 40,000; six deviations are 360


def test_what_would_make_some_characters_likelier_is_drawn_again():
    drawn = iter([b"\xff\xff", b"\xff\xfa", b"\x00\x07"] * 20)  # 65,535 and 65,530 lie above 6553 times ten
    assert same(Format(DIGITS, 6), "000000", lambda _size: next(drawn)) == "777777"


@pytest.mark.parametrize(
    "value", ["123456789012", "12345678901 3", "1234567890123x", "１２３４５６７８９０１２３", "1" * 257, ""]
)
def test_a_value_of_another_format_is_refused_and_not_repeated(value):
    with pytest.raises(InvalidRequest) as caught:
        draw(Domain("partner", CARD), value, os.urandom, never)
    assert "13 to 256 characters of the domain's alphabet" in caught.value.detail
    assert not value or value not in caught.value.detail


def test_a_token_that_another_value_has_is_drawn_again():
    drawn = iter([bytes(16), bytes(16), b"\x08" + bytes(15)])
    assert draw(RANDOM, "x", lambda _size: next(drawn), {"tok_" + "a" * 26}.__contains__) == "tok_b" + "a" * 25


def test_a_format_that_is_used_up_ends_in_an_error_and_not_in_a_loop():
    with pytest.raises(Conflict) as caught:
        draw(Domain("partner", CARD), "1" * 16, os.urandom, lambda _token: True)
    assert "free token of the format of the domain partner" in caught.value.detail


@pytest.mark.parametrize(
    ("life", "now_us", "standing"),
    [
        (Life(held=True, single_use=False), 0, Standing.LIVE),
        (Life(held=True, single_use=False, expires_us=10), 9, Standing.LIVE),
        (Life(held=True, single_use=False, expires_us=10), 10, Standing.EXPIRED),
        (Life(held=False, single_use=False, expires_us=10), 10, Standing.EXPIRED),
        (Life(held=True, single_use=False, used_us=5), 9, Standing.LIVE),
        (Life(held=True, single_use=True), 9, Standing.LIVE),
        (Life(held=False, single_use=True, used_us=5), 9, Standing.USED),
        (Life(held=False, single_use=False, revoked_us=5), 9, Standing.REVOKED),
        (Life(held=False, single_use=True, expires_us=7, revoked_us=5, used_us=4), 9, Standing.REVOKED),
        (Life(held=False, single_use=False), 9, Standing.FORGOTTEN),
    ],
)
def test_how_a_token_stands(life, now_us, standing):
    assert life.standing(now_us) is standing


def lp(part):
    raw = part.encode() if isinstance(part, str) else part
    return struct.pack(">I", len(raw)) + raw


def test_the_keyed_hashes_are_those_of_the_page():
    version = lp(struct.pack(">I", 3))
    message = b"guard/token/1" + version + lp("a.b") + lp("tok_x")
    assert reference(KEY, 3, "a.b", "tok_x") == hmac.digest(KEY, message, "sha256")
    message = b"guard/token-value/1" + version + lp("a.b") + lp("d") + lp(b"\x01" * 16) + lp("ä")
    assert value_index(KEY, 3, "a.b", "d", b"\x01" * 16, "ä") == hmac.digest(KEY, message, "sha256")


BASE = (KEY, 1, "payments.card", "checkout", b"\x01" * 16, "4111")
OTHERS = [(bytes(32),), (2,), ("payments.car",), ("checkoutx",), (b"\x02" * 16,), ("41111",)]


@pytest.mark.parametrize("place", range(len(BASE)))
def test_whatever_differs_makes_another_index(place):
    changed = [*BASE[:place], *OTHERS[place], *BASE[place + 1 :]]
    assert value_index(*changed) != value_index(*BASE)


def test_parts_cannot_be_shifted_into_each_other():
    assert value_index(KEY, 1, "a.b", "cd", b"r" * 16, "v") != value_index(KEY, 1, "a.bc", "d", b"r" * 16, "v")


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_payload_gives_back_token_and_value(token, value):
    assert parted(payload(token, value)) == (token, value)


def test_the_prefix_is_that_of_no_other_token():
    assert tokens.PREFIX == "tok_"
    assert tokens.RANDOM_BYTES * 8 == 128
