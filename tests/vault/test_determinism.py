"""Nothing deterministic may stand on a 96-bit nonce that is computed from the plaintext.

Two contexts for one plaintext would then repeat (key, nonce); the difference of the two GCM tags is a polynomial in the
GHASH key with one term, its root is the key, and a tag for a third context follows without any secret (A. Joux, 2006).
The attack is run here against a suite that makes the mistake, where it must succeed, and against guard, where it must not.
"""

import hmac
import secrets

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guard.errors import DoesNotOpen
from guard.vault import suites
from guard.vault.envelope import from_text, to_text
from guard.vault.sealing import open_text, seal_text
from guard.vault.suites import SUITES

ORDER = 2**128 - 1
DETERMINISTIC = [suite for suite in SUITES.values() if suite.deterministic]


def element(block):
    """A block as an element of GF(2^128) in the bit order of GCM (NIST SP 800-38D section 6.3)."""
    return int.from_bytes(block, "big")


def multiply(one, other):
    product, shifted = 0, other
    for bit in range(127, -1, -1):
        if one >> bit & 1:
            product ^= shifted
        shifted = shifted >> 1 ^ (0xE1 << 120 if shifted & 1 else 0)
    return product


def power(base, exponent):
    result = 1 << 127  # the element 1
    while exponent:
        if exponent & 1:
            result = multiply(result, base)
        base = multiply(base, base)
        exponent >>= 1
    return result


def recovered_ghash_key(one_tag, other_tag, difference, exponent):
    """H from T1 + T2 = difference * H^exponent; the root is unique for an exponent coprime to 2^128 - 1."""
    right = multiply(element(one_tag) ^ element(other_tag), power(difference, ORDER - 1))
    return power(right, pow(exponent, -1, ORDER))


def contexts_that_differ_in_one_block(size):
    """Three associated-data strings of `size` bytes that differ in the last block only, and its power of H."""
    blocks = (size + 15) // 16
    common = secrets.token_bytes((blocks - 1) * 16)
    last = [secrets.token_bytes(size - len(common)) for _ in range(3)]
    return [common + one for one in last], [element(one.ljust(16, b"\0")) for one in last]


def forge(one_tag, other_tag, differences, exponent):
    one, other, third = differences
    key = recovered_ghash_key(one_tag, other_tag, one ^ other, exponent)
    tag = element(one_tag) ^ multiply(one ^ third, power(key, exponent))
    return key, tag.to_bytes(16, "big")


class PlaintextNonceGcm:
    """The mistake: deterministic GCM whose nonce covers the plaintext and not the context."""

    def __init__(self, key):
        self.key = key

    def seal(self, context, plaintext):
        nonce = hmac.digest(self.key, plaintext, "sha256")[:12]
        return nonce + AESGCM(self.key).encrypt(nonce, plaintext, context)

    def open(self, context, body):
        return AESGCM(self.key).decrypt(body[:12], body[12:], context)


# With a ciphertext of c blocks the last block of the context meets H^(c + 2).
SIZES = [pytest.param(0, 2, id="empty"), pytest.param(32, 4, id="two blocks"), pytest.param(65, 7, id="five blocks")]


@pytest.mark.parametrize(("size", "exponent"), SIZES)
def test_attack_breaks_a_nonce_from_the_plaintext(size, exponent):
    broken = PlaintextNonceGcm(secrets.token_bytes(32))
    plaintext = secrets.token_bytes(size)
    (first, second, third), differences = contexts_that_differ_in_one_block(40)
    one, other = broken.seal(first, plaintext), broken.seal(second, plaintext)
    key, tag = forge(one[-16:], other[-16:], differences, exponent)
    encryptor = Cipher(algorithms.AES(broken.key), modes.ECB()).encryptor()
    assert key == element(encryptor.update(bytes(16)))
    assert broken.open(third, one[:-16] + tag) == plaintext


@pytest.mark.parametrize("suite", DETERMINISTIC, ids=lambda suite: suite.name)
@pytest.mark.parametrize(("size", "exponent"), SIZES)
def test_attack_fails_on_every_deterministic_suite(suite, size, exponent):
    key, plaintext = secrets.token_bytes(suite.key_bytes), secrets.token_bytes(size)
    (first, second, third), differences = contexts_that_differ_in_one_block(40)
    one, other = suite.seal(key, first, plaintext), suite.seal(key, second, plaintext)
    for tag_at in (slice(0, 16), slice(-16, None)):  # wherever the tag may stand
        _, tag = forge(one[tag_at], other[tag_at], differences, exponent)
        forged = tag + one[16:] if tag_at.start == 0 else one[:-16] + tag
        with pytest.raises(DoesNotOpen):
            suite.open(key, third, forged)


@pytest.mark.parametrize("suite", DETERMINISTIC, ids=lambda suite: suite.name)
def test_attack_fails_on_sealed_fields(suite, make_key):
    key = make_key(suite.id)
    cell = {"tenant": "acme", "table": "users"}
    names = [letter * 8 for letter in "abc"]
    texts = [seal_text(key, cell | {"column": name}, b"x" * 32) for name in names]
    bodies = [from_text(text)[16:] for text in texts]
    differences = [element(name.encode().ljust(16, b"\0")) for name in names]
    for exponent in (4, 7, 8, 11, 13, 14):
        _, tag = forge(bodies[0][:16], bodies[1][:16], differences, exponent)
        with pytest.raises(DoesNotOpen):
            open_text(key, cell | {"column": names[2]}, to_text(key.header + tag + bodies[0][16:]))


@pytest.mark.parametrize("suite", DETERMINISTIC, ids=lambda suite: suite.name)
def test_a_changed_context_changes_all_of_the_output(suite):
    """A synthetic value that covers every input gives unrelated key streams; a nonce from the plaintext gives equal ones."""
    key, plaintext = secrets.token_bytes(suite.key_bytes), bytes(64)
    bodies = [suite.seal(key, bytes([number]), plaintext) for number in range(64)]
    for start in range(0, len(bodies[0]) - 7, 8):
        assert len({body[start : start + 8] for body in bodies}) == 64


def test_there_is_a_deterministic_suite_and_it_is_siv_alone():
    assert DETERMINISTIC == [suites.SIV]
