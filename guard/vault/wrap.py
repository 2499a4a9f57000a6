"""How one key is stored under another, and how a root secret is recognised before it is used.

Wrap: AES-256-SIV (RFC 5297) under the parent, over one associated-data string
`"guard/wrap/1" NUL | lp(tenant) | lp(purpose) | lp(parent_id) | u32 parent_version | lp(child_id) | u32 child_version`,
where lp(x) is a u32 big-endian length and x. A 32-byte child gives 48 bytes. SIV needs no nonce, so a restored database
cannot repeat one. Law: a wrap opens only in its own place; moved to another tenant, purpose, id or version it does not.
Key-check value: HMAC-SHA256(S, "guard/kcv/1" NUL | lp(slot_id) | u32 version), first 16 bytes. Frozen. No I/O.
"""

import hmac
import struct
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from guard.errors import Conflict, DoesNotOpen, InternalError, WrongRootKey
from guard.vault.envelope import KEY_ID_BYTES
from guard.vault.suites import DOES_NOT_OPEN

WRAPPING_KEY_BYTES: Final = 64
CHILD_KEY_BYTES: Final = frozenset({32, 64, 96})
"""Field, index and subject keys have 32 bytes; keys of AES-256-SIV 64; the hybrid private key of HPKE 96."""
KEY_CHECK_BYTES: Final = 16

_U32: Final = struct.Struct(">I")
_SIV_BYTES: Final = 16


def length_prefixed(raw: bytes) -> bytes:
    """lp(x): u32 big-endian length, then x. Without the length, ("ab", "c") and ("a", "bc") would be one string."""
    return _U32.pack(len(raw)) + raw


@dataclass(frozen=True, slots=True)
class Place:
    """Where a wrapped key belongs. `purpose` names the child's use (tenant, field, det, index, bucket, subject ...)."""

    tenant: str
    purpose: str
    parent_id: bytes
    parent_version: int
    child_id: bytes
    child_version: int

    def encode(self) -> bytes:
        """The associated data of the wrap.

        Raises:
            InternalError: a version is no u32.
        """
        try:
            return b"".join(
                (
                    b"guard/wrap/1\0",
                    length_prefixed(self.tenant.encode()),
                    length_prefixed(self.purpose.encode()),
                    length_prefixed(self.parent_id),
                    _U32.pack(self.parent_version),
                    length_prefixed(self.child_id),
                    _U32.pack(self.child_version),
                )
            )
        except struct.error:
            raise InternalError("Key versions are unsigned 32-bit numbers.") from None


def wrap(parent: bytes | bytearray, place: Place, child: bytes | bytearray) -> bytes:
    """The stored form of `child`: 16 bytes longer than it. Deterministic, so wrapping twice gives equal bytes.

    Raises:
        InternalError: the parent has not 64 bytes, or the child none of 32, 64 and 96.
    """
    if len(child) not in CHILD_KEY_BYTES:
        raise InternalError(f"A wrapped key has 32, 64 or 96 bytes; {len(child)} came.")
    return _cipher(parent).encrypt(child, [place.encode()])


def unwrap(parent: bytes | bytearray, place: Place, wrapped: bytes) -> bytearray:
    """The key in a wrap, in memory that its user can overwrite.

    Raises:
        DoesNotOpen: another parent, another place, or changed bytes; one text for all of them.
        InternalError: the parent has not 64 bytes.
    """
    cipher = _cipher(parent)
    child = bytearray(max(len(wrapped) - _SIV_BYTES, 0))
    if len(child) not in CHILD_KEY_BYTES:
        raise DoesNotOpen(DOES_NOT_OPEN)
    try:
        cipher.decrypt_into(wrapped, [place.encode()], child)
    except InvalidTag:
        raise DoesNotOpen(DOES_NOT_OPEN) from None
    return child


def _cipher(parent: bytes | bytearray) -> AESSIV:
    if len(parent) != WRAPPING_KEY_BYTES:
        raise InternalError(f"A wrapping key has {WRAPPING_KEY_BYTES} bytes; {len(parent)} came.")
    return AESSIV(parent)


def key_check_value(secret: bytes | bytearray, slot_id: str, version: int) -> bytes:
    """16 bytes that recognise a seal secret without revealing it; stored beside its slot."""
    message = b"guard/kcv/1\0" + length_prefixed(slot_id.encode()) + _U32.pack(version)
    return hmac.digest(secret, message, "sha256")[:KEY_CHECK_BYTES]


def check_secret(secret: bytes | bytearray, slot_id: str, version: int, expected: bytes) -> None:
    """Check in constant time that a slot gave the right seal secret, before any key is opened with it.

    Raises:
        WrongRootKey: it is another one; a KMS or a set of shares can yield wrong bytes without noticing.
    """
    if not hmac.compare_digest(key_check_value(secret, slot_id, version), expected):
        raise WrongRootKey(
            "The custody slot gave a secret that is not the one this data is sealed with.",
            hint="Check that the key, passphrase or shares belong to this data directory.",
            slot_id=slot_id,
            version=version,
        )


def new_key_id(randomness: bytes, taken: Container[bytes]) -> bytes:
    """The first 8 bytes of `randomness` that are no id yet, tried in steps of 8.

    `taken` holds live ids and tombstones: an id names one key for ever, or an old ciphertext would find a new key.

    Raises:
        Conflict: every candidate is taken; with honest randomness this does not happen, so the source is broken.
    """
    for at in range(0, len(randomness) - KEY_ID_BYTES + 1, KEY_ID_BYTES):
        candidate = randomness[at : at + KEY_ID_BYTES]
        if candidate not in taken:
            return candidate
    raise Conflict(
        "No unused key id is in the given randomness.", hint="Check the random number source of this machine."
    )
