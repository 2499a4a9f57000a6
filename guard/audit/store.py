"""Rows of the log: entries, search index, full tiles, head, checkpoints, open intents. Transaction first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Select,
    Subquery,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from guard.audit.checkpoint import Checkpoint, Head
from guard.audit.tree import HASH_BYTES, Edge
from guard.db.engine import Tx
from guard.db.entry import Entry
from guard.db.schema import (
    audit_anchors,
    audit_archive,
    audit_checkpoints,
    audit_clock_requests,
    audit_cosignatures,
    audit_entries,
    audit_head,
    audit_index,
    audit_open_intents,
    audit_sinks,
    audit_tenants,
    audit_tiles,
    audit_witnesses,
)
from guard.errors import InvalidInput, StoreDamaged

PAGE = 1024  # entries read at a time: about 0.5 MB


def _written_out(statement: Update | Select[Any]) -> str:
    """The statement as text with positional parameters, made once.

    What runs in every group commit goes to the driver as it is: through SQLAlchemy's own execution it costs more
    than the fsync that the group shares.
    """
    return str(statement.compile(dialect=sqlite.dialect()))


_Columns = tuple[str, tuple[str, ...]]
_ENTRY_COLUMNS: _Columns = (audit_entries.name, tuple(audit_entries.c.keys()))
_INDEX_COLUMNS: _Columns = (audit_index.name, tuple(audit_index.c.keys()))
MAX_ROWS = 256  # in one statement: 14 columns each make 3,584 parameters, a ninth of SQLite's limit
_MOVE_HEAD = _written_out(
    update(audit_head)
    .where(audit_head.c.size == bindparam("old_size"))
    .values(size=bindparam("new"), edge=bindparam("edge"), root=bindparam("root"), time_us=bindparam("time_us"))
)
_MOVE_NUMBER = _written_out(
    update(audit_tenants).where(audit_tenants.c.tenant == bindparam("known")).values(next_n=bindparam("next_n"))
)


def _in_one_row(table: Table, column: ColumnElement[Any]) -> Subquery:
    """*column* of the rows of *table* from `start` up to `end`, as a source for an aggregate that keeps their order."""
    here = (table.c.idx >= bindparam("start")) & (table.c.idx < bindparam("end"))
    return select(column.label("part")).where(here).order_by(table.c.idx).subquery()


_ENTRY_TEXTS = _in_one_row(audit_entries, cast(audit_entries.c.entry, Text))
_JOINED = _written_out(select(cast(func.group_concat(_ENTRY_TEXTS.c.part, literal_column("char(10)")), LargeBinary)))
_LEAF_TEXTS = _in_one_row(audit_index, func.hex(audit_index.c.leaf))
_JOINED_LEAVES = _written_out(select(func.group_concat(_LEAF_TEXTS.c.part, literal_column("''"))))


@dataclass(slots=True)
class Placed:
    """An entry at its place in the log."""

    index: int
    n: int
    data: bytes
    leaf: bytes
    entry: Entry


def create_head(tx: Tx, origin: str, now_us: int) -> None:
    """The head of a new, empty log."""
    edge = Edge()
    tx.execute(
        insert(audit_head).values(origin=origin, size=0, edge=edge.serialise(), root=edge.root(), time_us=now_us)
    )


def read_head(tx: Tx) -> tuple[str, Edge] | None:
    """Origin and right edge of the log; None before it was created.

    Raises:
        StoreDamaged: the edge is none.
    """
    row = tx.execute(select(audit_head.c.origin, audit_head.c.edge)).first()
    try:
        return None if row is None else (row.origin, Edge.parse(row.edge))
    except InvalidInput:
        raise StoreDamaged("Expected the head of the log in the store, got other bytes; restore a backup.") from None


def read_origin(tx: Tx) -> str:
    """Which log the store holds, from whatever names it; empty for a new store."""
    return tx.execute(select(audit_head.c.origin)).scalar() or tx.execute(select(audit_archive.c.origin)).scalar() or ""


def move_head(tx: Tx, old_size: int, edge: Edge, time_us: int) -> None:
    """Advance the head from *old_size* to *edge*.

    Raises:
        StoreDamaged: the stored head is not at *old_size*; somebody else wrote the log.
    """
    moved = tx.exec_driver_sql(_MOVE_HEAD, (edge.size, edge.serialise(), edge.root(), time_us, old_size))
    if moved.rowcount != 1:
        raise StoreDamaged("Expected to be the only writer of the log, but its head was moved; restart the service.")


def append(tx: Tx, placed: Sequence[Placed]) -> None:
    """Insert entries and their search index."""
    _insert(tx, _ENTRY_COLUMNS, [(one.index, one.data) for one in placed])
    add_index(tx, placed)


def add_index(tx: Tx, placed: Sequence[Placed]) -> None:
    """Insert the search index of entries."""
    _insert(
        tx,
        _INDEX_COLUMNS,
        [
            (
                one.index,
                one.entry.id,
                one.entry.tenant,
                one.n,
                one.entry.time_us,
                one.entry.phase,
                one.entry.intent,
                one.entry.actor,
                one.entry.action,
                one.entry.resource,
                int(one.entry.allowed),
                one.entry.status,
                one.entry.code,
                one.leaf,
            )
            for one in placed
        ],
    )


def _insert(tx: Tx, columns: _Columns, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert *rows* by statements of 256, 128, ... 1 rows, of which the driver keeps nine prepared.

    The driver lets other threads run at every row that it steps through; beside a busy event loop each hand-over costs
    up to a switch interval, so a group is inserted in a few steps instead of one a row.
    """
    at, size = 0, MAX_ROWS
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        chunk = rows[at : at + size]
        tx.exec_driver_sql(_statement(columns, size), tuple(value for row in chunk for value in row))
        at += size


