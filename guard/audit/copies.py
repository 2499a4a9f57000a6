"""What is known of the copies of the log in a bucket: whether it answers, and what was found there. No I/O.

Law: what goes wrong is told when it begins and when it ends, and not with every try; a damaged copy is named once in a
run, and stands in the list of anchors until the process ends.
"""

from collections.abc import Iterator

from guard.audit.tiles import MAX_LEVEL, TILE_LEVELS, WIDTH, Tile

GROUP = 100  # names that share all but their last two digits: one listing
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds between tries of a bucket that does not answer
SHOWN = 3  # faults in the list of anchors; the log has all of them


class Copies:
    """The state of one process."""

    def __init__(self) -> None:
        self.failing = ""
        self.faults: dict[str, str] = {}
        self.pause_seconds = FIRST_PAUSE
        self._round: Iterator[tuple[int | None, int]] = iter(())

    def lost(self, detail: str) -> bool:
        """The bucket did not answer; whether that is new. The next try comes later than the last."""
        new = not self.failing
        self.failing = detail
        self.pause_seconds = FIRST_PAUSE if new else min(self.pause_seconds * 2, LONGEST_PAUSE)
        return new

    def reached(self) -> bool:
        """The bucket answered; whether it did not before."""
        again, self.failing = bool(self.failing), ""
        return again

    def found(self, name: str, what: str) -> bool:
        """An object is not what was put there; whether that is new."""
        new = self.faults.get(name) != what
        self.faults[name] = what
        return new

    def remark(self, waiting: int) -> str:
        """What the list of anchors says."""
        said = [f"{waiting} records in files wait"] if waiting else []
        said += [self.failing] if self.failing else []
        said += [f"{name}: {what}" for name, what in list(self.faults.items())[:SHOWN]]
        return "; ".join([*said, *(["and more"] if len(self.faults) > SHOWN else [])])

    def next_group(self, first: int, end: int) -> list[Tile]:
        """The next tiles to look at, of a log copied up to *end* and pruned below *first*; empty after a round."""
        at = next(self._round, None)
        if at is None:
            self._round = _groups(end)
            return []
        level, start = at
        kept = first // WIDTH if level is None else 0
        return [Tile(level, n) for n in range(max(start, kept), min(start + GROUP, _count(level, end)))]


def group_prefix(tile: Tile) -> str:
    """What the names of a tile's group begin with."""
    return tile.path()[:-2]


def _groups(end: int) -> Iterator[tuple[int | None, int]]:
    for level in (None, *range(MAX_LEVEL + 1)):
        for start in range(0, _count(level, end), GROUP):
            yield level, start


def _count(level: int | None, end: int) -> int:
    return end >> (TILE_LEVELS * ((level or 0) + 1))
