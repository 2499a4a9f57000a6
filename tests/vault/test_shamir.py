"""Shares over GF(256): the field, every subset of holders, what is refused, and a real OpenBao that reads ours."""

import itertools
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import GuardError, InvalidInput
from guard.vault import shamir
from guard.vault.shamir import invert, join, multiply, split

SECRET = bytes(range(32))
RANDOM = secrets.token_bytes(512)


def slow(left, right):
    """The product by division of polynomials, another way than the code's."""
    product = 0
    for bit in range(8):
        if right >> bit & 1:
            product ^= left << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11B << (bit - 8)
    return product


def test_products_of_the_standard():
    assert multiply(0x57, 0x83) == 0xC1  # FIPS 197 section 4.2
    assert multiply(0x57, 0x13) == 0xFE  # section 4.2.1


def test_every_product_and_every_inverse():
    assert all(multiply(a, b) == slow(a, b) for a in range(256) for b in range(256))
    assert all(multiply(a, invert(a)) == 1 for a in range(1, 256))


def test_any_three_of_five_and_more_give_the_secret():
    made = split(SECRET, 3, 5, RANDOM)
    assert [one[-1] for one in made] == [1, 2, 3, 4, 5]
    for size in (3, 4, 5):
        for held in itertools.permutations(made, size):
            assert join(held, 32) == SECRET


def test_too_few_give_something_else_without_notice():
    made = split(SECRET, 3, 5, RANDOM)
    assert all(join(held, 32) != SECRET for held in itertools.combinations(made, 2))
    assert join([made[0][:-1]], 32) != SECRET


@given(secret=st.binary(min_size=1, max_size=64), threshold=st.integers(2, 6), more=st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_whatever_was_split_is_joined(secret, threshold, more):
    made = split(secret, threshold, threshold + more, secrets.token_bytes(len(secret) * threshold))
    assert join(made[more:], len(secret)) == secret
    assert join(made[:threshold], len(secret)) == secret


def test_one_of_one_is_the_bare_secret():
    assert split(SECRET, 1, 1, b"") == [SECRET]
    assert join([SECRET], 32) == SECRET


def test_each_share_alone_is_evenly_spread():
    """One share says nothing: over all coefficients its byte takes each value equally often."""
    values = [split(b"\x2a", 2, 2, bytes([a]))[0][0] for a in range(256)]
    assert sorted(values) == list(range(256))


@pytest.mark.parametrize(("threshold", "shares"), [(1, 2), (0, 0), (3, 2), (2, 256), (17, 20), (-1, 3)])
def test_numbers_that_are_refused(threshold, shares):
    with pytest.raises(InvalidInput):
        split(SECRET, threshold, shares, bytes(4096))


def test_too_little_randomness_is_refused():
    with pytest.raises(GuardError, match="64 bytes of randomness; 63"):
        split(SECRET, 3, 5, bytes(63))


@pytest.mark.parametrize(
    "shares",
    [
        [],
        [b""],
        [bytes(33)],
        [b"\x01" * 33] * 2,
        [b"\x01" * 33, b"\x01" * 32],
        [b"\x01" * 32, b"\x02" * 32],
        [b"\x01" * 34],
        [bytes(32) + b"\x01", bytes(32) + b"\x00"],
    ],
)
def test_shares_that_are_refused(shares):
    with pytest.raises(InvalidInput, match="Give each share once") as caught:
        raise_hint(shares)
    assert "01" * 8 not in str(caught.value)


def raise_hint(shares):
    try:
        join(shares, 32)
    except InvalidInput as error:
        raise InvalidInput(f"{error.detail} {error.hint}") from None


def test_openbao_shares_join_here_and_ours_unseal_openbao(custody_peers):
    bao = custody_peers.bao()
    theirs = [bytes.fromhex(one) for one in bao.shares]
    secret = bytes(join(theirs[:3], 32))
    assert all(join(held, 32) == secret for held in itertools.combinations(theirs, 3))
    bao.ask("PUT", "sys/seal")
    assert bao.unseal(bao.shares[1:4])
    ours = [one.hex() for one in split(secret, 3, 4, secrets.token_bytes(64))]
    bao.ask("PUT", "sys/seal")
    assert bao.ask("GET", "sys/seal-status")["sealed"]
    assert bao.unseal([ours[3], ours[0], ours[2]])
    assert shamir.MAX_THRESHOLD * 32 <= 512
