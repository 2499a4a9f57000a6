"""Rows beside the checkpoints: keys of the log, witnesses, cosignatures, requests about the clock."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import case, delete, func, insert, or_, select, update

from guard.audit.checkpoint import Checkpoint, Head
from guard.audit.note import Kind, VerifierKey
from guard.db.engine import Tx
from guard.db.schema import (
    audit_anchors,
    audit_checkpoints,
    audit_clock_requests,
    audit_cosignatures,
    audit_log_keys,
    audit_witnesses,
)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key of the log: its vkey, the name of its secret, the sizes that it may sign, and until when it signs.

    `stolen_us` is since when others may have had it, `frozen_root` the root of the size up to which it is believed.
    """

    vkey: str
    secret: str
    from_size: int
    to_size: int | None
    until_us: int | None
    stolen_us: int | None = None
    frozen_root: bytes | None = None


@dataclass(frozen=True, slots=True)
class WitnessRow:
    """What is known of a witness: the size that it last cosigned, what it last said, and the evidence against us."""

    name: str
    size: int = 0
    status: str = "new"
    time_us: int = 0
    cosigned_us: int | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class ClockRequest:
    """Somebody asks to go on although the clock is behind the checkpoint of *checkpoint_us*."""

    id: str
    checkpoint_us: int
    reason: str
    asked_by: str
    asked_us: int
    accepted_by: str | None = None
    accepted_us: int | None = None


# keys of the log


def log_keys(tx: Tx, origin: str = "") -> list[KeyRow]:
    """Every key that the log ever had, oldest first; those of one incarnation where *origin* names it."""
    columns = (getattr(audit_log_keys.c, one.name) for one in fields(KeyRow))
    here = select(*columns).order_by(audit_log_keys.c.created_us, audit_log_keys.c.secret)
    rows = [KeyRow(*row) for row in tx.execute(here)]
    return [row for row in rows if not origin or row.vkey.startswith(f"{origin}+")]


def ed25519_keys(tx: Tx) -> set[bytes]:
    """Every public Ed25519 key that the log ever had, under whichever name."""
    keys = [VerifierKey.decode(row.vkey) for row in log_keys(tx)]
    return {key.public for key in keys if key.kind is Kind.ED25519}


def add_log_key(tx: Tx, row: KeyRow, now_us: int) -> None:
    """Insert a key."""
    values = {"vkey": row.vkey, "secret": row.secret, "from_size": row.from_size, "created_us": now_us}
    tx.execute(insert(audit_log_keys).values(to_size=row.to_size, until_us=row.until_us, **values))


def end_log_keys(tx: Tx, until_us: int) -> None:
    """Let every key that has no end yet end at *until_us*."""
    here = audit_log_keys.c.until_us.is_(None)
    tx.execute(update(audit_log_keys).where(here).values(until_us=until_us))


def close_log_keys(tx: Tx, now_us: int, size: int) -> int:
    """The keys that ended by *now_us* sign nothing above *size*; how many were closed."""
    here = audit_log_keys.c.to_size.is_(None) & (audit_log_keys.c.until_us <= now_us)
    return tx.execute(update(audit_log_keys).where(here).values(to_size=size)).rowcount


def leave_log_keys(tx: Tx, now_us: int, size: int) -> None:
    """The incarnation that ends was signed up to *size*: none of its keys signs anything after that."""
    here = audit_log_keys.c.to_size.is_(None)
    first = audit_log_keys.c.from_size
    last = case((first > size, first), else_=size)  # a key that came after the last checkpoint signed nothing
    tx.execute(update(audit_log_keys).where(here).values(to_size=last, until_us=now_us))


# witnesses


def witnesses(tx: Tx) -> dict[str, WitnessRow]:
    """What is known of each witness, by name."""
    return {row["name"]: WitnessRow(**row) for row in tx.execute(select(audit_witnesses)).mappings()}


def write_witness(tx: Tx, row: WitnessRow) -> None:
    """Insert or replace what is known of a witness."""
    tx.execute(delete(audit_witnesses).where(audit_witnesses.c.name == row.name))
    values = {"name": row.name, "size": row.size, "status": row.status, "time_us": row.time_us}
    tx.execute(insert(audit_witnesses).values(cosigned_us=row.cosigned_us, evidence=row.evidence, **values))


