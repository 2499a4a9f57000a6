"""Rows of sealed values: what records commit to, under the keys of their subjects. Transaction first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, not_, or_, select, true

from guard.audit.hold_store import Hold
from guard.db.engine import Tx
from guard.db.schema import audit_index, audit_sealed


@dataclass(frozen=True, slots=True)
class SealedRow:
    """One sealed value; *key_id* names the key, which is the pseudonym of its subject."""

    record_id: str
    field: str
    tenant: str
    key_id: str
    sealed: bytes
    expires_us: int | None


def add(tx: Tx, rows: Sequence[SealedRow]) -> None:
    """Insert sealed values."""
    names = SealedRow.__slots__
    tx.execute(insert(audit_sealed), [{name: getattr(row, name) for name in names} for row in rows])


def of_record(tx: Tx, record_id: str) -> list[SealedRow]:
    """The sealed values of a record, by field."""
    here = select(audit_sealed).where(audit_sealed.c.record_id == record_id).order_by(audit_sealed.c.field)
    return [SealedRow(**row) for row in tx.execute(here).mappings()]


def count(tx: Tx, key_id: str) -> int:
    """How many values are sealed under a key."""
    here = select(func.count()).select_from(audit_sealed).where(audit_sealed.c.key_id == key_id)
    found: int = tx.execute(here).scalar_one()
    return found


def delete_some(tx: Tx, key_id: str, limit: int) -> int:
    """Delete at most *limit* values under a key; how many it were."""
    return _delete(tx, [(row.record_id, row.field) for row in tx.execute(_next(key_id, limit))])


def next_records(tx: Tx, key_id: str, limit: int) -> list[int]:
    """The indexes of the records whose values `delete_some` deletes next."""
    coming = _next(key_id, limit).subquery()
    here = select(audit_index.c.idx).join(coming, coming.c.record_id == audit_index.c.id).distinct()
    return list(tx.execute(here).scalars())


def next_expiry(tx: Tx) -> int | None:
    """When the next value expires."""
    found: int | None = tx.execute(select(func.min(audit_sealed.c.expires_us))).scalar()
    return found


def expire(tx: Tx, now_us: int, holds: Sequence[Hold], limit: int) -> tuple[int, set[tuple[str, str]]]:
    """Delete at most *limit* expired values that no hold covers; how many, and the (tenant, key) of each."""
    here = select(audit_sealed).where(audit_sealed.c.expires_us <= now_us)
    if holds:
        here = here.outerjoin(audit_index, audit_index.c.id == audit_sealed.c.record_id)
        here = here.where(not_(or_(*(held(one) for one in holds))))
    rows = tx.execute(here.order_by(audit_sealed.c.expires_us).limit(limit)).all()
    _delete(tx, [(row.record_id, row.field) for row in rows])
    return len(rows), {(row.tenant, row.key_id) for row in rows}


def covering(tx: Tx, tenant: str, key_id: str, holds: Sequence[Hold]) -> str | None:
    """The id of a hold that covers the subject of a key, or any value under it."""
    for one in holds:
        if one.scope == "log" or (one.tenant == tenant and (one.scope == "tenant" or one.target == key_id)):
            return one.id
        if one.scope in {"actor", "matter"}:
            joined = audit_sealed.join(audit_index, audit_index.c.id == audit_sealed.c.record_id)
            here = select(audit_index.c.id).select_from(joined).where(audit_sealed.c.key_id == key_id, held(one))
            if tx.execute(here.limit(1)).first() is not None:
                return one.id
    return None


def held(hold: Hold) -> ColumnElement[bool]:
    """Whether a hold covers a sealed value, of which the record's search row is joined."""
    if hold.scope == "log":
        return true()
    here = audit_sealed.c.tenant == hold.tenant
    if hold.scope == "subject":
        return and_(here, audit_sealed.c.key_id == hold.target)
    # The search row may be gone while it is rebuilt: what cannot be told apart is kept.
    if hold.scope == "actor":
        return and_(here, func.coalesce(audit_index.c.actor, hold.target) == hold.target)
    if hold.scope == "matter":
        resource = func.coalesce(audit_index.c.resource, hold.target)
        return and_(here, resource.contains(hold.target, autoescape=True))
    return here


def _next(key_id: str, limit: int) -> Select[Any]:
    columns = audit_sealed.c
    here = select(columns.record_id, columns.field).where(columns.key_id == key_id)
    return here.order_by(columns.record_id, columns.field).limit(limit)


def _delete(tx: Tx, places: Sequence[tuple[str, str]]) -> int:
    for record_id, field in places:
        tx.execute(delete(audit_sealed).where(audit_sealed.c.record_id == record_id, audit_sealed.c.field == field))
    return len(places)
