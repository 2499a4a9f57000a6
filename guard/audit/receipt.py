"""Receipts: a node's signed promise, given with the answer, that a record will be in the log by a stated time.

Law: any checkpoint whose witness or time-stamp is later than `promise_by` covers the record, or the log has broken its
promise and the receipt proves it. It covers the body, since the per-tenant number may not exist yet; the hash of a
body may be public because every body carries a salt. Each node has a receipt key of its own, apart from the log's.
A signature costs a third of a hot request, so records that are committed together share one: version 2 carries the
Merkle path (RFC 9162 section 2.1.3) from its promise to the root that is signed. No I/O.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from guard.audit.canonical import b64u
from guard.audit.note import Kind, VerifierKey
from guard.audit.tree import HASH_BYTES, inclusion_root, leaf_hash, node_hash
from guard.errors import InvalidInput, VerificationFailed

FORMAT, SHARED_FORMAT = 0x01, 0x02
TEXT_LENGTH = 167  # of version 1; version 2 is longer by its path
SIGNATURE_BYTES = 64
MAX_PATH = 16  # a batch has at most 2^16 promises
MAX_PROMISE_US = 2**63 - 1
DEFAULT_PROMISE_US = 60_000_000  # records are sequenced within a second; a minute forgives a restart in between

_ID, _HASH, _BY, _KEY, _END = 1, 17, 49, 57, 61  # offsets of the fields, and of the signature or the place
_PATH = 65  # offset of the hashes of version 2, after u16 index and u16 size


@dataclass(frozen=True, slots=True)
class Place:
    """Where a promise stands among those signed with it, and the hashes from it to their root, leaf side first."""

    index: int
    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was promised: this record's body in a checkpoint by `promise_by_us` (microseconds UTC)."""

    id: str
    body_hash: bytes
    promise_by_us: int
    key_id: bytes
    signature: bytes
    place: Place | None = None

    def encode(self) -> str:
        """The value of the `Guard-Audit-Receipt` header in base64url: 167 characters, or more in version 2."""
        place = self.place
        if place is None:
            return b64u(bytes([FORMAT]) + _promised(self) + self.key_id + self.signature)
        where = place.index.to_bytes(2, "big") + place.size.to_bytes(2, "big") + b"".join(place.path)
        return b64u(bytes([SHARED_FORMAT]) + _promised(self) + self.key_id + where + self.signature)


class Batch:
    """Promises of records that were committed together, under one signature; `text(index)` is the receipt of each.

    `promises` are 1 to 65,535 pairs of record id and body. A batch of one gives a receipt of version 1.
    """

    __slots__ = ("_key_id", "_levels", "_promises", "_signature", "_size")

    def __init__(
        self, origin: str, signer: "ReceiptKey", promises: Sequence[tuple[str, bytes]], promise_by_us: int
    ) -> None:
        """Raises InvalidInput for a time outside 0 to 2^63 - 1 microseconds."""
        if not 0 <= promise_by_us <= MAX_PROMISE_US:
            raise InvalidInput(f"Expected a time of 0 to 2^63 - 1 microseconds, got {promise_by_us}.")
        by = promise_by_us.to_bytes(8, "big")
        self._key_id = signer.key_id
        self._promises = [_id_bytes(one) + hashlib.sha256(body).digest() + by for one, body in promises]
        self._size = len(promises).to_bytes(2, "big")
        self._levels = _levels([leaf_hash(one) for one in self._promises]) if len(promises) > 1 else []
        message = (
            _shared(origin, len(promises), self._levels[-1][0]) if self._levels else _single(origin, self._promises[0])
        )
        self._signature = signer.key.sign(message)

    def text(self, index: int) -> str:
        """The receipt of promise *index* as it stands in the header."""
        if not self._levels:
            return b64u(b"\x01" + self._promises[index] + self._key_id + self._signature)
        parts, at = [b"\x02", self._promises[index], self._key_id, index.to_bytes(2, "big"), self._size], index
        for level in self._levels[:-1]:
            if at ^ 1 < len(level):
                parts.append(level[at ^ 1])
            at >>= 1
        return b64u(b"".join((*parts, self._signature)))


