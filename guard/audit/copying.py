"""Which objects of the log a bucket gets: the full tiles of the next records, and what completes a checkpoint.

Law: what is locked for years was held against its hashes before; full tiles go first and a checkpoint goes last, so the
largest checkpoint for which the bucket has the partial bundle is a whole log (c2sp.org/tlog-tiles).
"""

from dataclasses import dataclass, field

from guard.audit import archive_store, copy_store
from guard.audit.archive_store import Span
from guard.audit.checkpoint import Checkpoint
from guard.audit.files import tiles_ending_at
from guard.audit.log import Log
from guard.audit.reader import Reader
from guard.audit.tiles import MAX_LEVEL, TILE_LEVELS, WIDTH, Tile, encode_bundle, tile_bytes
from guard.db.engine import Tx

BUNDLES_PER_STEP = 4  # in memory at a time; each is two objects, and two requests an object


@dataclass(frozen=True, slots=True)
class Portion:
    """Objects by their paths below the log's origin, for the records from `start` to `end`."""

    span: Span
    start: int
    end: int
    objects: dict[str, bytes] = field(default_factory=dict)


def read_portion(tx: Tx, log: Log) -> Portion:
    """The next full bundles and tiles; `end` is `start` where nothing waits.

    Raises:
        StoreDamaged: a file is not what was logged; it is not copied.
    """
    reader = log.reader(tx)
    span = reader.span
    start = copy_store.copied(tx, span.origin)
    portion = Portion(span, start, max(start, min(span.archived, start + BUNDLES_PER_STEP * WIDTH)))
    for n in range(start // WIDTH, portion.end // WIDTH):
        if n * WIDTH >= span.first:  # of what was pruned before it was copied there are hashes only
            portion.objects[Tile(None, n).path()] = encode_bundle(reader.bundle(n))
        for level, number in tiles_ending_at((n + 1) * WIDTH):
            portion.objects[Tile(level, number).path()] = tile_bytes(reader.hashes(level, number))
    return portion


def read_rest(tx: Tx, log: Log) -> tuple[Checkpoint, str, dict[str, bytes]] | None:
    """A checkpoint that the copies can be completed for, its note, and the partial tiles and bundle that do so."""
    span = archive_store.read_span(tx)
    found = copy_store.completable(tx, span.origin, copy_store.copied(tx, span.origin))
    if found is None or found[0].size < span.first:
        return None
    return *found, partials(log.reader(tx), found[0].size)


def partials(reader: Reader, size: int) -> dict[str, bytes]:
    """The partial bundle and the partial tiles of a tree of this size, by their paths."""
    found = {}
    for level in range(MAX_LEVEL + 1):
        n, width = divmod(size >> (TILE_LEVELS * level), WIDTH)
        if width:
            found[Tile(level, n, width).path()] = tile_bytes(reader.hashes(level, n)[:width])
    n, width = divmod(size, WIDTH)
    if width:
        found[Tile(None, n, width).path()] = encode_bundle(reader.entries(n * WIDTH, size))
    return found
