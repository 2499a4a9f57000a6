"""Rows of keys that came from other systems, and of exports that wait for a second person. Transaction first."""

from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, select, update

from guard.db.engine import Tx
from guard.db.import_schema import imported_keys, key_exports


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A key of another system under `key_id`; without `approved_by` it waits and serves nothing."""

    tenant: str
    name: str
    request: str
    key_id: bytes
    format: str
    kek_version: int
    wrapped: bytes
    body: bytes
    asked_by: str
    asked_us: int
    approved_by: str | None
    approved_us: int | None
    removal_by: str | None
    changed_us: int


@dataclass(frozen=True, slots=True)
class ExportRow:
    """An export that was asked for, and who approved it."""

    tenant: str
    name: str
    request: str
    format: str
    kek: str
    asked_by: str
    asked_us: int
    approved_by: str | None = None
    approved_us: int | None = None


def put(tx: Tx, row: ImportedRow) -> None:
    """Keep a key; it takes the place of one of the same name."""
    remove(tx, row.tenant, row.name)
    tx.execute(insert(imported_keys).values(**asdict(row)))


def find(tx: Tx, tenant: str, name: str) -> ImportedRow | None:
    """The key of this name, whether approved or not."""
    return next(iter(listed(tx, tenant, name)), None)


def listed(tx: Tx, tenant: str, name: str | None = None) -> list[ImportedRow]:
    """The tenant's keys of other systems, by name."""
    wanted = select(imported_keys).where(imported_keys.c.tenant == tenant)
    if name is not None:
        wanted = wanted.where(imported_keys.c.name == name)
    return [ImportedRow(**row) for row in tx.execute(wanted.order_by(imported_keys.c.name)).mappings()]


def rewrite(tx: Tx, row: ImportedRow, body: bytes) -> bool:
    """Put *body* in place of the row's; False where somebody else changed it meanwhile.

    `changed_us` stays: it says when a removal was asked for, which a rotation must not make young again.
    """
    here = (imported_keys.c.tenant == row.tenant) & (imported_keys.c.name == row.name)
    here &= imported_keys.c.body == row.body
    return tx.execute(update(imported_keys).where(here).values(body=body)).rowcount == 1


def remove(tx: Tx, tenant: str, name: str) -> None:
    """Forget a key. Its bytes are overwritten in the file, since the database deletes securely."""
    here = (imported_keys.c.tenant == tenant) & (imported_keys.c.name == name)
    tx.execute(delete(imported_keys).where(here))


def taken_ids(tx: Tx) -> set[bytes]:
    """Ids of keys of other systems."""
    return set(tx.execute(select(imported_keys.c.key_id)).scalars())


def put_export(tx: Tx, row: ExportRow) -> None:
    """Keep a request to export; it takes the place of one for the same key."""
    drop_export(tx, row.tenant, row.name)
    tx.execute(insert(key_exports).values(**asdict(row)))


def exports(tx: Tx, tenant: str) -> list[ExportRow]:
    """The tenant's requests to export, by name."""
    wanted = select(key_exports).where(key_exports.c.tenant == tenant).order_by(key_exports.c.name)
    return [ExportRow(**row) for row in tx.execute(wanted).mappings()]


def find_export(tx: Tx, tenant: str, name: str) -> ExportRow | None:
    """The request to export this key."""
    return next((row for row in exports(tx, tenant) if row.name == name), None)


def drop_export(tx: Tx, tenant: str, name: str) -> None:
    """Forget a request to export."""
    tx.execute(delete(key_exports).where((key_exports.c.tenant == tenant) & (key_exports.c.name == name)))


def drop_exports_of(tx: Tx, tenant: str, name: str) -> None:
    """Forget requests to export a key that is gone, or other keys under it: its name may come to mean another key."""
    named = (key_exports.c.name == name) | (key_exports.c.kek == name)
    tx.execute(delete(key_exports).where((key_exports.c.tenant == tenant) & named))
