"""Suite 5, SEAL: HPKE base mode (RFC 9180), by which a service writes values that it cannot read back.

KEM X25519 (RFC 9180 section 7.1) or MLKEM768-X25519 (X-Wing, HPKE KEM 0x647a), KDF HKDF-SHA256, AEAD AES-256-GCM; the
context of the cell is `info`, so a sealed value opens in its own cell only. Body: enc | ciphertext | tag 16, where enc
has 32 or 1120 bytes. Law: the key's record fixes the KEM, never the ciphertext. Base mode does not prove who sealed:
that is what the gate knows. Private keys: 32 bytes, or the ML-KEM seed (64) and the X25519 key (32). The ephemeral key
is drawn inside the library, the one randomness that does not enter as an argument. No I/O.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

TAG_BYTES: Final = 16

_MLKEM_SEED_BYTES: Final = 64
_MLKEM_PUBLIC_BYTES: Final = 1184


class Kem(Enum):
    """How the key of one message is agreed, as field policies name it."""

    X25519 = "x25519"
    HYBRID = "mlkem768_x25519"


@dataclass(frozen=True, slots=True)
class _Sizes:
    private: int
    public: int
    enc: int


_SIZES: Final = {Kem.X25519: _Sizes(32, 32, 32), Kem.HYBRID: _Sizes(96, _MLKEM_PUBLIC_BYTES + 32, 1088 + 32)}
_SUITES: Final = {
    Kem.X25519: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    Kem.HYBRID: Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
}


def private_bytes(kem: Kem) -> int:
    """The size of a private key."""
    return _SIZES[kem].private


def overhead(kem: Kem) -> int:
    """By how many bytes a body is longer than its plaintext."""
    return _SIZES[kem].enc + TAG_BYTES


def public_key(kem: Kem, private: bytes | bytearray) -> bytes:
    """The public key of a private one: 32 bytes, or the 1184 of ML-KEM and the 32 of X25519.

    Raises:
        ValueError: the private key has another size.
    """
    key = _private(kem, private)
    if isinstance(key, X25519PrivateKey):
        return key.public_key().public_bytes_raw()
    raw = bytes(private)
    seed, scalar = raw[:_MLKEM_SEED_BYTES], raw[_MLKEM_SEED_BYTES:]
    lattice = MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
    return lattice + X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()


def seal(kem: Kem, public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """A body that only the private key's holder opens, and only under the same `info`.

    Raises:
        ValueError: the public key has another size or is no key.
    """
    return _SUITES[kem].encrypt(plaintext, _public(kem, public), info)


def open_body(kem: Kem, private: bytes | bytearray, info: bytes, body: bytes) -> bytes:
    """The plaintext of a body.

    Raises:
        InvalidTag: any other key, `info` or body, one too short included.
        ValueError: the private key has another size.
    """
    key = _private(kem, private)
    if len(body) < overhead(kem):
        raise InvalidTag
    return _SUITES[kem].decrypt(body, key, info)


def _private(kem: Kem, raw: bytes | bytearray) -> X25519PrivateKey | MLKEM768X25519PrivateKey:
    if len(raw) != _SIZES[kem].private:
        raise ValueError(f"A private key of {kem.value} has {_SIZES[kem].private} bytes; {len(raw)} came.")
    if kem is Kem.X25519:
        return X25519PrivateKey.from_private_bytes(raw)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED_BYTES:]),
    )


def _public(kem: Kem, raw: bytes) -> X25519PublicKey | MLKEM768X25519PublicKey:
    if len(raw) != _SIZES[kem].public:
        raise ValueError(f"A public key of {kem.value} has {_SIZES[kem].public} bytes; {len(raw)} came.")
    if kem is Kem.X25519:
        return X25519PublicKey.from_public_bytes(raw)
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
        X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
    )
