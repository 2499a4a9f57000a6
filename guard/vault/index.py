"""Blind indexes: keyed tokens by which an encrypted column is searched for equality.

Token: the leftmost L bits of HMAC-SHA256(K, "guard/bi/1" | lp(table) | lp(column) | lp(index) | lp(u32 version) |
lp(partition) | lp(normalised)), where lp(x) is a u32 big-endian length and x; the low bits of the last byte are zero.
Law: K never leaves the service, which is why a fast function is enough for values of low entropy. A short token is
shared by several values on purpose; whoever searches decrypts the hits and drops the false ones. Frozen. No I/O.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from guard.errors import InvalidRequest
from guard.vault.budget import Budget
from guard.vault.domains import Domain
from guard.vault.keys import IndexKey
from guard.vault.normalisers import Normaliser
from guard.vault.wrap import length_prefixed

MAX_BITS: Final = 256
MAX_SEARCH_BITS: Final = 32
"""Longer tokens for search would need over 2^33 rows to keep two coincidences for each (see the planner)."""
MIN_UNIQUE_BITS: Final = 128
"""A uniqueness check must not take two values for one: at 128 bits a false clash needs about 2^64 rows."""
KINDS: Final = ("exact", "prefix", "suffix", "compound", "range")


@dataclass(frozen=True, slots=True)
class Definition:
    """One blind index of one column. A change of any part but the last two needs new tokens for all rows.

    What the parts of each kind mean, `terms` says.
    """

    table: str
    column: str
    name: str
    kind: str
    normaliser: Normaliser
    bits: int
    unique: bool = False
    lengths: tuple[int, int] = (0, 0)
    """The least and the greatest length of a prefix or suffix."""

    parts: tuple[tuple[str, Normaliser], ...] = ()
    """The other columns of a compound index."""

    domain: Domain | None = None
    """The numbers of a range index."""

    partitions: int = 1
    """Into so many groups rows fall by their id; a query asks for a token of each, and a common value has as many."""

    entropy: int | None = field(default=None, compare=False)
    """Bits of entropy of what it covers, where the policy gives them; for the planner only."""

    budget: Budget = field(default=Budget(), compare=False)
    """How often one principal may look up in it; no part of the tokens."""

    @property
    def key_name(self) -> str:
        """Under which name the keyring holds this index's keys."""
        return f"{self.table}.{self.column}.{self.name}"

    def token(self, key: bytes | bytearray, version: int, value: str, partition: str = "") -> bytes:
        """The token of a value under one key version.

        Raises:
            InvalidRequest: the normaliser has no form for this value.
        """
        return self.cut(key, version, encode_text(self.normaliser.apply(value)), partition)

    def cut(self, key: bytes | bytearray, version: int, term: bytes, partition: str = "") -> bytes:
        """The token of a term, as `terms` makes them."""
        return truncate(digest(key, self.table, self.column, self.name, version, partition, term), self.bits)

    def partition(self, row: str) -> str:
        """The partition that a row belongs to; "" where there is only one."""
        if self.partitions == 1:
            return ""
        drawn = hashlib.sha256(b"guard/partition/1" + length_prefixed(encode_text(row))).digest()
        return str(int.from_bytes(drawn[:8], "big") % self.partitions)

    def all_partitions(self) -> list[str]:
        """Every partition, for a query."""
        return [""] if self.partitions == 1 else [str(number) for number in range(self.partitions)]

    def tokens(self, keys: Iterable[IndexKey], value: str, partition: str = "") -> list[tuple[int, bytes]]:
        """(version, token) under each of `keys`, in their order: a query asks for all, a new row takes the first.

        Raises:
            InvalidRequest: the normaliser has no form for this value.
        """
        return [(one.version, self.token(one.material.expose(), one.version, value, partition)) for one in keys]


def encode_text(normalised: str) -> bytes:
    """UTF-8 bytes of a normalised value.

    Raises:
        InvalidRequest: it holds a lone surrogate.
    """
    try:
        return normalised.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("An indexed value is valid Unicode; a lone surrogate came.") from None


def digest(
    key: bytes | bytearray, table: str, column: str, index: str, version: int, partition: str, normalised: bytes
) -> bytes:
    """The whole 32 bytes that a token is cut from."""
    message = b"".join(
        (
            b"guard/bi/1",
            length_prefixed(table.encode()),
            length_prefixed(column.encode()),
            length_prefixed(index.encode()),
            length_prefixed(version.to_bytes(4, "big")),
            length_prefixed(partition.encode()),
            length_prefixed(normalised),
        )
    )
    return hmac.digest(key, message, "sha256")


def truncate(whole: bytes, bits: int) -> bytes:
    """The leftmost `bits` (1 to 256) in as few bytes as hold them, the rest of the last byte zero."""
    return (to_integer(whole, bits) << -bits % 8).to_bytes((bits + 7) // 8, "big")


def to_integer(token: bytes, bits: int) -> int:
    """The leftmost `bits` of a token as a number, for columns that are integers; up to 63 bits fit a signed BIGINT."""
    return int.from_bytes(token, "big") >> (len(token) * 8 - bits)
