"""The one SQLite file of a witness: what it cosigned last of each log, and the signed notes that it refused.

Law: `cosign` runs in the transaction in which the last checkpoint was read, so of two submissions with one old size the
second is told of the first. Whole notes are kept: a size and a hash would prove nothing against anybody.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.pool import StaticPool

from guard.audit.checkpoint import Checkpoint
from guard.db.engine import Tx

MAX_EVIDENCE = 10_000  # notes of one log and status: some 70 MB; who lies oftener is proved to lie by the first

# No WAL: a copy of the one file without its WAL would be a witness that was put back, and sign a second history. EXTRA,
# because with FULL a power cut can bring back the journal of a commit that was answered.
PRAGMAS = ("journal_mode=DELETE", "synchronous=EXTRA", "busy_timeout=5000")

metadata = MetaData()
_Int = BigInteger().with_variant(Integer, "sqlite")
latest = Table(
    "latest",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("size", _Int, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("lines", Text, nullable=False),
    Column("time_s", _Int, nullable=False),
    sqlite_strict=True,
)
refused = Table(
    "refused",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("size", _Int, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, primary_key=True),
    Column("status", _Int, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
    Column("held", LargeBinary, nullable=False),
    Column("time_s", _Int, nullable=False),
    sqlite_strict=True,
)


class WitnessFile:
    """The open file: one connection, used by one thread."""

    def __init__(self, path: Path) -> None:
        options: dict[str, Any] = {"check_same_thread": False}
        self._engine = create_engine(f"sqlite:///{path}", connect_args=options, poolclass=StaticPool)

        @event.listens_for(self._engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(self._engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        with self.write() as tx:
            metadata.create_all(tx)

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction that is durable at the end of the block."""
        with self._engine.begin() as tx:
            yield tx

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def last(tx: Tx, origin: str) -> tuple[Checkpoint, bytes, str] | None:
    """The checkpoint that was cosigned last, its note, and the lines that were given for it."""
    row = tx.execute(select(latest).where(latest.c.origin == origin)).first()
    return None if row is None else (Checkpoint(origin, row.size, row.root), row.note, row.lines)


def cosign(tx: Tx, head: Checkpoint, note: bytes, lines: str, time_seconds: int) -> None:
    """Keep *head* as the last one cosigned."""
    tx.execute(delete(latest).where(latest.c.origin == head.origin))
    values = {"origin": head.origin, "size": head.size, "root": head.root, "note": note}
    tx.execute(insert(latest).values(lines=lines, time_s=time_seconds, **values))


def refuse(tx: Tx, head: Checkpoint, status: int, note: bytes, held: bytes, time_seconds: int) -> bool:
    """Keep a note that the log signed and the witness refused, beside the one *held*; False if it is known, or full."""
    here = (refused.c.origin == head.origin) & (refused.c.status == status)
    same = here & (refused.c.size == head.size) & (refused.c.root == head.root)
    if tx.execute(select(refused.c.size).where(same)).first() is not None:
        return False
    if tx.execute(select(func.count()).select_from(refused).where(here)).scalar_one() >= MAX_EVIDENCE:
        return False
    values = {"origin": head.origin, "size": head.size, "root": head.root, "status": status, "note": note}
    tx.execute(insert(refused).values(held=held, time_s=time_seconds, **values))
    return True


def evidence(tx: Tx, origin: str) -> list[tuple[int, int, bytes, bytes]]:
    """(time, status, refused note, note held then) of each refusal of a log, oldest first."""
    here = select(refused).where(refused.c.origin == origin).order_by(refused.c.time_s, refused.c.size)
    return [(row.time_s, row.status, row.note, row.held) for row in tx.execute(here)]


def origins(tx: Tx) -> list[str]:
    """The origins of which something was cosigned."""
    return list(tx.execute(select(latest.c.origin)).scalars())
