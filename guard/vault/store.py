"""Rows of seal slots, system secrets, tenant KEKs, key versions, index keys and re-encryption jobs."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update

from guard.db.engine import Tx
from guard.db.schema import index_keys, key_versions, reencryptions, seal_slots, secrets, tenant_keks
from guard.db.version_schema import key_tombstones
from guard.vault.versions import State
from guard.wire.vault import KeyView, ReencryptionView, VersionView


@dataclass(frozen=True, slots=True)
class SlotRow:
    """A custody slot: plugin name, record, wrapped seal secret and its check value."""

    slot_id: str
    plugin: str
    record: bytes
    wrapped: bytes
    seal_version: int
    check_value: bytes
    options: str = "{}"
    created_us: int = 0


@dataclass(frozen=True, slots=True)
class KekRow:
    """A tenant KEK, wrapped under the seal secret."""

    tenant: str
    version: int
    key_id: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A key version, wrapped under its tenant's KEK."""

    key_id: bytes
    tenant: str
    name: str
    version: int
    suite: str
    state: State
    compromised: bool
    kek_version: int
    wrapped: bytes
    created_us: int = 0
    changed_us: int = 0


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A version of an index key, wrapped under its tenant's KEK."""

    tenant: str
    name: str
    version: int
    kek_version: int
    wrapped: bytes


def add_slot(tx: Tx, row: SlotRow, now_us: int) -> None:
    """Insert a custody slot."""
    values = {
        "plugin": row.plugin,
        "record": row.record.decode(),
        "wrapped": row.wrapped,
        "seal_version": row.seal_version,
        "check_value": row.check_value,
        "options": row.options,
    }
    tx.execute(insert(seal_slots).values(slot_id=row.slot_id, created_us=now_us, **values))


def list_slots(tx: Tx) -> list[SlotRow]:
    """Every custody slot; none in a new store."""
    return [
        SlotRow(
            row.slot_id,
            row.plugin,
            row.record.encode(),
            row.wrapped,
            row.seal_version,
            row.check_value,
            row.options or "{}",
            row.created_us,
        )
        for row in tx.execute(select(seal_slots).order_by(seal_slots.c.created_us, seal_slots.c.slot_id))
    ]


def add_secret(tx: Tx, name: str, wrapped: bytes, now_us: int) -> None:
    """Insert a system secret, wrapped under the seal secret."""
    tx.execute(insert(secrets).values(name=name, wrapped=wrapped, created_us=now_us))


def find_secret(tx: Tx, name: str) -> bytes | None:
    """The wrapped system secret of this name."""
    found: bytes | None = tx.execute(select(secrets.c.wrapped).where(secrets.c.name == name)).scalar()
    return found


def add_kek(tx: Tx, row: KekRow, now_us: int) -> None:
    """Insert a tenant KEK."""
    values = {"key_id": row.key_id, "wrapped": row.wrapped}
    tx.execute(insert(tenant_keks).values(tenant=row.tenant, version=row.version, created_us=now_us, **values))


def list_keks(tx: Tx, tenant: str | None = None) -> list[KekRow]:
    """Tenant KEKs that still have their wrap, of one tenant or of all, oldest first."""
    wanted = select(tenant_keks).where(func.length(tenant_keks.c.wrapped) > 0)
    wanted = wanted.order_by(tenant_keks.c.tenant, tenant_keks.c.version)
    if tenant is not None:
        wanted = wanted.where(tenant_keks.c.tenant == tenant)
    return [KekRow(row.tenant, row.version, row.key_id, row.wrapped) for row in tx.execute(wanted)]


def add_version(tx: Tx, row: VersionRow, now_us: int) -> None:
    """Insert a key version."""
    tx.execute(
        insert(key_versions).values(
            key_id=row.key_id,
            tenant=row.tenant,
            name=row.name,
            version=row.version,
            suite=row.suite,
            state=row.state.value,
            compromised=int(row.compromised),
            kek_version=row.kek_version,
            wrapped=row.wrapped,
            created_us=now_us,
            changed_us=now_us,
        )
    )


def set_state(tx: Tx, key_id: bytes, old: State, new: State, now_us: int) -> bool:
    """Move a version from *old* to *new*; False where it was not in *old* any more."""
    here = (key_versions.c.key_id == key_id) & (key_versions.c.state == old.value)
    return tx.execute(update(key_versions).where(here).values(state=new.value, changed_us=now_us)).rowcount == 1


def list_versions(tx: Tx, tenant: str | None = None, name: str | None = None) -> list[VersionRow]:
    """Key versions that still have their wrap, oldest first."""
    wanted = select(key_versions).where(key_versions.c.wrapped.is_not(None))
    if tenant is not None:
        wanted = wanted.where(key_versions.c.tenant == tenant)
    if name is not None:
        wanted = wanted.where(key_versions.c.name == name)
    return [
        VersionRow(
            row.key_id,
            row.tenant,
            row.name,
            row.version,
            row.suite,
            State(row.state),
            bool(row.compromised),
            row.kek_version,
            row.wrapped,
            row.created_us,
            row.changed_us,
        )
        for row in tx.execute(wanted.order_by(key_versions.c.tenant, key_versions.c.name, key_versions.c.version))
    ]