@cache
def _statement(columns: _Columns, rows: int) -> str:
    table, names = columns
    marks = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([marks] * rows)}"  # noqa: S608 - names of the schema


def read_numbers(tx: Tx) -> dict[str, int]:
    """The next per-tenant number of each tenant."""
    return {row.tenant: row.next_n for row in tx.execute(select(audit_tenants))}


def write_numbers(tx: Tx, changed: Mapping[str, int], known: Iterable[str]) -> None:
    """Store the next numbers of the tenants in *changed*; those in *known* have a row already."""
    for tenant, next_n in changed.items():
        if tenant in known:
            tx.exec_driver_sql(_MOVE_NUMBER, (next_n, tenant))
        else:
            tx.execute(insert(audit_tenants).values(tenant=tenant, next_n=next_n))


def add_tiles(tx: Tx, tiles: Sequence[tuple[int, int, bytes]]) -> None:
    """Insert full tiles: (level, number, 256 hashes)."""
    if tiles:
        tx.execute(insert(audit_tiles), [{"level": level, "n": n, "hashes": hashes} for level, n, hashes in tiles])


def read_tile(tx: Tx, level: int, n: int) -> bytes | None:
    """The 8,192 bytes of a full tile, or None."""
    here = (audit_tiles.c.level == level) & (audit_tiles.c.n == n)
    found: bytes | None = tx.execute(select(audit_tiles.c.hashes).where(here)).scalar()
    return found


def leaves(tx: Tx, start: int, end: int) -> list[bytes]:
    """Leaf hashes of records [start, end) from the search index."""
    joined = bytes.fromhex(tx.exec_driver_sql(_JOINED_LEAVES, (start, end)).scalar() or "")  # see _joined
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


def entries(tx: Tx, start: int, end: int) -> Iterator[bytes]:
    """Entries [start, end) in order, a page at a time.

    Raises:
        StoreDamaged: one is missing.
    """
    at = start
    while at < end:
        until = min(at + PAGE, end)
        page = _joined(tx, at, until)
        if len(page) != until - at:  # one is missing, or holds what no canonical JSON does
            page = _singly(tx, at, until)
        if len(page) != until - at:
            raise StoreDamaged(
                f"Expected records {at} to {until - 1} in the log, but some are missing; restore a backup."
            )
        yield from page
        at = until


def _joined(tx: Tx, start: int, end: int) -> list[bytes]:
    """Entries [start, end) that the database joined into one row.

    The driver gives the interpreter away at every row; beside a busy event loop the hand-overs of a thousand rows cost
    both threads more than hashing them. Canonical JSON holds no line feed.
    """
    found = tx.exec_driver_sql(_JOINED, (start, end)).scalar()
    return [] if found is None else bytes(found).split(b"\n")


