"""Rows of persons' data keys, each wrapped under a bucket key, and of the requests to forget them. Transaction first.

Law: a row names nobody; a person is found by a keyed hash. Only a request to forget holds the id of a person, in clear
as long as it can be taken back or held, and no longer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, insert, select, update

from guard.db.engine import Tx
from guard.db.schema import meta, subject_deks, subject_forgets
from guard.db.token_schema import vault_tokens
from guard.vault.shred import NO_HASH, LedgerEntry, Point, Stage, bounds_of

WRAP_BYTES = 48
STORE_ID, GENERATION, APPLIED = "key_store", "key_generation", "shred_applied"
_NAMES = ("tenant", "dek_id", "subject_ref", "wrapped", "bucket_version", "revoked_us")


@dataclass(frozen=True, slots=True)
class DekRow:
    """A person's data key; *revoked_us* says since when nothing opens under it."""

    tenant: str
    dek_id: bytes
    subject_ref: bytes
    wrapped: bytes
    bucket_version: int
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True)
class ForgetRow:
    """A request to forget a person, and how far it came."""

    id: str
    tenant: str
    dek_id: bytes
    subject: str | None
    stage: str
    requested_by: str
    requested_us: int
    approved_by: str | None = None
    due_us: int | None = None
    destroyed_us: int | None = None
    bucket_version: int | None = None
    seq: int | None = None
    entry_hash: str | None = None
    rotated_us: int | None = None
    unrecoverable_us: int | None = None


def add(tx: Tx, rows: Sequence[DekRow], now_us: int) -> None:
    """Insert keys."""
    tx.execute(insert(subject_deks), [{name: getattr(row, name) for name in _NAMES} | _made(now_us) for row in rows])


def _made(now_us: int) -> dict[str, int]:
    return {"created_us": now_us}


_COLUMNS = [subject_deks.c[name] for name in _NAMES]
# Built once: building a statement takes longer than running it.
_BY_REF = select(*_COLUMNS).where(subject_deks.c.subject_ref == bindparam("ref"))
_BY_ID = select(*_COLUMNS).where(
    subject_deks.c.tenant == bindparam("tenant"), subject_deks.c.dek_id == bindparam("dek_id")
)

_OF_BUCKET = (
    select(*_COLUMNS)
    .where(
        subject_deks.c.tenant == bindparam("tenant"),
        subject_deks.c.dek_id.between(bindparam("first"), bindparam("last")),
        subject_deks.c.bucket_version < bindparam("below"),
    )
    .limit(bindparam("most"))
)


def by_ref(tx: Tx, subject_ref: bytes) -> DekRow | None:
    """The key of a person."""
    row = tx.execute(_BY_REF, {"ref": subject_ref}).first()
    return None if row is None else DekRow(*row)


def by_id(tx: Tx, tenant: str, dek_id: bytes) -> DekRow | None:
    """A tenant's key by its id."""
    row = tx.execute(_BY_ID, {"tenant": tenant, "dek_id": dek_id}).first()
    return None if row is None else DekRow(*row)


def count(tx: Tx, tenant: str | None = None) -> int:
    """How many persons have a key."""
    wanted = select(func.count()).select_from(subject_deks)
    if tenant is not None:
        wanted = wanted.where(subject_deks.c.tenant == tenant)
    found: int = tx.execute(wanted).scalar_one()
    return found


def set_revoked(tx: Tx, tenant: str, dek_id: bytes, revoked_us: int | None) -> None:
    """Revoke a key, or take that back."""
    here = (subject_deks.c.tenant == tenant) & (subject_deks.c.dek_id == dek_id)
    tx.execute(update(subject_deks).where(here).values(revoked_us=revoked_us))


def destroy(tx: Tx, tenant: str, dek_id: bytes) -> bool:
    """Overwrite and delete a key; False where that was done before."""
    here = (subject_deks.c.tenant == tenant) & (subject_deks.c.dek_id == dek_id)
    tx.execute(update(subject_deks).where(here).values(wrapped=bytes(WRAP_BYTES)))
    # A token's index would still tell whoever guesses the value that it was the person's.
    of_person = (vault_tokens.c.tenant == tenant) & (vault_tokens.c.dek_id == dek_id)
    tx.execute(update(vault_tokens).where(of_person).values(sealed=None, value_index=None))
    return tx.execute(delete(subject_deks).where(here)).rowcount == 1


