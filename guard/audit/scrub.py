"""Hashes stored records, tiles and index rows again, block by block of 256, and names what changed at rest.

Law: a body is hashed and held against its tile, the tile against its parents, the index row against the body; nothing
is taken from a stored hash alone. Damage does not stop a pass: what lies behind it is looked at too.
"""

from collections.abc import Iterator

from guard.audit import scrub_store
from guard.audit.files import damaged_record
from guard.audit.indexing import placed
from guard.audit.reader import Reader
from guard.audit.tiles import WIDTH
from guard.audit.tree import leaf_hash
from guard.db.engine import Tx
from guard.errors import StoreDamaged
from guard.wire.archive import Fault

REST_US = 86_400_000_000  # between two passes, since the end of each is a record and a small log is soon through
PASS_US = 6 * REST_US  # so that every record is looked at once a week
PACE_US = 1_000_000  # a block costs about 3 ms: a third of a percent of one core


def pause_us(size: int, *, over: bool) -> int:
    """How long to wait after a block, or after the last one of a log of this size."""
    return REST_US if over else min(PACE_US, PASS_US // (size // WIDTH + 1))


def check(tx: Tx, reader: Reader, n: int) -> list[Fault]:
    """What is wrong with block *n*; empty where nothing is."""
    try:
        return list(_faults(tx, reader, n))
    except StoreDamaged as error:
        index = error.extra.get("index")
        return [Fault(index=index if isinstance(index, int) else n * WIDTH, what=error.detail)]


def _faults(tx: Tx, reader: Reader, n: int) -> Iterator[Fault]:
    span, start = reader.span, n * WIDTH
    end = min(start + WIDTH, span.size)
    leaves = reader.hashes(0, n)
    if start < span.first:
        return  # of pruned records the hashes are kept and nothing else
    rows = scrub_store.indexed(tx, start, end)
    for offset, entry in enumerate(reader.entries(start, end)):
        index = start + offset
        if offset >= len(leaves) or leaf_hash(entry) != leaves[offset]:
            yield Fault(index=index, what=damaged_record(index, "the database").detail)
        elif rows.get(index) != scrub_store.wanted(placed(index, entry)):
            yield Fault(
                index=index,
                what=f"Expected the search index to say of record {index} what the record says, but it does not; "
                "stop the service and run guard audit rebuild.",
            )