@dataclass(frozen=True, slots=True)
class ReceiptKey:
    """A node's receipt key under its name."""

    name: str
    key: Ed25519PrivateKey
    key_id: bytes

    @classmethod
    def of(cls, name: str, key: Ed25519PrivateKey) -> "ReceiptKey":
        """The signer of a key."""
        return cls(name, key, VerifierKey(name, Kind.ED25519, key.public_key().public_bytes_raw()).key_id)

    @property
    def verifier(self) -> VerifierKey:
        """What checks its receipts."""
        return VerifierKey(self.name, Kind.ED25519, self.key.public_key().public_bytes_raw())


def _levels(leaves: Sequence[bytes]) -> list[Sequence[bytes]]:
    """The levels of the tree over *leaves*, the root last; a node without a neighbour rises as it is."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        row = levels[-1]
        pairs = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        levels.append([*pairs, *row[2 * len(pairs) :]])
    return levels


def sign(origin: str, name: str, key: Ed25519PrivateKey, *, record_id: str, body: bytes, promise_by_us: int) -> Receipt:
    """The receipt for a body as it will be logged under `origin`; `name` is the name of the node's receipt key."""
    return parse(Batch(origin, ReceiptKey.of(name, key), [(record_id, body)], promise_by_us).text(0))


def parse(text: str) -> Receipt:
    """The receipt of a header value. Checks no signature.

    Raises:
        InvalidInput: not 167 characters of base64url, or another version.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    place = _place(data) if data[:1] == bytes([SHARED_FORMAT]) else None
    if b64u(data) != text or (place is None and (len(text) != TEXT_LENGTH or data[0] != FORMAT)):
        raise InvalidInput(
            f"Expected a receipt: {TEXT_LENGTH} base64url characters in version 1, or version 2 with path."
        )
    return Receipt(
        str(UUID(bytes=data[_ID:_HASH])),
        data[_HASH:_BY],
        int.from_bytes(data[_BY:_KEY], "big"),
        data[_KEY:_END],
        data[-SIGNATURE_BYTES:],
        place,
    )


def _place(data: bytes) -> Place | None:
    """Index, size and path of a receipt of version 2; None where the length is that of no path."""
    hashes = data[_PATH:-SIGNATURE_BYTES]
    if len(data) <= _PATH + SIGNATURE_BYTES or len(hashes) % HASH_BYTES or len(hashes) > MAX_PATH * HASH_BYTES:
        return None
    index, size = int.from_bytes(data[_END : _END + 2], "big"), int.from_bytes(data[_END + 2 : _PATH], "big")
    return Place(index, size, tuple(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)))


def verify(receipt: Receipt, origin: str, keys: Iterable[VerifierKey], body: bytes | None = None) -> VerifierKey:
    """The node key that gave this receipt for the log `origin`, and for this body if one is given.

    Whether the record is in the log is another question: prove its inclusion in a checkpoint after `promise_by_us`.

    Raises:
        VerificationFailed: no such key is known, the signature is wrong, or the body is another.
    """
    if body is not None and hashlib.sha256(body).digest() != receipt.body_hash:
        raise VerificationFailed("The receipt is for another body than the one given.", id=receipt.id)
    message = _signed(origin, receipt)
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


def _id_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))  # a tenth of what uuid.UUID costs


def _promised(receipt: Receipt) -> bytes:
    return _id_bytes(receipt.id) + receipt.body_hash + receipt.promise_by_us.to_bytes(8, "big")


def _signed(origin: str, receipt: Receipt) -> bytes:
    """What the signature of a receipt is over.

    Raises:
        VerificationFailed: its path has not the length that its place asks for.
    """
    promised, place = _promised(receipt), receipt.place
    if place is None:
        return _single(origin, promised)
    return _shared(origin, place.size, inclusion_root(place.index, place.size, leaf_hash(promised), place.path))


def _single(origin: str, promised: bytes) -> bytes:
    return f"guard/receipt/v1\n{origin}\n".encode() + promised


def _shared(origin: str, size: int, root: bytes) -> bytes:
    return f"guard/receipt/v2\n{origin}\n{size}\n".encode() + root
