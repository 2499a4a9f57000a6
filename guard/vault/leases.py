"""Leased data keys: how one is wrapped under a field's key, how a value sealed under it begins, and how long it lasts.

Suite 7, LEASED. Body after the 16-byte header: lease 16 | wrap 104 | a body of suite 1 under the leased key. The header
names the field's key (or the person's), so the census, rotation and forgetting count such a value as any other, and the
wrap travels with it, so that it opens for as long as that key does, whatever became of the lease or of its row.
Wrap: suite 1 (Cobblestone-256) under the field's key, over the leased key, in the context
`"guard/lease/1" NUL | header 16, unpadded | lease 16 | lp(tenant) | lp(table) | lp(column)`, and
`lp(subject)` where the header says that the key is a person's, or a key leased for one would seal for another.
Law: the field's key never leaves; a wrap opens for its own lease, key version, tenant and column only. Its context
begins unlike that of a value ("guard/ctx/1"), so neither passes for the other, or asking for the key in a "wrap" would
read any value. Suite 1 commits: one wrap does not open under two keys. Only columns of suite 1 are leased: in a
deterministic one equal values would differ, and a leased value is 120 bytes longer, which a compact one is not for.
Frozen. No I/O.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from guard.errors import DoesNotOpen, LeaseEnded
from guard.vault.context import Value
from guard.vault.envelope import FLAG_PADDED, FLAG_SUBJECT_KEY, HEADER_BYTES, SuiteId
from guard.vault.keys import KeyVersion
from guard.vault.suites import CBL256, DOES_NOT_OPEN
from guard.vault.wrap import length_prefixed

KEY_BYTES: Final = 32
LEASE_BYTES: Final = 16
WRAP_BYTES: Final = 24 + 32 + KEY_BYTES + 16
BLOCK_BYTES: Final = LEASE_BYTES + WRAP_BYTES
"""What stands between the header and the sealed content."""
START_BYTES: Final = HEADER_BYTES + BLOCK_BYTES
"""How a leased value begins, which is all that is needed to lease its key again."""

DEFAULT_SECONDS: Final = 300
MAX_SECONDS: Final = 3600
MAX_LIFETIME_SECONDS: Final = 86_400
"""After a day of renewals a new key is due; a file of 1 TiB, which has one key, is done by then."""
DEFAULT_USES: Final = 10_000
MAX_USES: Final = 1 << 20
"""Below the 2^25 messages of 1 TiB that suite 1 allows under one key, so no mix of values and files exceeds it."""
MAX_LIVE: Final = 1000
"""Live leases of one holder: a client keeps a few, and a loop that keeps none must not fill the table."""

_PREFIX: Final = b"guard/lease/1\0"


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as the server keeps it. *starts* has, for each field, what its values begin with; no key is kept."""

    id: str
    tenant: str
    holder: str
    purpose: str
    opens: bool
    starts: Mapping[str, bytes]
    epochs: Mapping[str, int]
    created_us: int
    expires_us: int
    max_uses: int
    used: int = 0
    revoked_us: int | None = None

    @property
    def fields(self) -> list[str]:
        """The fields that it is for, sorted."""
        return sorted(self.starts)

    def check(self, epochs: Mapping[str, int], now_us: int) -> None:
        """See that it still holds; *epochs* are those of its fields now.

        Raises:
            LeaseEnded: it was revoked, by itself or with its field, or its time is over, or its uses are.
        """
        if self.revoked_us is not None or any(epochs.get(name, 0) != was for name, was in self.epochs.items()):
            raise ended(self.id, "was revoked")
        if now_us >= self.expires_us:
            raise ended(self.id, "is at the end of its time")
        if self.used >= self.max_uses:
            raise ended(self.id, "is at the end of its uses")


def ended(lease: str, why: str) -> LeaseEnded:
    """The error of a lease that holds no more."""
    return LeaseEnded(f"The lease {lease} {why}, so its key is used no more.", hint="Take a new lease.", lease=lease)


def leased_header(key: KeyVersion) -> bytes:
    """The header of an unpadded value that is sealed under a key leased from *key*."""
    return _as_leased(key.header)


def context(header: bytes, lease: bytes, cell: Mapping[str, Value]) -> bytes:
    """What a wrap is bound to; *cell* gives tenant, table and column, and whom a key of a person is of."""
    bound = ("tenant", "table", "column", "subject")[: 4 if header[3] & FLAG_SUBJECT_KEY else 3]
    names = [str(cell.get(name, "")).encode() for name in bound]
    return _PREFIX + bare(header) + lease + b"".join(map(length_prefixed, names))


def start(key: KeyVersion, lease: bytes, cell: Mapping[str, Value], leased: bytes) -> bytes:
    """What unpadded values under *leased* begin with: header, lease and wrap."""
    header = leased_header(key)
    wrapped = CBL256.seal(key.material.expose(), context(header, lease, cell), leased)
    return header + lease + wrapped


def subkey(
    unwrap: Callable[[bytes, bytes], bytes], own: bytes, header: bytes, cell: Mapping[str, Value], body: bytes
) -> tuple[bytes, bytes]:
    """The leased key of a value and the rest of its body; *unwrap* opens under the field's key, whose header is *own*.

    Raises:
        DoesNotOpen: another key's header, lease, tenant or column, or changed bytes.
    """
    if len(body) < BLOCK_BYTES or own[2] != SuiteId.CBL256 or bare(header) != _as_leased(own):
        raise DoesNotOpen(DOES_NOT_OPEN)
    lease, wrapped = body[:LEASE_BYTES], body[LEASE_BYTES:BLOCK_BYTES]
    return unwrap(context(header, lease, cell), wrapped), body[BLOCK_BYTES:]


def bare(header: bytes) -> bytes:
    """The header of the same value unpadded."""
    return header[:3] + bytes([header[3] & ~FLAG_PADDED]) + header[4:]


def _as_leased(header: bytes) -> bytes:
    return header[:2] + bytes([SuiteId.LEASED]) + header[3:]
