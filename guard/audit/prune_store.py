"""Rows of pruning: what was asked for, by whom, and what of the pruned part is still there. Transaction first."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select, update

from guard.db.engine import Tx
from guard.db.schema import audit_archive, audit_checkpoints, audit_index, audit_sealed
from guard.errors import Conflict


@dataclass(frozen=True, slots=True)
class Pruning:
    """`first` is the first record that is kept; a request to prune up to `asked_to` waits for a second person."""

    first: int
    removed: int
    archived: int
    asked_to: int | None
    asked_by: str | None
    asked_us: int | None


def read(tx: Tx, origin: str) -> Pruning:
    """Where pruning of this log stands."""
    row = tx.execute(select(audit_archive).where(audit_archive.c.origin == origin)).one()
    return Pruning(
        row.min_index, row.removed or 0, row.archived_size, row.prune_to, row.prune_asked_by, row.prune_asked_us
    )


def size_before(tx: Tx, time_us: int) -> int:
    """The largest size that was signed before *time_us*: every record below it is older."""
    signed = select(func.max(audit_checkpoints.c.size)).where(audit_checkpoints.c.time_us < time_us)
    return tx.execute(signed).scalar() or 0


def ask(tx: Tx, origin: str, to: int, asked_by: str, now_us: int) -> None:
    """Note a request; it takes the place of one that nobody approved."""
    here = audit_archive.c.origin == origin
    tx.execute(update(audit_archive).where(here).values(prune_to=to, prune_asked_by=asked_by, prune_asked_us=now_us))


def raise_first(tx: Tx, origin: str, to: int) -> None:
    """Prune up to *to*, which was asked for.

    Raises:
        Conflict: the request is gone.
    """
    here = (audit_archive.c.origin == origin) & (audit_archive.c.prune_to == to) & (audit_archive.c.min_index < to)
    values = {"min_index": to, "prune_to": None, "prune_asked_by": None, "prune_asked_us": None}
    if tx.execute(update(audit_archive).where(here).values(**values)).rowcount != 1:
        raise Conflict(f"Expected a request to prune up to {to}, got none; see guard audit prune.")


def remove(tx: Tx, origin: str, start: int, end: int) -> int:
    """Remove what the search index and the sealed values say of records [start, end); how many rows of the index."""
    here = (audit_index.c.idx >= start) & (audit_index.c.idx < end)
    tx.execute(delete(audit_sealed).where(audit_sealed.c.record_id.in_(select(audit_index.c.id).where(here))))
    gone = tx.execute(delete(audit_index).where(here)).rowcount
    tx.execute(update(audit_archive).where(audit_archive.c.origin == origin).values(removed=end))
    return gone
