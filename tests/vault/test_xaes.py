"""XAES-256-GCM: the published vectors, and a second writing of the construction from AES alone."""

import hashlib
import secrets

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.vault import xaes

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
PLAINTEXT = b"XAES-256-GCM"


def derived(key, nonce):
    """The key of AES-256-GCM as the specification writes it: two blocks, each masked with the CMAC subkey K1."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    double = int.from_bytes(block.update(bytes(16)), "big") << 1
    subkey = (double ^ (0x87 if double >> 128 else 0)) & (1 << 128) - 1
    halves = (bytes([0, counter]) + b"X\0" + nonce[:12] for counter in (1, 2))
    return b"".join(block.update((int.from_bytes(half, "big") ^ subkey).to_bytes(16, "big")) for half in halves)


@pytest.mark.parametrize(
    ("key", "associated", "sealed"),
    [
        (b"\1" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (b"\3" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
    ids=["subkey without carry", "subkey with carry"],
)
def test_published_vectors(key, associated, sealed):
    assert xaes.encrypt(key, NONCE, associated, PLAINTEXT).hex() == sealed
    assert xaes.decrypt(key, associated, NONCE + bytes.fromhex(sealed)) == PLAINTEXT


def test_published_accumulated_vector():
    """10,000 keys, nonces, plaintexts and associated data from SHAKE128, and one hash over all ciphertexts."""
    stream, at = hashlib.shake_128(b"").digest(10_000 * 568), 0

    def take(size):
        nonlocal at
        at += size
        return stream[at - size : at]

    total = hashlib.shake_128()
    for _ in range(10_000):
        key, nonce, plaintext = take(32), take(24), take(take(1)[0])
        associated = take(take(1)[0])
        total.update(xaes.encrypt(key, nonce, associated, plaintext))
    assert at <= len(stream)
    assert total.hexdigest(32) == "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=24, max_size=24), st.binary(max_size=80), st.binary())
@settings(max_examples=200)
def test_agrees_with_the_construction_from_single_blocks(key, nonce, associated, plaintext):
    expected = AESGCM(derived(key, nonce)).encrypt(nonce[12:], plaintext, associated)
    assert xaes.encrypt(key, nonce, associated, plaintext) == expected
    assert xaes.decrypt(key, associated, nonce + expected) == plaintext


@pytest.mark.parametrize("size", [0, 12, 23, 24, 39])
def test_bodies_too_short_for_nonce_and_tag(size):
    with pytest.raises(InvalidTag):
        xaes.decrypt(bytes(32), b"", bytes(size))


@pytest.mark.parametrize(("key", "nonce"), [(31, 24), (16, 24), (33, 24), (32, 23), (32, 12), (32, 25)])
def test_other_sizes_of_key_and_nonce_are_refused(key, nonce):
    with pytest.raises(ValueError, match=r"has (32|24) bytes"):
        xaes.encrypt(bytes(key), bytes(nonce), b"", b"")
    if key != 32:
        with pytest.raises(ValueError, match="has 32 bytes"):
            xaes.decrypt(bytes(key), b"", bytes(64))


def test_both_halves_of_the_nonce_matter():
    key = secrets.token_bytes(32)
    sealed = xaes.encrypt(key, NONCE, b"", PLAINTEXT)
    for at in range(24):
        changed = bytearray(NONCE)
        changed[at] ^= 1
        with pytest.raises(InvalidTag):
            xaes.decrypt(key, b"", bytes(changed) + sealed)
