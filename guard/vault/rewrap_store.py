"""Wraps under tenants' KEKs, in whichever table they stand: counted, taken a few, replaced. Transaction first."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import func, select, update

from guard.db.engine import Tx
from guard.db.import_schema import imported_keys
from guard.db.schema import index_keys, key_versions, subject_keys, tenant_keks

TABLES: Final = {
    "keys": (key_versions, ("key_id",), ("suite", "version")),
    "index_keys": (index_keys, ("tenant", "name", "version"), ()),
    "subject_keys": (subject_keys, ("key_id",), ()),
    "imported_keys": (imported_keys, ("tenant", "name"), ("key_id",)),
}
"""By what the census calls them: the table, what names a row of it, and what else its place needs."""

Row = Mapping[str, Any]


def counts(tx: Tx, tenant: str) -> list[tuple[str, int, int]]:
    """(what, version of the KEK, count) of every wrap of a tenant in the main database."""
    found = []
    for what, (table, _, _) in TABLES.items():
        here = (table.c.tenant == tenant) & table.c.wrapped.is_not(None)
        grouped = select(table.c.kek_version, func.count()).where(here).group_by(table.c.kek_version)
        found += [(what, row[0], row[1]) for row in tx.execute(grouped)]
    return found


def under_older(tx: Tx, what: str, tenant: str, kek_version: int, limit: int) -> list[Row]:
    """Rows of a table whose wrap is under another KEK than this one."""
    table, names, more = TABLES[what]
    here = (table.c.tenant == tenant) & (table.c.kek_version != kek_version) & table.c.wrapped.is_not(None)
    columns = [table.c[name] for name in dict.fromkeys((*names, *more, "kek_version", "wrapped"))]
    return [dict(row) for row in tx.execute(select(*columns).where(here).limit(limit)).mappings()]


def replace(tx: Tx, what: str, row: Row, wrapped: bytes, kek_version: int) -> None:
    """Put another wrap of the same key in place of a row's."""
    table, names, _ = TABLES[what]
    change = update(table).values(wrapped=wrapped, kek_version=kek_version)
    for name in (*names, "wrapped"):
        change = change.where(table.c[name] == row[name])
    tx.execute(change)


def tenants(tx: Tx) -> list[str]:
    """Tenants that have more than one KEK."""
    wanted = select(tenant_keks.c.tenant).where(func.length(tenant_keks.c.wrapped) > 0)
    return list(tx.execute(wanted.group_by(tenant_keks.c.tenant).having(func.count() > 1)).scalars())


def end_kek(tx: Tx, tenant: str, version: int) -> None:
    """Overwrite the wrap of a KEK; the row stays, so that its id names nothing else."""
    here = (tenant_keks.c.tenant == tenant) & (tenant_keks.c.version == version)
    tx.execute(update(tenant_keks).where(here).values(wrapped=b""))
