"""What it means to forget a person: the states, the days, the ledger of destroyed keys, and the text of a receipt.

Law: a ledger only grows, and each entry holds the SHA-256 of the one before it, so that a ledger that was cut, changed
or put back says so. An entry names a key by its random id and never a person. An entry is RFC 8785 JSON: its keys are
ASCII and sorted, its numbers integers below 2^53. No I/O.
"""

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

import orjson

from guard.errors import KeyStoreRolledBack

BUCKETS: Final = 4096
BUCKET_SHIFT: Final = 52
"""A bucket is the first 12 bits of a key's 64-bit id."""
DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000
NO_HASH: Final = "0" * 64
"""What the first entry holds as the hash of the one before."""
EXCLUDED: Final = (
    "plaintext that left guard before",
    "leased keys until they expire",
    "values of blind indexes: delete those rows too",
    "deterministic and format-preserving columns, which have no key of a person",
    "columns whose policy does not say keyed_by: subject",
    "the audit log, which has erasures of its own",
)
RECEIPT: Final = "guard/shred-receipt/v1"


class Stage(Enum):
    """How far a person is forgotten."""

    REVOKED = "revoked"
    RESTORED = "restored"
    DESTROYED = "destroyed"
    UNRECOVERABLE = "unrecoverable"


@dataclass(frozen=True, slots=True)
class Terms:
    """The times that the operator keeps: grace, backup cycle, and how long backups of each store are kept."""

    grace_us: int
    cycle_us: int
    main_us: int
    keys_us: int

    @classmethod
    def of(cls, grace_days: int, cycle_hours: int, main_days: int, keys_days: int) -> "Terms":
        """From the settings' units."""
        return cls(grace_days * DAY_US, cycle_hours * HOUR_US, main_days * DAY_US, keys_days * DAY_US)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One destroyed key. `prev` and `hash` are SHA-256 in hex."""

    seq: int
    prev: str
    time_us: int
    tenant: str
    dek_id: str
    bucket: int
    bucket_version: int
    request: str

    def encode(self) -> bytes:
        """The stored and hashed form."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)

    @property
    def hash(self) -> str:
        """What the next entry holds as `prev`."""
        return hashlib.sha256(self.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the ledger: how many entries, and the hash of the last."""

    seq: int = 0
    hash: str = NO_HASH


def decode(raw: bytes) -> LedgerEntry:
    """A stored entry.

    Raises:
        KeyStoreRolledBack: these are not the bytes of an entry.
    """
    try:
        entry = LedgerEntry(**json.loads(raw))
        if entry.encode() == raw:
            return entry
    except (TypeError, ValueError):  # JSON that does not parse, other keys, or other types
        pass
    raise KeyStoreRolledBack(
        "Expected entries of the shred ledger in the key store, got other bytes; restore its newest backup."
    )


def check_chain(entries: Iterable[LedgerEntry], applied: Point) -> Point:
    """The head of a whole ledger that the database has applied up to *applied*.

    Raises:
        KeyStoreRolledBack: an entry does not follow the one before it, or what was applied is not part of the ledger.
    """
    head, met = Point(), applied == Point()
    for entry in entries:
        if entry.seq != head.seq + 1 or entry.prev != head.hash:
            raise KeyStoreRolledBack(
                f"Expected entry {head.seq + 1} of the shred ledger to follow the one before it, but it does not; the "
                "key store was changed. Restore its newest backup."
            )
        head = Point(entry.seq, entry.hash)
        met = met or head == applied
    if not met:
        raise KeyStoreRolledBack(
            f"Expected a shred ledger that goes on from entry {applied.seq}, which the database has applied; the key "
            f"store's ends at {head.seq} or is another. An older key store was put back: put back the newest one.",
            applied=applied.seq,
            found=head.seq,
        )
    return head


def bucket_of(dek_id: bytes) -> int:
    """The bucket of a key."""
    number: int = struct.unpack(">Q", dek_id)[0]
    return number >> BUCKET_SHIFT


def bounds_of(bucket: int) -> tuple[bytes, bytes]:
    """The first and the last id of a bucket."""
    first = bucket << BUCKET_SHIFT
    return struct.pack(">Q", first), struct.pack(">Q", first | ((1 << BUCKET_SHIFT) - 1))


def unrecoverable_us(rotated_us: int, terms: Terms) -> int:
    """When no backup of either store can hold what opens the key, if the operator keeps to the two times."""
    return rotated_us + terms.main_us + terms.keys_us


def receipt_text(origin: str, facts: dict[str, Any]) -> str:
    """What a receipt's signature covers: a title, the log's origin, and the facts as RFC 8785 JSON."""
    return f"{RECEIPT}\n{origin}\n{orjson.dumps(facts, option=orjson.OPT_SORT_KEYS).decode()}\n"
