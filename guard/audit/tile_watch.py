"""Whether the files of the log are still those that were written: a few of them are looked at in each beat.

Law: a file of the log is never written twice, so its device, inode and size never change; entry bundles below the first
record that is kept may go, hash tiles may not. Which files there are follows from how far the archive reaches: nothing
is listed, and 8 bytes are kept a file, so that a log of any age costs a beat the same. The newest are looked at in each
beat, since what goes wrong with an archive goes wrong there first; the others take turns.
"""

import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from guard.audit.tiles import MAX_LEVEL, TILE_LEVELS, Tile

NEWEST = 16  # of each level
PER_BEAT = 448  # others: with the newest 5 ms; the files of 100 million records have had their turn in half an hour

Extent = Callable[[], tuple[int, int, int]]
"""Which incarnation it is, the first record that is kept, and the end of those in files."""


class TileWatch:
    """Watches the files of the log, each incarnation's in a folder of its own below *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: defaultdict[int | None, array[int]] = defaultdict(lambda: array("q"))
        self._round: Iterator[Tile] = iter(())
        self._number = 0

    def lost(self, extent: Extent) -> str:
        """Which file was removed, replaced or cut since, in one sentence; empty where none was."""
        number, first, end = extent()
        if number != self._number:  # those of an incarnation that ended may be moved away
            self._number, self._round = number, iter(())
            self._seen.clear()
        for level in (None, *range(MAX_LEVEL + 1)):
            count = end >> (TILE_LEVELS * ((level or 0) + 1))
            for n in range(max(count - NEWEST, _start(level, first)), count):
                if found := self._look(Tile(level, n), extent):
                    return found
        for _ in range(PER_BEAT):
            tile = next(self._round, None)
            if tile is None:
                self._round = _tiles(first, end)
                return ""
            if found := self._look(tile, extent):
                return found
        return ""

    def _look(self, tile: Tile, extent: Extent) -> str:
        path = self._folder / str(self._number) / tile.path()
        now, seen = _mark(path), self._seen[tile.level]
        if tile.n >= len(seen):
            seen.extend([0] * (tile.n + 1 - len(seen)))
        before, seen[tile.n] = seen[tile.n], now
        # What was pruned meanwhile may have gone meanwhile.
        if (now and now == before) or tile.n < _start(tile.level, extent()[1]) or (now and not before):
            return ""
        return f"{path} was {'changed' if now else 'removed'} although it is never written twice."


def _start(level: int | None, first: int) -> int:
    """The number of the first file of a level that must be there."""
    return first >> TILE_LEVELS if level is None else 0


def _tiles(first: int, end: int) -> Iterator[Tile]:
    """Every file of a log that is pruned below *first* and archived up to *end*."""
    for level in (None, *range(MAX_LEVEL + 1)):
        for n in range(_start(level, first), end >> (TILE_LEVELS * ((level or 0) + 1))):
            yield Tile(level, n)


def _mark(path: Path) -> int:
    """Device, inode and size in 63 bits; 0 for no such file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of what Path.stat costs
    except OSError:
        return 0
    return (hash((found.st_dev, found.st_ino, found.st_size)) >> 1) or 1
