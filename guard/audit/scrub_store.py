"""Rows that the scrubber compares and where it stands. Transaction first."""

from sqlalchemy import select, update

from guard.audit.store import Placed
from guard.db.engine import Tx
from guard.db.schema import audit_archive, audit_index

Found = tuple[str, str, int, int, str, str | None, str, str, str, bool, str, str | None, bytes]


def indexed(tx: Tx, start: int, end: int) -> dict[int, Found]:
    """The search index of records [start, end), by index."""
    here = (audit_index.c.idx >= start) & (audit_index.c.idx < end)
    return {
        row.idx: (
            *(row.id, row.tenant, row.n, row.time_us, row.phase, row.intent, row.actor, row.action, row.resource),
            *(bool(row.allowed), row.status, row.code, row.leaf),
        )
        for row in tx.execute(select(audit_index).where(here))
    }


def wanted(one: Placed) -> Found:
    """The same, as the record itself says it."""
    entry = one.entry
    return (
        *(entry.id, entry.tenant, one.n, entry.time_us, entry.phase, entry.intent, entry.actor, entry.action),
        *(entry.resource, entry.allowed, entry.status, entry.code, one.leaf),
    )


def cursor(tx: Tx, origin: str) -> tuple[int, int]:
    """The next record to check, and the faults of this pass so far."""
    row = tx.execute(select(audit_archive).where(audit_archive.c.origin == origin)).one()
    return row.scrubbed or 0, row.scrub_faults or 0


def move(tx: Tx, origin: str, scrubbed: int, faults: int) -> None:
    """Go on from *scrubbed*."""
    here = audit_archive.c.origin == origin
    tx.execute(update(audit_archive).where(here).values(scrubbed=scrubbed, scrub_faults=faults))
