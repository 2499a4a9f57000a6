"""One ciphertext that is valid under two keys (Dodis, Grubbs, Ristenpart, Woodage, CRYPTO 2018), built and tried.

GCM's tag is linear in the ciphertext, so one free block makes two keys agree on it. Suite 1 commits to its key before
any chunk is opened, so the block is worth nothing there. Suite 2 does not commit: there the header names the one key.
"""

import secrets

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from guard.errors import DoesNotOpen
from guard.vault import xaes
from guard.vault.envelope import SuiteId, to_text
from guard.vault.keys import Secret
from guard.vault.sealing import open_text
from guard.vault.suites import CBL256, DOES_NOT_OPEN, XAES
from tests.vault.test_determinism import ORDER, element, multiply, power

CELL = {"tenant": "acme", "table": "users", "column": "email", "row": "17"}


def block_for_both(pairs, associated=b""):
    """16 bytes of ciphertext and a tag that open under both (key, nonce) pairs."""
    lengths = element((len(associated) * 8).to_bytes(8, "big") + (128).to_bytes(8, "big"))
    constants, squares = [], []
    for key, nonce in pairs:
        block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        ghash_key = element(block.update(bytes(16)))
        mask = element(block.update(nonce + b"\0\0\0\1"))
        total = 0
        for at in range(0, len(associated), 16):
            total = multiply(total ^ element(associated[at : at + 16].ljust(16, b"\0")), ghash_key)
        rest = multiply(multiply(total, ghash_key) ^ lengths, ghash_key)  # what the free block does not enter
        constants.append(rest ^ mask)
        squares.append(multiply(ghash_key, ghash_key))
    free = multiply(constants[0] ^ constants[1], power(squares[0] ^ squares[1], ORDER - 1))
    tag = constants[0] ^ multiply(free, squares[0])
    return free.to_bytes(16, "big") + tag.to_bytes(16, "big")


def derived(key, salt, context):
    """Key and nonce of the one chunk, and the commitment, as c2sp.org/chunked-encryption derives them."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    whole = HKDFExpand(SHA512(), 76, info).derive(key)
    return (whole[:32], whole[32:44]), whole[44:]


def refused(suite, key, context, body):
    with pytest.raises(DoesNotOpen) as caught:
        suite.open(key, context, body)
    assert caught.value.detail == DOES_NOT_OPEN


def test_the_attack_is_one_against_gcm_alone():
    pairs = [(secrets.token_bytes(32), secrets.token_bytes(12)) for _ in range(2)]
    for associated in (b"", b"sixteen bytes ab", b"associated data of some length"):
        body = block_for_both(pairs, associated)
        plaintexts = {AESGCM(key).decrypt(nonce, body, associated) for key, nonce in pairs}
        assert len(plaintexts) == 2


def test_the_default_suite_opens_it_under_one_key_at_most():
    keys, context, salt = [secrets.token_bytes(32) for _ in range(2)], b"guard/ctx/1\0", secrets.token_bytes(24)
    pairs, commitments = zip(*(derived(key, salt, context) for key in keys), strict=True)
    chunk = block_for_both(pairs)
    assert len({AESGCM(key).decrypt(nonce, chunk, None) for key, nonce in pairs}) == 2
    for mine in (0, 1):
        body = salt + commitments[mine] + chunk
        assert len(CBL256.open(keys[mine], context, body)) == 16
        refused(CBL256, keys[1 - mine], context, body)
    refused(CBL256, keys[0], context, salt + bytes(32) + chunk)


def test_the_compact_suite_would_open_it_under_both_so_the_header_names_one(make_key):
    """The context holds the header, so the two readers would need one header; key ids are never shared."""
    nonce, context = secrets.token_bytes(24), b"same context for both"
    keys = [secrets.token_bytes(32) for _ in range(2)]
    subkeys = [(subkey_of(key, nonce), nonce[12:]) for key in keys]
    body = nonce + block_for_both(subkeys, context)
    assert len({XAES.open(key, context, body) for key in keys}) == 2  # why it is no suite for imports and passwords
    ours, theirs = (make_key(SuiteId.XAES, material=Secret(key, "k")) for key in keys)
    for key in (ours, theirs):
        for header in (ours.header, theirs.header):
            with pytest.raises(DoesNotOpen) as caught:
                open_text(key, CELL, to_text(header + body))
            assert caught.value.detail == DOES_NOT_OPEN


def subkey_of(key, nonce):
    """The AES-256-GCM key of one XAES nonce, from the specification's two blocks."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    double = int.from_bytes(block.update(bytes(16)), "big") << 1
    mask = (double ^ (0x87 if double >> 128 else 0)) & (1 << 128) - 1
    halves = (bytes([0, counter]) + b"X\0" + nonce[:12] for counter in (1, 2))
    return b"".join(block.update((int.from_bytes(half, "big") ^ mask).to_bytes(16, "big")) for half in halves)


def test_the_subkey_written_out_here_is_the_suites():
    key, nonce = secrets.token_bytes(32), secrets.token_bytes(24)
    assert AESGCM(subkey_of(key, nonce)).encrypt(nonce[12:], b"x", b"") == xaes.encrypt(key, nonce, b"", b"x")
