"""Rows of sinks: how far each has the log. Transaction first.

Law: a cursor moves only from where its mover believes it to be, and only by as many records as were acknowledged; so
[first_idx, next_idx) is what was delivered, by induction, and `delivered - repeated` is its length.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from guard.db.engine import Tx
from guard.db.schema import audit_head, audit_index, audit_sinks
from guard.errors import Conflict, NotFound

DECLARED, REMOVED = "declared", "removed"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a sink is."""

    name: str
    first_idx: int
    next_idx: int
    delivered: int
    repeated: int
    acked_us: int
    state: str
    last_error: str


def cursors(tx: Tx) -> dict[str, Cursor]:
    """All sinks there ever were, by name."""
    rows = tx.execute(select(audit_sinks).order_by(audit_sinks.c.name)).mappings()
    return {row["name"]: Cursor(**row) for row in rows}


def find(tx: Tx, name: str) -> Cursor:
    """One sink.

    Raises:
        NotFound: there is none of this name.
    """
    row = tx.execute(select(audit_sinks).where(audit_sinks.c.name == name)).mappings().first()
    if row is None:
        raise NotFound(f"Expected the name of a sink of guard.toml, got {name}; restart guard to take it over.")
    return Cursor(**row)


def add(tx: Tx, name: str, first: int) -> None:
    """A new sink that begins at *first*."""
    values = {"first_idx": first, "next_idx": first, "delivered": 0, "repeated": 0, "acked_us": 0}
    tx.execute(insert(audit_sinks).values(name=name, state=DECLARED, last_error="", **values))


def set_state(tx: Tx, names: Iterable[str], state: str, error: str = "") -> None:
    """What became of these sinks."""
    tx.execute(update(audit_sinks).where(audit_sinks.c.name.in_(list(names))).values(state=state, last_error=error))


def move(tx: Tx, name: str, first: int, next_idx: int, back: int, now_us: int) -> None:
    """Records [first, next_idx) were acknowledged; the sink goes on at *back*.

    Raises:
        Conflict: the cursor is not at *first*; somebody else moved it.
    """
    moved = tx.execute(
        update(audit_sinks)
        .where((audit_sinks.c.name == name) & (audit_sinks.c.next_idx == first))
        .values(
            next_idx=back,
            delivered=audit_sinks.c.delivered + (next_idx - first),
            repeated=audit_sinks.c.repeated + (next_idx - back),
            **({"acked_us": now_us} if next_idx > first else {}),
        )
    )
    if moved.rowcount != 1:
        raise Conflict(f"Expected the sink {name} at record {first}, but it was moved; it goes on from where it is.")


def size(tx: Tx) -> int:
    """The size of the log."""
    found: int = tx.execute(select(audit_head.c.size)).scalar_one()
    return found


def time_of(tx: Tx, index: int) -> int | None:
    """When the record at *index* was made; None if there is none."""
    found: int | None = tx.execute(select(audit_index.c.time_us).where(audit_index.c.idx == index)).scalar()
    return found


def changed(tx: Tx, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Which of *names* are new or were removed once, and which sinks are no longer among them."""
    active = {cursor.name for cursor in cursors(tx).values() if cursor.state != REMOVED}
    wanted = set(names)
    return sorted(wanted - active), sorted(active - wanted)
