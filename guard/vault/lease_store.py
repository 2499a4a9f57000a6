"""Rows of leases, and the epochs of fields. Transaction first.

Law: a row says who holds which lease and how far it was used; the leased key is in none, only the wrap of it that
every value carries too. Rows are for renewing and revoking: values open without them, so old ones are swept.
"""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from guard.db.engine import Tx
from guard.db.lease_schema import lease_epochs, leases
from guard.vault.leases import Lease

SWEPT_AT_ONCE = 256
"""Rows that one new lease removes at most, so that it waits for no long delete; it adds one."""


def add(tx: Tx, lease: Lease) -> None:
    """Insert a lease."""
    starts = {name: start.hex() for name, start in lease.starts.items()}
    values = {
        "lease": lease.id,
        "tenant": lease.tenant,
        "holder": lease.holder,
        "purpose": lease.purpose,
        "opens": int(lease.opens),
        "starts": json.dumps(starts),
        "epochs": json.dumps(dict(lease.epochs)),
        "created_us": lease.created_us,
        "expires_us": lease.expires_us,
        "max_uses": lease.max_uses,
        "used": lease.used,
    }
    tx.execute(insert(leases).values(**values))


def find(tx: Tx, tenant: str, lease: str) -> Lease | None:
    """A tenant's lease."""
    row = tx.execute(select(leases).where(leases.c.lease == lease, leases.c.tenant == tenant)).first()
    return None if row is None else _lease(row)


def live(tx: Tx, tenant: str, now_us: int, limit: int) -> list[Lease]:
    """A tenant's leases whose time is not over and that were not revoked by themselves, newest first."""
    here = (leases.c.tenant == tenant) & (leases.c.expires_us > now_us) & leases.c.revoked_us.is_(None)
    rows = tx.execute(select(leases).where(here).order_by(leases.c.lease.desc()).limit(limit))
    return [_lease(row) for row in rows]


def count_live(tx: Tx, tenant: str, holder: str, now_us: int) -> int:
    """How many leases a holder has whose time is not over and that were not revoked by themselves."""
    here = (leases.c.tenant == tenant) & (leases.c.expires_us > now_us) & (leases.c.holder == holder)
    here &= leases.c.revoked_us.is_(None)
    found: int = tx.execute(select(func.count()).select_from(leases).where(here)).scalar_one()
    return found


def renew(tx: Tx, lease: Lease, expires_us: int, used: int) -> None:
    """Give a lease another end, and the uses that were reported."""
    tx.execute(update(leases).where(leases.c.lease == lease.id).values(expires_us=expires_us, used=used))


def revoke(tx: Tx, lease: str, now_us: int) -> None:
    """Revoke one lease."""
    tx.execute(update(leases).where(leases.c.lease == lease).values(revoked_us=now_us))


def epochs(tx: Tx, tenant: str, fields: Iterable[str]) -> dict[str, int]:
    """The epoch of each field; 0 where none of its leases was revoked yet."""
    here = (lease_epochs.c.tenant == tenant) & lease_epochs.c.field.in_(list(fields))
    found = {row.field: row.epoch for row in tx.execute(select(lease_epochs).where(here))}
    return {name: found.get(name, 0) for name in fields}


def next_epoch(tx: Tx, tenant: str, field: str, now_us: int) -> int:
    """Move the epoch of a field on, which ends every lease of it; the new one."""
    epoch = epochs(tx, tenant, [field])[field] + 1
    values = {"epoch": epoch, "changed_us": now_us}
    here = (lease_epochs.c.tenant == tenant) & (lease_epochs.c.field == field)
    if tx.execute(update(lease_epochs).where(here).values(**values)).rowcount == 0:
        tx.execute(insert(lease_epochs).values(tenant=tenant, field=field, **values))
    return epoch


def sweep(tx: Tx, tenant: str, before_us: int) -> None:
    """Remove some leases of a tenant that ended before a time."""
    here = (leases.c.tenant == tenant) & (leases.c.expires_us < before_us)
    old = [row.lease for row in tx.execute(select(leases.c.lease).where(here).limit(SWEPT_AT_ONCE))]
    if old:
        tx.execute(delete(leases).where(leases.c.lease.in_(old)))


def _lease(row: Any) -> Lease:
    return Lease(
        id=row.lease,
        tenant=row.tenant,
        holder=row.holder,
        purpose=row.purpose,
        opens=bool(row.opens),
        starts={name: bytes.fromhex(start) for name, start in json.loads(row.starts).items()},
        epochs=json.loads(row.epochs),
        created_us=row.created_us,
        expires_us=row.expires_us,
        max_uses=row.max_uses,
        used=row.used,
        revoked_us=row.revoked_us,
    )