def write_cosignature(tx: Tx, size: int, name: str, line: str, now_us: int) -> None:
    """Insert or replace the signature line of a witness under the checkpoint of *size*."""
    here = (audit_cosignatures.c.size == size) & (audit_cosignatures.c.name == name)
    tx.execute(delete(audit_cosignatures).where(here))
    tx.execute(insert(audit_cosignatures).values(size=size, name=name, line=line, time_us=now_us))


def cosigned(tx: Tx, size: int, note: str) -> str:
    """The note of the checkpoint of *size* with the cosignatures that are known of it."""
    here = select(audit_cosignatures.c.line).where(audit_cosignatures.c.size == size)
    return note + "".join(tx.execute(here.order_by(audit_cosignatures.c.name)).scalars())


def last_witnessed(tx: Tx, origin: str, names: Sequence[str], quorum: int) -> tuple[Head, str] | None:
    """The latest checkpoint that *quorum* of the named witnesses cosigned, and the log's own note; None without one."""
    sizes = (
        select(audit_cosignatures.c.size)
        .join(audit_checkpoints, audit_checkpoints.c.size == audit_cosignatures.c.size)
        .where(audit_cosignatures.c.name.in_(names), audit_checkpoints.c.note != "")
        .group_by(audit_cosignatures.c.size)
        .having(func.count() >= quorum)
        .order_by(audit_cosignatures.c.size.desc())
        .limit(1)
    )
    row = tx.execute(select(audit_checkpoints).where(audit_checkpoints.c.size == sizes.scalar_subquery())).first()
    if row is None:
        return None
    return Head(Checkpoint(origin, row.size, row.root), row.time_us), row.note


# checkpoints


def renew_checkpoint(tx: Tx, head: Head, note: str) -> None:
    """Replace time and note of the checkpoint of the same size."""
    here = audit_checkpoints.c.size == head.checkpoint.size
    tx.execute(update(audit_checkpoints).where(here).values(time_us=head.time_us, note=note))


def note_page(tx: Tx, after: int, before_us: int, limit: int) -> list[tuple[int, int]]:
    """(size, time) of checkpoints above the size *after* and older than *before_us*, by size."""
    here = (audit_checkpoints.c.size > after) & (audit_checkpoints.c.time_us < before_us)
    rows = tx.execute(
        select(audit_checkpoints.c.size, audit_checkpoints.c.time_us)
        .where(here)
        .order_by(audit_checkpoints.c.size)
        .limit(limit)
    )
    return [(row.size, row.time_us) for row in rows]


def drop_notes(tx: Tx, sizes: Sequence[int]) -> int:
    """Empty the notes of these checkpoints, but for those that are cosigned or anchored; how many were emptied."""
    kept = or_(
        audit_checkpoints.c.size.in_(select(audit_cosignatures.c.size)),
        audit_checkpoints.c.size.in_(select(audit_anchors.c.size)),
    )
    here = audit_checkpoints.c.size.in_(sizes) & (audit_checkpoints.c.note != "") & ~kept
    return tx.execute(update(audit_checkpoints).where(here).values(note="")).rowcount


# the clock


def add_clock_request(tx: Tx, row: ClockRequest) -> None:
    """Insert a request."""
    values = {"id": row.id, "checkpoint_us": row.checkpoint_us, "reason": row.reason}
    tx.execute(insert(audit_clock_requests).values(asked_by=row.asked_by, asked_us=row.asked_us, **values))


def clock_request(tx: Tx, request_id: str) -> ClockRequest | None:
    """The request of this id."""
    row = tx.execute(select(audit_clock_requests).where(audit_clock_requests.c.id == request_id)).mappings().first()
    return None if row is None else ClockRequest(**row)


def accept_clock(tx: Tx, request_id: str, person: str, now_us: int) -> None:
    """Note who accepted a request, and when."""
    here = audit_clock_requests.c.id == request_id
    tx.execute(update(audit_clock_requests).where(here).values(accepted_by=person, accepted_us=now_us))


def accepted_clock(tx: Tx, checkpoint_us: int) -> int | None:
    """The earliest time that was accepted although it is behind the checkpoint of this time; None without one."""
    here = (audit_clock_requests.c.checkpoint_us == checkpoint_us) & audit_clock_requests.c.accepted_us.is_not(None)
    found: int | None = tx.execute(select(func.min(audit_clock_requests.c.accepted_us)).where(here)).scalar()
    return found
