"""The key store: versions of bucket keys, and the shred ledger. A second database with backups of its own.

Law: each change here is one commit, durable before the main database refers to it, and may be made twice; no
transaction spans both. A bucket has one version that wraps (`current`); the ones before it only open while rows move
(`retiring`), are kept for the main backups that need them (`retired`), and are then overwritten (`destroyed`).
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Update, bindparam, exc, func, insert, select, update

from guard.db.engine import Store, Tx
from guard.db.key_schema import bucket_keks, key_meta, key_metadata, shred_ledger
from guard.errors import KeyStoreRolledBack, StoreDamaged
from guard.vault.shred import LedgerEntry, Point, bucket_of, decode

FORMAT = "1"
KEY_BYTES = 80  # of a wrapped bucket key: what overwrites it
PAGE = 1000  # ledger entries read at a time


_SHREDDED = select(shred_ledger.c.entry).where(shred_ledger.c.dek_id == bindparam("dek_id"))


# Built once: a rewrap turns 4096 buckets at once, and building a statement takes longer than running it.
_BUCKET = (bucket_keks.c.tenant == bindparam("t")) & (bucket_keks.c.bucket == bindparam("b"))
_VERSION = _BUCKET & (bucket_keks.c.version == bindparam("v"))
_RETIRING = (
    update(bucket_keks)
    .where(_BUCKET, bucket_keks.c.state == "current")
    .values(state="retiring", changed_us=bindparam("us"))
)
_RETIRED = (
    update(bucket_keks)
    .where(_VERSION, bucket_keks.c.state == "retiring")
    .values(state="retired", changed_us=bindparam("us"))
)
_OVERWRITTEN = update(bucket_keks).where(_VERSION, bucket_keks.c.state == "retired").values(wrapped=bindparam("w"))
_DESTROYED = (
    update(bucket_keks)
    .where(_VERSION, bucket_keks.c.state == "retired")
    .values(wrapped=None, state="destroyed", changed_us=bindparam("us"))
)
_CURRENT = select(bucket_keks.c.bucket, bucket_keks.c.version).where(
    bucket_keks.c.tenant == bindparam("t"), bucket_keks.c.state == "current"
)


@dataclass(frozen=True, slots=True)
class BucketRow:
    """One version of a bucket's key, wrapped under its tenant's KEK; without its wrap it is destroyed."""

    tenant: str
    bucket: int
    version: int
    key_id: bytes
    kek_version: int
    wrapped: bytes | None
    state: str
    changed_us: int


class KeyStore:
    """The open key store. Writes come from the writer's thread, or before it runs."""

    def __init__(self, path: Path, *, driver: Any = None) -> None:
        self.path = path
        self._store = Store(path, driver=driver)
        self._writing = threading.Lock()
        self.changes = 0  # of bucket keys, so that who keeps opened ones knows when to look again

    def open(self, random: Callable[[int], bytes]) -> str:
        """Make the tables where they are missing; the id of this store.

        Raises:
            StoreDamaged: no SQLite file, or one of a newer guard.
        """
        if not self.path.exists():
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            key_metadata.create_all(self._store.writer_engine)
            with self._write() as tx:
                if _value(tx, "format") is None:
                    for name, value in (("format", FORMAT), ("id", random(16).hex()), ("generation", "0")):
                        tx.execute(insert(key_meta).values(name=name, value=value))
                found, identity = _value(tx, "format"), _value(tx, "id")
        except exc.DatabaseError as error:
            raise StoreDamaged(
                f"Expected a sound key store at {self.path}, but SQLite says: {error.orig}; put its newest backup back."
            ) from None
        if found != FORMAT or identity is None:
            raise StoreDamaged(f"Expected a key store of this release at {self.path}; start the guard that wrote it.")
        return identity

    def close(self) -> None:
        """Close every connection."""
        self._store.close()

    @property
    def generation(self) -> int:
        """How often bucket keys were made; a key store that was put back has a smaller one."""
        with self._store.read() as tx:
            return int(_value(tx, "generation") or 0)

    # bucket keys

    def add(self, rows: Sequence[BucketRow]) -> int:
        """Add current versions; those before them retire from then on. The generation that this makes."""
        self.changes += 1
        with self._write() as tx:
            before = [{"t": row.tenant, "b": row.bucket, "us": row.changed_us} for row in rows if row.version > 1]
            if before:
                tx.execute(_RETIRING, before)
            names = BucketRow.__slots__
            tx.execute(insert(bucket_keks), [{name: getattr(row, name) for name in names} for row in rows])
            generation = int(_value(tx, "generation") or 0) + 1
            tx.execute(update(key_meta).where(key_meta.c.name == "generation").values(value=str(generation)))
        self.changes += 1  # see _move
        return generation

    def find(self, tenant: str, bucket: int, version: int | None = None) -> BucketRow | None:
        """A version of a bucket's key, or the current one."""
        here = (bucket_keks.c.tenant == tenant) & (bucket_keks.c.bucket == bucket)
        here &= bucket_keks.c.state == "current" if version is None else bucket_keks.c.version == version
        with self._store.read() as tx:
            row = tx.execute(select(bucket_keks).where(here)).mappings().first()
        return None if row is None else BucketRow(**row)

    def has_tenant(self, tenant: str) -> bool:
        """Whether a tenant has buckets."""
        return self.find(tenant, 0) is not None

    def in_state(self, state: str, before_us: int, limit: int, place: tuple[str, int] | None = None) -> list[BucketRow]:
        """Versions that came into a state before then, of one bucket or of all."""
        here = (bucket_keks.c.state == state) & (bucket_keks.c.changed_us <= before_us)
        if place is not None:
            here &= (bucket_keks.c.tenant == place[0]) & (bucket_keks.c.bucket == place[1])
        with self._store.read() as tx:
            rows = tx.execute(select(bucket_keks).where(here).order_by(bucket_keks.c.changed_us).limit(limit))
            return [BucketRow(**row) for row in rows.mappings()]

    def under_older(self, tenant: str, kek_version: int, limit: int) -> list[BucketRow]:
        """Current versions of a tenant's buckets that another KEK than this one wraps."""
        here = (bucket_keks.c.tenant == tenant) & (bucket_keks.c.state == "current")
        here &= bucket_keks.c.kek_version != kek_version
        with self._store.read() as tx:
            rows = tx.execute(select(bucket_keks).where(here).order_by(bucket_keks.c.bucket).limit(limit))
            return [BucketRow(**row) for row in rows.mappings()]

    def count_by_kek(self, tenant: str) -> list[tuple[str, int, int]]:
        """(state, version of the KEK, count) of a tenant's bucket keys that can still be opened."""
        state, kek, count = bucket_keks.c.state, bucket_keks.c.kek_version, func.count()
        here = (bucket_keks.c.tenant == tenant) & bucket_keks.c.wrapped.is_not(None)
        with self._store.read() as tx:
            return [
                (row[0], row[1], row[2])
                for row in tx.execute(select(state, kek, count).where(here).group_by(state, kek))
            ]

    def current_versions(self, tenant: str) -> dict[int, int]:
        """The version that wraps, by bucket."""
        with self._store.read() as tx:
            return {row[0]: row[1] for row in tx.execute(_CURRENT, {"t": tenant})}

    def of_tenant(self, tenant: str, state: str, before_us: int, limit: int) -> list[BucketRow]:
        """Versions of a tenant's buckets that came into a state before then, by bucket."""
        here = (bucket_keks.c.tenant == tenant) & (bucket_keks.c.state == state)
        here &= bucket_keks.c.changed_us <= before_us
        with self._store.read() as tx:
            rows = tx.execute(select(bucket_keks).where(here).order_by(bucket_keks.c.bucket).limit(limit))
            return [BucketRow(**row) for row in rows.mappings()]

    def retire_all(self, rows: Sequence[BucketRow], now_us: int) -> None:
        """As `retire`, for many at once: one commit."""
        self._move_all(_RETIRED, rows, {"us": now_us})

    def destroy_all(self, rows: Sequence[BucketRow], now_us: int) -> None:
        """As `destroy`, for many at once: two commits."""
        self._move_all(_OVERWRITTEN, rows, {"w": bytes(KEY_BYTES)})
        self._move_all(_DESTROYED, rows, {"us": now_us})

    def _move_all(self, change: Update, rows: Sequence[BucketRow], values: Mapping[str, object]) -> None:
        if not rows:
            return
        self.changes += 1
        with self._write() as tx:
            tx.execute(change, [{"t": row.tenant, "b": row.bucket, "v": row.version, **values} for row in rows])
        self.changes += 1  # see _move

    def retire(self, row: BucketRow, now_us: int) -> None:
        """No row of the main database is under this version any more."""
        self._move(row, "retiring", {"state": "retired", "changed_us": now_us})

    def destroy(self, row: BucketRow, now_us: int) -> None:
        """Overwrite this version; nothing that it wrapped can be opened with this store again."""
        self._move(row, "retired", {"wrapped": bytes(KEY_BYTES)})
        self._move(row, "retired", {"wrapped": None, "state": "destroyed", "changed_us": now_us})

    def _move(self, row: BucketRow, state: str, values: dict[str, object]) -> None:
        here = (bucket_keks.c.tenant == row.tenant) & (bucket_keks.c.bucket == row.bucket)
        here &= (bucket_keks.c.version == row.version) & (bucket_keks.c.state == state)
        self.changes += 1
        with self._write() as tx:
            tx.execute(update(bucket_keks).where(here).values(**values))
        self.changes += 1  # once more: who read in between has read what was

    def dirty(self, before_us: int, limit: int) -> list[tuple[str, int]]:
        """Buckets whose current key wrapped a key that was destroyed before then."""
        at = (bucket_keks.c.tenant == shred_ledger.c.tenant) & (bucket_keks.c.bucket == shred_ledger.c.bucket)
        at &= (bucket_keks.c.version == shred_ledger.c.bucket_version) & (bucket_keks.c.state == "current")
        wanted = select(shred_ledger.c.tenant, shred_ledger.c.bucket).distinct().join(bucket_keks, at)
        with self._store.read() as tx:
            rows = tx.execute(wanted.where(shred_ledger.c.time_us <= before_us).limit(limit))
            return [(row.tenant, row.bucket) for row in rows]

    def is_dirty(self, row: BucketRow, before_us: int) -> bool:
        """Whether this version wrapped a key that was destroyed before then."""
        here = (shred_ledger.c.tenant == row.tenant) & (shred_ledger.c.bucket == row.bucket)
        here &= (shred_ledger.c.bucket_version == row.version) & (shred_ledger.c.time_us <= before_us)
        with self._store.read() as tx:
            return tx.execute(select(shred_ledger.c.seq).where(here).limit(1)).first() is not None

    # ledger

    def shred(self, tenant: str, dek_id: bytes, bucket_version: int, request: str, now_us: int) -> LedgerEntry:
        """Append the end of a key, durably; the same entry where it was appended before."""
        known = self.shredded(dek_id)
        if known is not None:
            return known
        with self._write() as tx:
            last = tx.execute(select(shred_ledger.c.entry).order_by(shred_ledger.c.seq.desc()).limit(1)).scalar()
            head = Point() if last is None else Point(decode(last).seq, decode(last).hash)
            bucket = bucket_of(dek_id)
            entry = LedgerEntry(head.seq + 1, head.hash, now_us, tenant, dek_id.hex(), bucket, bucket_version, request)
            values = {"seq": entry.seq, "dek_id": entry.dek_id, "tenant": tenant, "bucket": bucket, "time_us": now_us}
            tx.execute(insert(shred_ledger).values(entry=entry.encode(), bucket_version=bucket_version, **values))
        return entry

    def shredded(self, dek_id: bytes) -> LedgerEntry | None:
        """The entry of a destroyed key."""
        with self._store.read() as tx:
            raw = tx.execute(_SHREDDED, {"dek_id": dek_id.hex()}).scalar()
        return None if raw is None else decode(raw)

    def entries(self, after: int = 0) -> Iterator[LedgerEntry]:
        """The entries after that number, in order, a page at a time.

        Raises:
            KeyStoreRolledBack: an entry was changed, or a column says otherwise.
        """
        while True:
            here = select(shred_ledger).where(shred_ledger.c.seq > after).order_by(shred_ledger.c.seq).limit(PAGE)
            with self._store.read() as tx:
                rows = tx.execute(here).mappings().all()
            if not rows:
                return
            for row in rows:
                entry = decode(row["entry"])
                if any(getattr(entry, name) != row[name] for name in row if name != "entry"):
                    raise KeyStoreRolledBack(
                        f"Expected the columns of ledger entry {entry.seq} to say what it says, but they were changed; "
                        "put the key store's newest backup back."
                    )
                yield entry
            after = rows[-1]["seq"]

    def size(self) -> int:
        """How many entries the ledger has."""
        with self._store.read() as tx:
            count: int = tx.execute(select(func.count()).select_from(shred_ledger)).scalar_one()
        return count

    @contextmanager
    def _write(self) -> Iterator[Tx]:
        with self._writing, self._store.write() as tx:
            yield tx


def _value(tx: Tx, name: str) -> str | None:
    found: str | None = tx.execute(select(key_meta.c.value).where(key_meta.c.name == name)).scalar()
    return found
