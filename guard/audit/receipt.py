"""Receipts: a node's signed promise, given with the answer, that a record will be in the log by a stated time.

Law: any checkpoint whose witness or time-stamp is later than `promise_by` covers the record, or the log has broken its
promise and the receipt proves it. It covers the body, since the per-tenant number may not exist yet; the hash of a
body may be public because every body carries a salt. Each node has a receipt key of its own, apart from the log's.
No I/O.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from guard.audit.canonical import b64u
from guard.audit.note import Kind, VerifierKey
from guard.errors import InvalidInput, VerificationFailed

FORMAT = 0x01
TEXT_LENGTH = 167
MAX_PROMISE_US = 2**63 - 1
DEFAULT_PROMISE_US = 60_000_000  # records are sequenced within a second; a minute forgives a restart in between

_ID, _HASH, _BY, _KEY, _END = 1, 17, 49, 57, 61  # offsets of the fields, and of the signature


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was promised: this record's body in a checkpoint by `promise_by_us` (microseconds UTC)."""

    id: str
    body_hash: bytes
    promise_by_us: int
    key_id: bytes
    signature: bytes

    def encode(self) -> str:
        """The value of the `Guard-Audit-Receipt` header: 167 characters of base64url."""
        return b64u(bytes([FORMAT]) + _promised(self) + self.key_id + self.signature)


def sign(origin: str, name: str, key: Ed25519PrivateKey, *, record_id: str, body: bytes, promise_by_us: int) -> Receipt:
    """The receipt for a body as it will be logged under `origin`; `name` is the name of the node's receipt key."""
    if not 0 <= promise_by_us <= MAX_PROMISE_US:
        raise InvalidInput(f"Expected a time of 0 to 2^63 - 1 microseconds, got {promise_by_us}.")
    public = VerifierKey(name, Kind.ED25519, key.public_key().public_bytes_raw())
    bare = Receipt(record_id, hashlib.sha256(body).digest(), promise_by_us, public.key_id, b"")
    return Receipt(bare.id, bare.body_hash, promise_by_us, bare.key_id, key.sign(_message(origin, bare)))


def parse(text: str) -> Receipt:
    """The receipt of a header value. Checks no signature.

    Raises:
        InvalidInput: not 167 characters of base64url, or another version.
    """
    try:
        data = base64.b64decode(text + "=", altchars=b"-_", validate=True) if len(text) == TEXT_LENGTH else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data or data[0] != FORMAT or b64u(data) != text:
        raise InvalidInput(f"Expected a receipt of {TEXT_LENGTH} base64url characters in version 1, got another text.")
    return Receipt(
        str(UUID(bytes=data[_ID:_HASH])),
        data[_HASH:_BY],
        int.from_bytes(data[_BY:_KEY], "big"),
        data[_KEY:_END],
        data[_END:],
    )


def verify(receipt: Receipt, origin: str, keys: Iterable[VerifierKey], body: bytes | None = None) -> VerifierKey:
    """The node key that gave this receipt for the log `origin`, and for this body if one is given.

    Whether the record is in the log is another question: prove its inclusion in a checkpoint after `promise_by_us`.

    Raises:
        VerificationFailed: no such key is known, the signature is wrong, or the body is another.
    """
    if body is not None and hashlib.sha256(body).digest() != receipt.body_hash:
        raise VerificationFailed("The receipt is for another body than the one given.", id=receipt.id)
    message = _message(origin, receipt)
    for key in keys:
        if key.kind is Kind.ED25519 and key.key_id == receipt.key_id and _holds(key, receipt, message):
            return key
    raise VerificationFailed("A receipt signed by a known node key for this log was expected.", id=receipt.id)


def _holds(key: VerifierKey, receipt: Receipt, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(receipt.signature, message)
    except InvalidSignature:
        return False
    return True


def _promised(receipt: Receipt) -> bytes:
    return UUID(receipt.id).bytes + receipt.body_hash + receipt.promise_by_us.to_bytes(8, "big")


def _message(origin: str, receipt: Receipt) -> bytes:
    return f"guard/receipt/v1\n{origin}\n".encode() + _promised(receipt)