def of_bucket(tx: Tx, tenant: str, bucket: int, below: int, limit: int) -> list[DekRow]:
    """Keys of a bucket that are wrapped under a version older than *below*."""
    first, last = bounds_of(bucket)
    here = {"tenant": tenant, "first": first, "last": last, "below": below, "most": limit}
    return [DekRow(*row) for row in tx.execute(_OF_BUCKET, here)]


def rewrap(tx: Tx, row: DekRow, wrapped: bytes, version: int) -> None:
    """Put a key under another version of its bucket's key; the data under it is not touched."""
    here = (subject_deks.c.tenant == row.tenant) & (subject_deks.c.dek_id == row.dek_id)
    tx.execute(update(subject_deks).where(here).values(wrapped=wrapped, bucket_version=version))


# requests to forget


def add_forget(tx: Tx, row: ForgetRow) -> None:
    """Insert a request."""
    tx.execute(insert(subject_forgets).values(**{name: getattr(row, name) for name in ForgetRow.__slots__}))


def write_forget(tx: Tx, row: ForgetRow) -> None:
    """Store how far a request came."""
    values = {name: getattr(row, name) for name in ForgetRow.__slots__}
    tx.execute(update(subject_forgets).where(subject_forgets.c.id == row.id).values(**values))


def find_forget(tx: Tx, tenant: str, forget: str) -> ForgetRow | None:
    """A tenant's request."""
    return next(iter(_forgets(tx, (subject_forgets.c.tenant == tenant) & (subject_forgets.c.id == forget), 1)), None)


def forget_of(tx: Tx, tenant: str, dek_id: bytes, stage: Stage) -> ForgetRow | None:
    """The request about a key that is in a stage."""
    here = (subject_forgets.c.tenant == tenant) & (subject_forgets.c.dek_id == dek_id)
    return next(iter(_forgets(tx, here & (subject_forgets.c.stage == stage.value), 1)), None)


def listed(tx: Tx, tenant: str, limit: int) -> list[ForgetRow]:
    """Requests of a tenant, newest first."""
    return _forgets(tx, subject_forgets.c.tenant == tenant, limit)


def due(tx: Tx, now_us: int, limit: int) -> list[ForgetRow]:
    """Requests whose next stage has come."""
    stage, late = subject_forgets.c.stage, subject_forgets.c.unrecoverable_us
    here = (stage == Stage.REVOKED.value) & (subject_forgets.c.due_us <= now_us)
    return _forgets(tx, here | ((stage == Stage.DESTROYED.value) & (late <= now_us)), limit)


def unrotated(tx: Tx, limit: int) -> list[ForgetRow]:
    """Requests whose key is destroyed and whose bucket key may still be in use."""
    here = (subject_forgets.c.stage == Stage.DESTROYED.value) & subject_forgets.c.rotated_us.is_(None)
    return _forgets(tx, here, limit)


def ended(tx: Tx) -> bool:
    """Whether a person's id was ever taken out of a request."""
    wanted = select(subject_forgets.c.id).where(subject_forgets.c.subject.is_(None))
    return tx.execute(wanted.limit(1)).first() is not None


def _forgets(tx: Tx, here: object, limit: int) -> list[ForgetRow]:
    wanted = select(subject_forgets).where(here).order_by(subject_forgets.c.id.desc())  # type: ignore[arg-type]
    return [ForgetRow(**row) for row in tx.execute(wanted.limit(limit)).mappings()]


# what the main database knows of the key store


def known(tx: Tx) -> tuple[str, int, Point]:
    """The key store's id ("" before there was one), its generation, and the place up to which its ledger is applied."""
    found = {row.name: row.value for row in tx.execute(select(meta).where(meta.c.name.in_(_KNOWN)))}
    seq, _, last = found.get(APPLIED, f"0 {NO_HASH}").partition(" ")
    return found.get(STORE_ID, ""), int(found.get(GENERATION, "0")), Point(int(seq), last)


_KNOWN = (STORE_ID, GENERATION, APPLIED)


def adopt(tx: Tx, store_id: str) -> None:
    """This is the key store from now on."""
    _put(tx, {STORE_ID: store_id})


def saw_generation(tx: Tx, generation: int) -> None:
    """Rows are under bucket keys of this generation from now on."""
    _put(tx, {GENERATION: str(generation)})


def applied(tx: Tx, entries: Iterable[LedgerEntry]) -> None:
    """These entries, the last ones of the ledger, are applied."""
    last = max(entries, key=lambda one: one.seq)
    _put(tx, {APPLIED: f"{last.seq} {last.hash}"})


def _put(tx: Tx, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if not tx.execute(update(meta).where(meta.c.name == name).values(value=value)).rowcount:
            tx.execute(insert(meta).values(name=name, value=value))
