"""The form of API tokens: one vector, everything that is not one, and that a token shows itself nowhere."""

import copy
import hmac
import pickle
import random
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.access import tokens
from guard.access.tokens import ALPHABET, KINDS, LENGTH, RANDOM_BYTES, Token, mac, mint, parse
from guard.errors import Unauthenticated
from tests.access.building import VECTOR

SCANNER = re.compile(r"\bgrd_(svc|pat|one)_[0-9A-Za-z]{48}\b")


def sealed(body):
    """*body* with the checksum that belongs to it, made without guard's code."""
    number, digits = zlib.crc32(body.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return body + digits.rjust(6, "0")


def test_the_vector_is_a_token():
    token = parse(VECTOR)
    assert (token.kind, token.handle, token.text) == ("svc", "0123456789AB", VECTOR)
    assert sealed(VECTOR[:-6]) == VECTOR
    assert zlib.crc32(VECTOR[:-6].encode()) == 0x45A00A29
    assert len(VECTOR) == LENGTH == 56


@pytest.mark.parametrize("at", range(LENGTH))
def test_every_change_of_one_character_is_refused(at):
    for other in {*ALPHABET, "_", "-", " ", "\n", "\0", "é"} - {VECTOR[at]}:
        with pytest.raises(Unauthenticated):
            parse(VECTOR[:at] + other + VECTOR[at + 1 :])


@pytest.mark.parametrize("at", range(8, LENGTH - 1))
def test_every_swap_of_neighbours_is_refused(at):
    swapped = VECTOR[:at] + VECTOR[at + 1] + VECTOR[at] + VECTOR[at + 2 :]
    if swapped != VECTOR:
        with pytest.raises(Unauthenticated):
            parse(swapped)


REFUSED = {
    "nothing": "",
    "prefix only": "grd_svc_",
    "another kind": sealed("grd_adm_" + VECTOR[8:-6]),
    "upper-case kind": sealed("grd_SVC_" + VECTOR[8:-6]),
    "another brand": sealed("ghp_svc_" + VECTOR[8:-6]),
    "a character less": sealed(VECTOR[:-7]),
    "a character more": sealed(VECTOR[:-6] + "a"),
    "no checksum": VECTOR[:-6],
    "a blank before": " " + VECTOR,
    "a newline after": VECTOR + "\n",
    "twice": VECTOR + VECTOR,
    "10 kB": "grd_svc_" + "a" * 10_000,
    "10 kB after a token": VECTOR + "x" * 10_000,
    "lower case": VECTOR.lower(),
    "full-width digits": VECTOR.replace("0", "\uff10"),
    "a null byte": VECTOR[:-1] + "\0",
    "a surrogate": VECTOR[:-1] + "\ud800",
    "a dash for an underscore": VECTOR.replace("_", "-"),
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_no_token_is_refused_without_being_shown(text):
    with pytest.raises(Unauthenticated) as refusal:
        parse(text)
    assert refusal.value.detail == tokens.REFUSED


@given(st.text(max_size=80))
def test_any_text_is_a_token_or_refused_and_nothing_else(text):
    with pytest.raises(Unauthenticated):
        parse(text)


@given(st.sampled_from(KINDS), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_what_is_minted_is_parsed_and_found_by_scanners(kind, drawn):
    usable = sum(byte < tokens.REJECT_FROM for byte in drawn)
    if usable < tokens.HANDLE + tokens.SECRET:
        with pytest.raises(ValueError, match="draw again"):
            mint(kind, drawn)
        return
    token = mint(kind, drawn)
    assert parse(token.text) == token
    assert sealed(token.text[:-6]) == token.text
    assert SCANNER.search(f"token={token.text}, ") is not None
    assert token.text.startswith(f"grd_{kind}_{token.handle}")


def test_characters_are_drawn_evenly():
    chance = random.Random(3)
    drawn = "".join(mint("svc", chance.randbytes(RANDOM_BYTES)).text[8:-6] for _ in range(3000))
    counts = [drawn.count(letter) for letter in ALPHABET]
    expected = len(drawn) / 62
    chi_squared = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_squared < 120  # 61 degrees of freedom: 1 in 100,000 even drawings is above


@pytest.mark.parametrize("kind", ["", "adm", "svc_", "SVC"])
def test_no_other_kind_is_minted(kind):
    with pytest.raises(ValueError, match="kind"):
        mint(kind, bytes(RANDOM_BYTES))


@pytest.mark.parametrize("drawn", [b"", bytes(41), b"\xff" * RANDOM_BYTES, bytes(41) + b"\xf8" * 23])
def test_too_little_chance_is_refused_and_not_shortened(drawn):
    with pytest.raises(ValueError, match="draw again"):
        mint("svc", drawn)


def test_what_is_stored_depends_on_every_character_and_on_the_pepper():
    stored = mac(b"p" * 32, VECTOR)
    others = [mac(b"q" * 32, VECTOR), mac(b"p" * 32, VECTOR + " ")]
    others += [mac(b"p" * 32, VECTOR[:at] + chr(ord(VECTOR[at]) ^ 1) + VECTOR[at + 1 :]) for at in range(LENGTH)]
    assert len(stored) == 32
    assert stored not in others
    assert len(set(others)) == len(others)


def test_what_is_stored_is_the_mac_of_the_whole_text():
    assert mac(b"p" * 32, VECTOR) == hmac.digest(b"p" * 32, b"guard/token/1\0" + VECTOR.encode(), "sha256")


@given(st.text(max_size=80))
def test_any_text_has_a_mac(text):
    assert len(mac(b"p" * 32, text)) == 32


def test_a_token_shows_itself_in_no_repr_and_in_no_pickle():
    token = parse(VECTOR)
    for shown in (repr(token), str(token), f"{token}", f"{[token]}", f"{ {'a': token} }"):
        assert VECTOR[20:] not in shown
        assert "0123456789AB" in shown
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(token)
    assert Token.__slots__ == ("kind", "handle", "text")
