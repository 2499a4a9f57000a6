"""Rows that a rebuild of the log reads and makes anew. Transaction first."""

from collections.abc import Mapping

from sqlalchemy import delete, func, insert, select

from guard.audit.store import read_numbers
from guard.audit.tree import Edge
from guard.db.engine import Tx
from guard.db.schema import (
    audit_archive,
    audit_checkpoints,
    audit_entries,
    audit_head,
    audit_index,
    audit_tenants,
    audit_tiles,
)


def tail(tx: Tx) -> tuple[int, int, int] | None:
    """First index of the entries in the database, end of them, end of those without a gap; None where there is none."""
    first, last = tx.execute(select(func.min(audit_entries.c.idx), func.max(audit_entries.c.idx))).one()
    if first is None:
        return None
    later = audit_entries.alias()
    followed = select(later.c.idx).where(later.c.idx == audit_entries.c.idx + 1).exists()
    gapless: int = tx.execute(select(func.min(audit_entries.c.idx)).where(~followed)).scalar_one()
    return first, last + 1, gapless + 1


def read_archive(tx: Tx, origin: str) -> tuple[int, int]:
    """`min_index` and `archived_size` as they are noted; zeros where they are not."""
    row = tx.execute(select(audit_archive).where(audit_archive.c.origin == origin)).first()
    return (row.min_index, row.archived_size) if row else (0, 0)


def head_size(tx: Tx) -> int:
    """The size in the head; 0 where it was lost."""
    return tx.execute(select(func.max(audit_head.c.size))).scalar() or 0


def roots(tx: Tx) -> list[tuple[int, bytes, str]]:
    """(size, root, note) of every checkpoint, rising."""
    rows = tx.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size))
    return [(row.size, row.root, row.note) for row in rows]


def clear(tx: Tx) -> dict[str, int]:
    """Remove what can be made again; the next number of each tenant as it was."""
    numbers = read_numbers(tx)
    for table in (audit_index, audit_tiles, audit_head, audit_tenants):
        tx.execute(delete(table))
    return numbers


def finish(tx: Tx, origin: str, edge: Edge, time_us: int, numbers: Mapping[str, int]) -> None:
    """The head over all records, and the next number of each tenant."""
    tx.execute(
        insert(audit_head).values(
            origin=origin, size=edge.size, edge=edge.serialise(), root=edge.root(), time_us=time_us
        )
    )
    for tenant, next_n in numbers.items():
        tx.execute(insert(audit_tenants).values(tenant=tenant, next_n=next_n))


def note_archive(tx: Tx, origin: str, first: int, archived: int) -> None:
    """Where the log begins and how far its files reach; the rest of the row stays, if there is one."""
    here = audit_archive.c.origin == origin
    values = {"min_index": first, "archived_size": archived}
    if tx.execute(audit_archive.update().where(here).values(**values)).rowcount == 0:
        tx.execute(insert(audit_archive).values(origin=origin, **values))
