"""Receipts as the services that called guard keep them: a signed promise that a record will be in the log by a time.

Law: version 1 is 125 bytes: format, id, SHA-256 of the body, u64 promise_by in microseconds, key id, signature. Version
2 has u16 index, u16 size and the Merkle path (RFC 9162 section 2.1.3) before a signature over their root. A key's id is
made of its name, `<origin>/receipts`, so a receipt is of one incarnation of one log. It repeats guard/audit/receipt.py
on purpose. No I/O.
"""

import base64
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from .notes import ED25519, Head, holds
from .tree import HASH, climb, leaf_hash

PROMISE, KEY, SIGNED, SIGNATURE = slice(1, 57), slice(57, 61), 125, 64
MAX_PATH = 16
TIMED = 7  # version of UUIDs that begin with milliseconds
SUFFIX = "/receipts"


class Receipt(NamedTuple):
    """What was promised, and by which key; `hashes` are empty in version 1."""

    id: str
    body: bytes
    by_us: int
    key_id: bytes
    promise: bytes
    signature: bytes
    place: int = 0
    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @property
    def made_us(self) -> int:
        """When the id was made (RFC 9562 section 5.7); 0 if the id does not say."""
        made = UUID(self.id)
        return (made.int >> 80) * 1000 if made.version == TIMED else 0

    def message(self, origin: str) -> bytes:
        """What the signature is over, in the log of this name."""
        if not self.hashes:
            return f"guard/receipt/v1\n{origin}\n".encode() + self.promise
        root = climb(self.place, self.size, leaf_hash(self.promise), self.hashes) if self.place < self.size else b""
        return f"guard/receipt/v2\n{origin}\n{self.size}\n".encode() + root

    def given_by(self, origin: str, public: bytes) -> bool:
        """Did the log of this name give it, with this Ed25519 key?"""
        name, material = origin + SUFFIX, bytes([ED25519]) + public
        right = sha256(name.encode() + b"\n" + material).digest()[:4] == self.key_id
        return right and holds(name, material, Head(origin, 0, b""), self.message(origin), self.signature)


def parse_receipt(text: str) -> Receipt:
    """The parts of a receipt; raises ValueError for anything else. No signature is checked."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise ValueError("base64url without padding was expected")
    path = data[65:-SIGNATURE] if data[:1] == b"\x02" else b""
    hashes = tuple(path[at : at + HASH] for at in range(0, len(path), HASH))
    first = data[:1] == b"\x01" and len(data) == SIGNED
    if not first and not (0 < len(hashes) <= MAX_PATH and len(hashes[-1]) == HASH):
        raise ValueError("a receipt was expected: 167 characters in version 1, or version 2 with its path")
    where = (0, 0) if first else (int.from_bytes(data[61:63]), int.from_bytes(data[63:65]))
    promise = data[PROMISE]
    by_us = int.from_bytes(promise[48:])
    return Receipt(
        str(UUID(bytes=promise[:16])), promise[16:48], by_us, data[KEY], promise, data[-SIGNATURE:], *where, hashes
    )
