"""One record of the log with its place: what every export format and every sink is given. No I/O.

Law: the entry's bytes are the truth; whatever else is shown of a record is read from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from guard.audit.tree import leaf_hash
from guard.errors import StoreDamaged


@dataclass(frozen=True, slots=True)
class Row:
    """A record: index in the log, exact entry bytes, 32-byte leaf hash, number in its tenant, and the parsed body."""

    index: int
    entry: bytes
    leaf: bytes
    n: int
    body: Mapping[str, Any]

    @classmethod
    def of(cls, index: int, entry: bytes) -> Self:
        """The row of an entry; its leaf hash is made anew.

        Raises:
            StoreDamaged: the entry is not of the form `{"b":{...},"n":...}`.
        """
        try:
            parsed = orjson.loads(entry)
            return cls(index, entry, leaf_hash(entry), parsed["n"], parsed["b"])
        except (ValueError, KeyError, TypeError):
            raise StoreDamaged(f"Expected a record at index {index} of the log, got other bytes; restore it.") from None
