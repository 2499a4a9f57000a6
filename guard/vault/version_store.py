"""Rows of a key version's end and of its use: destructions that were asked for, tombstones, counts of uses."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update

from guard.db.engine import Tx
from guard.db.schema import key_versions
from guard.db.version_schema import key_destructions, key_tombstones, key_uses
from guard.vault.store import VersionRow
from guard.vault.versions import State


@dataclass(frozen=True, slots=True)
class Destruction:
    """Who asked for the end of a version, who approved it, and when it comes; None where nobody approved yet."""

    key_id: bytes
    tenant: str
    name: str
    version: int
    days: int
    asked_by: str
    asked_us: int
    approved_by: str | None
    due_us: int | None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a destroyed version."""

    key_id: bytes
    tenant: str
    name: str
    version: int
    suite: str
    compromised: bool
    created_us: int
    destroyed_us: int
    asked_by: str
    approved_by: str


@dataclass(frozen=True, slots=True)
class Use:
    """How often a version sealed, and when it last opened a value for a caller (0: never)."""

    tenant: str
    name: str
    version: int
    sealed: int
    opened_us: int


def newest_version(tx: Tx, tenant: str, name: str) -> int:
    """The highest number that a version of this key ever had; 0 where there is no such key."""
    highest = [
        tx.execute(select(func.max(table.c.version)).where(table.c.tenant == tenant, table.c.name == name)).scalar()
        for table in (key_versions, key_tombstones)
    ]
    return max(one or 0 for one in highest)


def set_compromised(tx: Tx, key_id: bytes, now_us: int) -> bool:
    """Mark a version as compromised; False where it was before."""
    here = (key_versions.c.key_id == key_id) & (key_versions.c.compromised == 0)
    return tx.execute(update(key_versions).where(here).values(compromised=1, changed_us=now_us)).rowcount == 1


def ask(tx: Tx, wanted: Destruction) -> None:
    """Store that somebody wants a version destroyed, in place of an older wish."""
    drop_destruction(tx, wanted.key_id)
    values = {name: getattr(wanted, name) for name in Destruction.__slots__}
    tx.execute(insert(key_destructions).values(**values))


def approve(tx: Tx, key_id: bytes, approved_by: str, due_us: int) -> None:
    """Store who approved a destruction and when it comes."""
    here = update(key_destructions).where(key_destructions.c.key_id == key_id)
    tx.execute(here.values(approved_by=approved_by, due_us=due_us))


def find_destruction(tx: Tx, key_id: bytes) -> Destruction | None:
    """The wish to destroy a version."""
    return next(iter(_destructions(tx, key_destructions.c.key_id == key_id)), None)


def destructions(tx: Tx, tenant: str | None = None) -> list[Destruction]:
    """Every wish to destroy, of one tenant or of all."""
    return _destructions(tx, True if tenant is None else key_destructions.c.tenant == tenant)


def drop_destruction(tx: Tx, key_id: bytes) -> bool:
    """Forget a wish; False where there is none."""
    return tx.execute(delete(key_destructions).where(key_destructions.c.key_id == key_id)).rowcount == 1


def bury(tx: Tx, row: VersionRow, asked: Destruction, noise: bytes, now_us: int) -> bool:
    """Overwrite a wrap, delete its row and leave a tombstone; False where the version is not about to be destroyed.

    The overwriting comes first, since a deleted row's bytes may stay in the page until it is used again.
    """
    here = (key_versions.c.key_id == row.key_id) & (key_versions.c.state == State.DESTROY_PENDING.value)
    if tx.execute(update(key_versions).where(here).values(wrapped=noise)).rowcount == 0:
        return False
    tx.execute(delete(key_versions).where(here))
    drop_destruction(tx, row.key_id)
    tx.execute(
        insert(key_tombstones).values(
            key_id=row.key_id,
            tenant=row.tenant,
            name=row.name,
            version=row.version,
            suite=row.suite,
            compromised=int(row.compromised),
            created_us=row.created_us,
            destroyed_us=now_us,
            asked_by=asked.asked_by,
            approved_by=asked.approved_by,
        )
    )
    return True


def tombstones(tx: Tx, tenant: str | None = None) -> list[Tombstone]:
    """What was destroyed, of one tenant or of all."""
    wanted = select(key_tombstones).order_by(key_tombstones.c.tenant, key_tombstones.c.name, key_tombstones.c.version)
    if tenant is not None:
        wanted = wanted.where(key_tombstones.c.tenant == tenant)
    return [
        Tombstone(**{name: row[name] for name in Tombstone.__slots__} | {"compromised": bool(row["compromised"])})
        for row in tx.execute(wanted).mappings()
    ]


def uses(tx: Tx) -> list[Use]:
    """Uses of every version that was used."""
    return [Use(row.tenant, row.name, row.version, row.sealed, row.opened_us) for row in tx.execute(select(key_uses))]


def put_uses(tx: Tx, changed: Iterable[Use]) -> None:
    """Store uses, each in place of what stood there."""
    for one in changed:
        here = (key_uses.c.tenant == one.tenant) & (key_uses.c.name == one.name) & (key_uses.c.version == one.version)
        values = {"sealed": one.sealed, "opened_us": one.opened_us}
        if tx.execute(update(key_uses).where(here).values(**values)).rowcount == 0:
            place = {"tenant": one.tenant, "name": one.name, "version": one.version}
            tx.execute(insert(key_uses).values(**place, **values))


def _destructions(tx: Tx, condition: object) -> list[Destruction]:
    wanted = select(key_destructions).where(condition)  # type: ignore[arg-type]
    return [Destruction(**row) for row in tx.execute(wanted.order_by(key_destructions.c.due_us)).mappings()]
