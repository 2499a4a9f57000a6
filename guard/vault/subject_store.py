"""Rows of subject keys, wrapped under their tenant's KEK. Transaction first."""

from dataclasses import dataclass

from sqlalchemy import insert, select, update

from guard.db.engine import Tx
from guard.db.schema import subject_keys


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """A live subject key; *name* is what its subject is found by, never the subject itself."""

    key_id: str
    tenant: str
    name: str
    kek_version: int
    wrapped: bytes


def add(tx: Tx, row: SubjectRow, now_us: int) -> None:
    """Insert a key."""
    values = {"key_id": row.key_id, "tenant": row.tenant, "subject": row.name, "kek_version": row.kek_version}
    times = {"created_us": now_us, "changed_us": now_us}
    tx.execute(insert(subject_keys).values(wrapped=row.wrapped, state="active", **values, **times))


def by_name(tx: Tx, tenant: str, name: str) -> SubjectRow | None:
    """The live key of a subject."""
    return _row(tx, (subject_keys.c.tenant == tenant) & (subject_keys.c.subject == name))


def by_id(tx: Tx, tenant: str, key_id: str) -> SubjectRow | None:
    """A live key by its id."""
    return _row(tx, (subject_keys.c.tenant == tenant) & (subject_keys.c.key_id == key_id))


def destroy(tx: Tx, tenant: str, key_id: str, now_us: int) -> bool:
    """Drop the wrap and the name of a key; its id stays as a tombstone. False where that was done before."""
    here = (subject_keys.c.tenant == tenant) & (subject_keys.c.key_id == key_id) & subject_keys.c.wrapped.is_not(None)
    gone = {"wrapped": None, "subject": None, "state": "destroyed", "changed_us": now_us}
    return tx.execute(update(subject_keys).where(here).values(**gone)).rowcount == 1


def _row(tx: Tx, here: object) -> SubjectRow | None:
    wanted = select(subject_keys).where(here, subject_keys.c.wrapped.is_not(None))  # type: ignore[arg-type]
    row = tx.execute(wanted).first()
    return None if row is None else SubjectRow(row.key_id, row.tenant, row.subject, row.kek_version, row.wrapped)
