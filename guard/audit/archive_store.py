"""Rows of the log's archive: how far it reaches, and the tail that leaves the database. Transaction first."""

from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, tuple_, update

from guard.audit.tiles import WIDTH
from guard.db.engine import Tx
from guard.db.schema import audit_archive, audit_checkpoints, audit_entries, audit_head, audit_tiles
from guard.errors import StoreDamaged


@dataclass(frozen=True, slots=True)
class Span:
    """Where the records of a log lie: pruned below `first`, in files below `archived`, in the database up to `size`.

    Below `removed` nothing of the pruned ones is left but hashes.
    """

    origin: str
    first: int
    archived: int
    size: int
    signed: int
    removed: int = 0


def read_span(tx: Tx) -> Span:
    """The span as this transaction sees it; all zero in a store without a log."""
    head = tx.execute(select(audit_head.c.origin, audit_head.c.size)).first()
    if head is None:
        return Span("", 0, 0, 0, 0)
    row = tx.execute(select(audit_archive).where(audit_archive.c.origin == head.origin)).first()
    signed = tx.execute(select(func.max(audit_checkpoints.c.size))).scalar() or 0
    first, archived, removed = (row.min_index, row.archived_size, row.removed or 0) if row else (0, 0, 0)
    return Span(head.origin, first, archived, head.size, signed, removed)


def create(tx: Tx, origin: str) -> None:
    """The archive of a log that has none yet."""
    known = tx.execute(select(audit_archive.c.origin).where(audit_archive.c.origin == origin)).scalar()
    if known is None:
        tx.execute(insert(audit_archive).values(origin=origin, archived_size=0, min_index=0))


def advance(tx: Tx, span: Span, end: int, tiles: list[tuple[int, int]]) -> None:
    """Take the records [span.archived, end), which are durable in files, out of the database.

    Raises:
        StoreDamaged: the archive moved meanwhile, or some of the rows are gone already.
    """
    here = (audit_archive.c.origin == span.origin) & (audit_archive.c.archived_size == span.archived)
    moved = tx.execute(update(audit_archive).where(here).values(archived_size=end)).rowcount
    tail = (audit_entries.c.idx >= span.archived) & (audit_entries.c.idx < end)
    gone = tx.execute(delete(audit_entries).where(tail)).rowcount
    if tiles:
        place = tuple_(audit_tiles.c.level, audit_tiles.c.n)
        gone += tx.execute(delete(audit_tiles).where(place.in_(tiles))).rowcount
    if moved != 1 or gone != end - span.archived + len(tiles):
        raise StoreDamaged(
            f"Expected the records {span.archived} to {end - 1} in the database until they were in files, but some "
            "were removed by somebody else; nothing was changed. Stop the service and run guard audit rebuild."
        )


def complete(span: Span) -> int:
    """How many whole bundles may go to files: complete, and covered by a signed checkpoint."""
    return max(0, span.signed // WIDTH - span.archived // WIDTH)