def taken_key_ids(tx: Tx) -> set[bytes]:
    """Ids of live key versions and of tombstones; an id is never used again."""
    return set(tx.execute(select(key_versions.c.key_id)).scalars()) | set(
        tx.execute(select(tenant_keks.c.key_id).union(select(key_tombstones.c.key_id))).scalars()
    )


def key_views(tx: Tx, tenant: str, name: str | None = None) -> list[KeyView]:
    """Keys with their versions, newest version first."""
    wanted = select(key_versions).where(key_versions.c.tenant == tenant)
    if name is not None:
        wanted = wanted.where(key_versions.c.name == name)
    found: dict[str, list[VersionView]] = {}
    for row in tx.execute(wanted.order_by(key_versions.c.name, key_versions.c.version.desc())):
        found.setdefault(row.name, []).append(
            VersionView(
                version=row.version,
                key_id=row.key_id.hex(),
                state=row.state,
                suite=row.suite,
                compromised=bool(row.compromised),
                created_us=row.created_us,
                changed_us=row.changed_us,
            )
        )
    return [KeyView(key=key, versions=versions) for key, versions in found.items()]


def add_index_key(tx: Tx, row: IndexRow, now_us: int) -> None:
    """Insert a version of an index key."""
    values = {"kek_version": row.kek_version, "wrapped": row.wrapped, "created_us": now_us}
    tx.execute(insert(index_keys).values(tenant=row.tenant, name=row.name, version=row.version, **values))


def list_index_keys(tx: Tx, tenant: str | None = None) -> list[IndexRow]:
    """Index keys, of one tenant or of all."""
    wanted = select(index_keys)
    if tenant is not None:
        wanted = wanted.where(index_keys.c.tenant == tenant)
    return [IndexRow(row.tenant, row.name, row.version, row.kek_version, row.wrapped) for row in tx.execute(wanted)]


# re-encryption jobs

TURNING = ("planned", "running", "verifying")
"""States of a job in which the worker has something to do."""


def add_job(tx: Tx, tenant: str, view: ReencryptionView) -> None:
    """Insert a job."""
    values = view.model_dump(exclude={"job"})
    tx.execute(insert(reencryptions).values(id=view.job, tenant=tenant, cursor="", **values))


def find_job(tx: Tx, tenant: str, job: str) -> ReencryptionView | None:
    """A job of this tenant."""
    return next(iter(_jobs(tx, tenant, (reencryptions.c.id == job,))), None)


def list_jobs(tx: Tx, tenant: str) -> list[ReencryptionView]:
    """Jobs of this tenant, newest first."""
    return _jobs(tx, tenant, ())


def open_jobs(tx: Tx) -> list[tuple[str, ReencryptionView]]:
    """Tenant and job of everything that runs or waits for its turn."""
    wanted = select(reencryptions.c.tenant, reencryptions.c.id).where(reencryptions.c.state.in_(TURNING))
    rows = tx.execute(wanted.order_by(reencryptions.c.created_us)).all()
    found = [(row.tenant, find_job(tx, row.tenant, row.id)) for row in rows]
    return [(tenant, view) for tenant, view in found if view is not None]


def update_job(tx: Tx, tenant: str, view: ReencryptionView) -> None:
    """Store a job's state and counts."""
    here = (reencryptions.c.tenant == tenant) & (reencryptions.c.id == view.job)
    tx.execute(update(reencryptions).where(here).values(**view.model_dump(exclude={"job"})))


def cursor_of(tx: Tx, job: str) -> str:
    """Where a dry run stands; a job that changes rows keeps that in the database of the rows."""
    return str(tx.execute(select(reencryptions.c.cursor).where(reencryptions.c.id == job)).scalar() or "")


def set_cursor(tx: Tx, job: str, cursor: str) -> None:
    """Store where a dry run stands."""
    tx.execute(update(reencryptions).where(reencryptions.c.id == job).values(cursor=cursor))


def _jobs(tx: Tx, tenant: str, conditions: Sequence[object]) -> list[ReencryptionView]:
    wanted = select(reencryptions).where(reencryptions.c.tenant == tenant, *conditions)  # type: ignore[arg-type]
    names = set(ReencryptionView.model_fields) - {"job"}
    return [
        ReencryptionView(
            job=row["id"],
            **{name: row[name] for name in names}
            | {"dry_run": bool(row["dry_run"]), "in_clear": bool(row["in_clear"])},
        )
        for row in tx.execute(wanted.order_by(reencryptions.c.created_us.desc())).mappings()
    ]
