"""Reads the log, wherever a part of it lies: entries, leaf hashes and tree nodes by their place.

Law: everybody who reads entries does it here, so that nobody else needs to know what is still in the database. What
comes from a file was held against its hashes, up to hashes that the running log keeps in memory; damage is named by
its index.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from guard.audit import archive_store, store
from guard.audit.archive_store import Span
from guard.audit.files import Files, checked_bundle, checked_tile, damaged_tile
from guard.audit.tiles import MAX_LEVEL, TILE_LEVELS, WIDTH, Tile, width_of
from guard.audit.tree import root_of
from guard.db.engine import Tx
from guard.errors import RangePruned

Known = Callable[[int, int, int], Sequence[bytes] | None]
"""`known(level, n, width)`: the first hashes of an unfinished tile from memory, or None where it does not know them."""

KEPT_TILES = 64  # about 1 MB; a proof in a log of any size needs fewer


class Reader:
    """The log as one read transaction sees it."""

    def __init__(self, tx: Tx, files: Files | None = None, known: Known | None = None) -> None:
        self._tx = tx
        self._files = files
        self._known = known
        self._span: Span | None = None
        self._kept: OrderedDict[tuple[int, int], Sequence[bytes]] = OrderedDict()

    @property
    def span(self) -> Span:
        """Which records are pruned, in files and in the database."""
        if self._span is None:
            self._span = archive_store.read_span(self._tx)
        return self._span

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Entries [start, end) in order, a page at a time.

        Raises:
            StoreDamaged: one is missing or is not what was logged.
            RangePruned: the first ones were removed for good.
        """
        self._refuse_pruned(start, end)
        at = start
        while at < min(end, self.span.archived):
            n, offset = divmod(at, WIDTH)
            yield from self.bundle(n)[offset : offset + end - at]
            at = (n + 1) * WIDTH
        yield from store.entries(self._tx, at, end)

    def entry(self, index: int) -> bytes:
        """The entry at *index*; raises as `entries` does."""
        return next(self.entries(index, index + 1))

    def bundle(self, n: int) -> list[bytes]:
        """The 256 entries of an archived bundle, each held against its leaf hash."""
        data = self._files.read(Tile(None, n)) if self._files else None
        return checked_bundle(n, data, self.hashes(0, n))

    def leaves(self, size: int) -> Iterator[bytes]:
        """The stored leaf hashes of the first *size* records, a page at a time."""
        at = 0
        while at < min(size, self.span.archived):
            yield from self.hashes(0, at // WIDTH)[: size - at]
            at += WIDTH
        for start in range(at, size, store.PAGE):
            yield from store.leaves(self._tx, start, min(start + store.PAGE, size))

    def node(self, level: int, index: int) -> bytes:
        """The root of leaves [index << level, (index + 1) << level), all of which exist."""
        tile_level, height = divmod(level, TILE_LEVELS)
        n, offset = divmod(index << height, WIDTH)
        return root_of(self.hashes(tile_level, n)[offset : offset + (1 << height)])

    def hashes(self, level: int, n: int) -> Sequence[bytes]:
        """The hashes of a tile, as many as a log of this size has there."""
        key = (level, n)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._hashes(level, n)
            if len(self._kept) > KEPT_TILES:
                self._kept.popitem(last=False)
        return found

    def indexed(self, n: int) -> list[bytes]:
        """The leaf hashes of a full tile as the search index has them; empty where it was pruned."""
        return store.leaves(self._tx, n * WIDTH, (n + 1) * WIDTH)

    def _hashes(self, level: int, n: int) -> Sequence[bytes]:
        width = width_of(level, self.span.size, n)
        if width == WIDTH:
            stored = store.read_tile(self._tx, level, n)
            return self._from_file(level, n) if stored is None else checked_tile(level, n, stored)
        if level == 0:
            return store.leaves(self._tx, n * WIDTH, (n + 1) * WIDTH)
        known = self._known(level, n, width) if self._known else None
        if known is not None:
            return known
        return [root_of(self.hashes(level - 1, child)) for child in range(n * WIDTH, n * WIDTH + width)]

    def _from_file(self, level: int, n: int) -> Sequence[bytes]:
        hashes = checked_tile(level, n, self._files.read(Tile(level, n)) if self._files else None)
        expected = self._root(level, n)
        if expected is not None and root_of(hashes) != expected:
            raise damaged_tile(level, n, "other bytes")
        return hashes

    def _root(self, level: int, n: int) -> bytes | None:
        """What the tile's parent says of it; None where the parent is unfinished and not in memory."""
        above, offset = divmod(n, WIDTH)
        if level < MAX_LEVEL and width_of(level + 1, self.span.size, above) == WIDTH:
            return self.hashes(level + 1, above)[offset]
        known = self._known(level + 1, above, offset + 1) if self._known else None
        return None if known is None else known[offset]

    def _refuse_pruned(self, start: int, end: int) -> None:
        if start < min(end, self.span.first):
            raise RangePruned(
                f"Expected an index from {self.span.first} on, got {start}: older records were removed when their "
                "retention ended. Their hashes are kept, so proofs between checkpoints still work.",
                min_index=self.span.first,
            )
