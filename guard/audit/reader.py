"""Reads the log, wherever a part of it lies: entries, leaf hashes and tree nodes by their place.

Law: everybody who reads entries does it here, so that nobody else needs to know what is still in the database.
"""

from collections.abc import Iterator, Mapping, Sequence

from guard.audit import store
from guard.audit.tree import Node
from guard.db.engine import Tx


class Reader:
    """The log as one read transaction sees it."""

    def __init__(self, tx: Tx, open_tiles: Mapping[tuple[int, int], Sequence[bytes]]) -> None:
        self._tx = tx
        self.node: Node = store.node_reader(tx, open_tiles)

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Entries [start, end) in order, a page at a time.

        Raises:
            StoreDamaged: one is missing.
        """
        return store.entries(self._tx, start, end)

    def leaves(self, size: int) -> Iterator[bytes]:
        """The stored leaf hashes of the first *size* records, a page at a time."""
        return store.leaf_pages(self._tx, size)