def _singly(tx: Tx, start: int, end: int) -> list[bytes]:
    here = (audit_entries.c.idx >= start) & (audit_entries.c.idx < end)
    return list(tx.execute(select(audit_entries.c.entry).where(here).order_by(audit_entries.c.idx)).scalars())


def has_record(tx: Tx, tenant: str, index: int) -> bool:
    """Whether the record at *index* is this tenant's."""
    here = (audit_index.c.idx == index) & (audit_index.c.tenant == tenant)
    return tx.execute(select(audit_index.c.idx).where(here)).first() is not None


@dataclass(frozen=True, slots=True)
class Found:
    """Where a record stands, and whose it is."""

    index: int
    tenant: str
    leaf: bytes


def find_by_id(tx: Tx, record_id: str) -> Found | None:
    """Where the record with this id stands."""
    here = select(audit_index.c.idx, audit_index.c.tenant, audit_index.c.leaf).where(audit_index.c.id == record_id)
    row = tx.execute(here).first()
    return None if row is None else Found(*row)


def clear(tx: Tx) -> None:
    """Empty the log: its entries were written elsewhere, and the next incarnation begins.

    Keys stay, since old notes verify by them; sinks get the new log from its first record.
    """
    for table in (
        audit_entries,
        audit_index,
        audit_tiles,
        audit_tenants,
        audit_head,
        audit_checkpoints,
        audit_cosignatures,
        audit_anchors,
        audit_open_intents,
        audit_archive,
        audit_witnesses,
        audit_clock_requests,
    ):
        tx.execute(delete(table))
    tx.execute(update(audit_sinks).values(first_idx=0, next_idx=0, delivered=0, repeated=0, acked_us=0))


# checkpoints


def add_checkpoint(tx: Tx, head: Head, note: str) -> None:
    """Insert a signed checkpoint."""
    checkpoint = head.checkpoint
    tx.execute(
        insert(audit_checkpoints).values(size=checkpoint.size, time_us=head.time_us, root=checkpoint.root, note=note)
    )


def last_checkpoint(tx: Tx, origin: str) -> tuple[Head, str] | None:
    """The latest checkpoint and its note, or None."""
    row = tx.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size.desc()).limit(1)).first()
    return None if row is None else (Head(Checkpoint(origin, row.size, row.root), row.time_us), row.note)


def root_at(tx: Tx, size: int) -> bytes:
    """The root that the checkpoint of this size signed."""
    found: bytes = tx.execute(select(audit_checkpoints.c.root).where(audit_checkpoints.c.size == size)).scalar_one()
    return found


def checkpoint_notes(tx: Tx, up_to: int) -> list[tuple[int, str]]:
    """(size, note) of every checkpoint up to a size whose note was kept, rising."""
    kept = (audit_checkpoints.c.size <= up_to) & (audit_checkpoints.c.note != "")
    here = select(audit_checkpoints.c.size, audit_checkpoints.c.note).where(kept)
    return [(row.size, row.note) for row in tx.execute(here.order_by(audit_checkpoints.c.size))]


# open intents


class Intents:
    """Open intents of external operations, for the gate."""

    def open(self, tx: Tx, entry: Entry, deadline_us: int) -> None:
        """Note an intent that has no outcome yet."""
        values = {"tenant": entry.tenant, "actor": entry.actor, "action": entry.action, "node": ""}
        tx.execute(insert(audit_open_intents).values(intent=entry.id, deadline_us=deadline_us, **values))

    def close(self, tx: Tx, intent: str) -> bool:
        """Remove it; False where it had been closed already."""
        return tx.execute(delete(audit_open_intents).where(audit_open_intents.c.intent == intent)).rowcount == 1


def overdue_intents(tx: Tx, now_us: int, limit: int) -> list[Mapping[str, Any]]:
    """Open intents past their deadline."""
    here = select(audit_open_intents).where(audit_open_intents.c.deadline_us <= now_us).limit(limit)
    return [dict(row) for row in tx.execute(here).mappings()]


def expire_intents(tx: Tx) -> None:
    """At start: the process that opened these is gone, so every open intent is due now."""
    tx.execute(update(audit_open_intents).values(deadline_us=0))
