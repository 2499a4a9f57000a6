"""HPKE: the published vectors that cryptography ships, and the private keys that guard stores."""

import hashlib
import json
import secrets
from functools import cache
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from guard.vault import hpke
from guard.vault.hpke import Kem

FOLDER = Path(cryptography_vectors.__file__).parent / "HPKE"
BASE, X25519, X_WING, HKDF_SHA256 = 0, 0x20, 0x647A, 1
AEADS = {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM, 3: AEAD.CHACHA20_POLY1305}
each_kem = pytest.mark.parametrize("kem", Kem, ids=lambda kem: kem.value)


@cache
def vectors(name):
    return json.loads((FOLDER / name).read_text())


def chosen(name, kem):
    return [one for one in vectors(name) if (one["mode"], one["kem_id"], one["kdf_id"]) == (BASE, kem, HKDF_SHA256)]


def first_message(vector):
    """The body, the associated data and the plaintext of a vector's first message."""
    message = vector["encryptions"][0]
    return tuple(bytes.fromhex(part) for part in (vector["enc"] + message["ct"], message["aad"], message["pt"]))


def opened(vector, kem, private):
    """guard passes no associated data and the vectors have some, so the library is asked one step lower."""
    body, aad, _ = first_message(vector)
    suite = Suite(kem, KDF.HKDF_SHA256, AEADS[vector["aead_id"]])
    return openssl.hpke._decrypt_with_aad(suite, body, private, bytes.fromhex(vector["info"]), aad)


def test_x25519_vectors():
    found = chosen("test-vectors.json", X25519)
    assert {one["aead_id"] for one in found} >= {1, 2, 3}
    for vector in found:
        if vector["aead_id"] in AEADS:
            private = bytes.fromhex(vector["skRm"])
            assert hpke.public_key(Kem.X25519, private).hex() == vector["pkRm"]
            assert opened(vector, KEM.X25519, hpke._private(Kem.X25519, private)) == first_message(vector)[2]


def test_hybrid_vectors():
    """An X-Wing seed expands to exactly the 96 bytes that guard keeps (ML-KEM seed, X25519 key)."""
    found = chosen("hpke-pq-test-vectors.json", X_WING)
    assert found
    for vector in found:
        private = hashlib.shake_256(bytes.fromhex(vector["skRm"])).digest(96)
        assert hpke.public_key(Kem.HYBRID, private).hex() == vector["pkRm"]
        assert opened(vector, KEM.MLKEM768_X25519, hpke._private(Kem.HYBRID, private)) == first_message(vector)[2]


@each_kem
def test_what_is_sealed_under_the_public_key_opens_under_the_private_one(kem):
    private = secrets.token_bytes(hpke.private_bytes(kem))
    public = hpke.public_key(kem, private)
    for size in (0, 1, 100, 5000):
        plaintext = secrets.token_bytes(size)
        body = hpke.seal(kem, public, b"info", plaintext)
        assert len(body) == size + hpke.overhead(kem)
        assert hpke.open_body(kem, private, b"info", body) == plaintext
        with pytest.raises(InvalidTag):
            hpke.open_body(kem, private, b"other", body)


@each_kem
def test_the_public_key_is_no_private_one(kem):
    """Both halves of a hybrid key count: with one of them another's, nothing opens."""
    private = secrets.token_bytes(hpke.private_bytes(kem))
    body = hpke.seal(kem, hpke.public_key(kem, private), b"", b"x")
    for at in (0, len(private) - 32):
        changed = bytearray(private)
        changed[at : at + 8] = secrets.token_bytes(8)
        with pytest.raises(InvalidTag):
            hpke.open_body(kem, bytes(changed), b"", body)


@pytest.mark.parametrize("enc", [bytes(32), b"\1" + bytes(31), b"\xff" * 32], ids=["zero", "one", "not reduced"])
def test_a_point_of_low_order_is_an_authentication_failure(enc):
    private = secrets.token_bytes(32)
    body = hpke.seal(Kem.X25519, hpke.public_key(Kem.X25519, private), b"", b"x")
    with pytest.raises(InvalidTag):
        hpke.open_body(Kem.X25519, private, b"", enc + body[32:])


@each_kem
@pytest.mark.parametrize("by", [-1, 1, -16])
def test_keys_of_another_size_are_refused(kem, by):
    with pytest.raises(ValueError, match="private key of"):
        hpke.open_body(kem, bytes(hpke.private_bytes(kem) + by), b"", bytes(2000))
    public = hpke.public_key(kem, secrets.token_bytes(hpke.private_bytes(kem)))
    with pytest.raises(ValueError, match="public key of"):
        hpke.seal(kem, bytes(len(public) + by), b"", b"")


@each_kem
def test_bodies_too_short_for_their_parts(kem):
    private = secrets.token_bytes(hpke.private_bytes(kem))
    for size in (0, 16, 32, hpke.overhead(kem) - 1):
        with pytest.raises(InvalidTag):
            hpke.open_body(kem, private, b"", bytes(size))
