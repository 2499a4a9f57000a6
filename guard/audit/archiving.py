"""One step of the archiver: which bundles come next, read from the database and held against their hashes.

Law: a bundle leaves the database when it is complete and covered by a signed checkpoint. Signed, because then it was
read back and hashed again, its files reach no further than what is published, and a database that was put back to an
earlier state finds files of another history instead of writing over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from guard.audit import archive_store, store
from guard.audit.archive_store import Span
from guard.audit.files import checked_tile, damaged_record, tiles_ending_at
from guard.audit.log import Log
from guard.audit.tiles import WIDTH
from guard.audit.tree import leaf_hash
from guard.db.engine import Tx

BUNDLES_PER_STEP = 8  # 2,048 rows leave in one transaction, which holds the writer for 5 ms
# In one beat of 250 ms: 8,192 records a second. Each step keeps the writer from those who wait for their commit, so one
# large step costs less than two.
MAX_STEPS = 1
BUSY_PER_SECOND = 2_000  # records; measured: at full load the archiver takes a sixth of what could be answered
QUIET_SECONDS = 5.0  # a pause between two bursts is no time to begin
MAX_WAITING = 1_024  # bundles, some 200 MB of database: from here on a load without an end is archived under way


@dataclass(frozen=True, slots=True)
class Step:
    """Bundles and tiles that go to files, and the span before."""

    span: Span
    end: int
    bundles: dict[int, Sequence[bytes]]
    tiles: dict[tuple[int, int], Sequence[bytes]]


class Pace:
    """When the archiver takes a step: in the quiet, or when so much waits that the database would grow too large."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seen = (0, log.size)
        self._quiet_from_us = 0

    def steps(self, now_us: int) -> int:
        """How many steps are due, of at most 2,048 records each."""
        (before_us, before), self._seen = self._seen, (now_us, self._log.size)
        if (self._log.size - before) * 1_000_000 > BUSY_PER_SECOND * (now_us - before_us):
            self._quiet_from_us = now_us + round(QUIET_SECONDS * 1_000_000)
        if now_us < self._quiet_from_us and self._log.waiting_bundles < MAX_WAITING:
            return 0
        return min(MAX_STEPS, -(-self._log.waiting_bundles // BUNDLES_PER_STEP))


def removals(log: Log) -> int:
    """How many steps of removing what was pruned are due."""
    return min(MAX_STEPS, -(-log.to_remove // (BUNDLES_PER_STEP * WIDTH)))


def read_step(tx: Tx) -> Step:
    """The next step; its `end` is where the archive ends already when there is nothing to do.

    Raises:
        StoreDamaged: a stored record is missing or does not hash to its leaf; `extra` names the index.
    """
    span = archive_store.read_span(tx)
    first = span.archived // WIDTH
    numbers = range(first, first + min(BUNDLES_PER_STEP, archive_store.complete(span)))
    bundles: dict[int, Sequence[bytes]] = {}
    tiles: dict[tuple[int, int], Sequence[bytes]] = {}
    for n in numbers:
        bundles[n] = list(store.entries(tx, n * WIDTH, (n + 1) * WIDTH))
        for level, number in tiles_ending_at((n + 1) * WIDTH):
            tiles[level, number] = checked_tile(level, number, store.read_tile(tx, level, number))
    return Step(span, numbers.stop * WIDTH, bundles, tiles)


def check(step: Step) -> None:
    """Hash the records again.

    Raises:
        StoreDamaged: one is not what its tile says; `extra` names the index.
    """
    for n, entries in step.bundles.items():
        for offset, (entry, leaf) in enumerate(zip(entries, step.tiles[0, n], strict=True)):
            if leaf_hash(entry) != leaf:
                raise damaged_record(n * WIDTH + offset, "the database")
