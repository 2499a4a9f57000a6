"""Persons' data keys: drawn at the first write, opened at use, revoked at once, destroyed for good.

Law: a key is random and wrapped under its bucket's key, which is in the key store only; nothing in the main database or
a backup of it opens one. A key that is in the ledger is never opened, whatever the main database says. What was
computed with a key is answered only if the key is still live in the transaction that records the answer: a revocation
that committed before it wins.
"""

import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from guard.db.engine import Tx
from guard.errors import Conflict, DoesNotOpen, KeyStoreRolledBack, NotFound, StoreDamaged, SubjectForgotten
from guard.vault import dek_store, store
from guard.vault.dek_store import DekRow
from guard.vault.envelope import KEY_ID_BYTES
from guard.vault.key_store import BucketRow, KeyStore
from guard.vault.keys import Secret
from guard.vault.shred import BUCKETS, bucket_of
from guard.vault.store import KekRow
from guard.vault.unsealing import Hierarchy
from guard.vault.wrap import WRAPPING_KEY_BYTES, Place, length_prefixed, new_key_id, unwrap, wrap

DEK_BYTES = 32
REF_BYTES = 16
ID_CANDIDATES = 64
MAX_CACHED = 65536  # opened keys, some 400 bytes each: 26 MB at most
MAX_BUCKETS = 16384  # opened bucket keys, those of four tenants: some 10 MB
MAX_PENDING = 65536  # keys that were drawn and whose first record is not durable yet
FORGOTTEN = "The key of this person is {}, so nothing opens and nothing new is sealed under it."


@dataclass(frozen=True, slots=True)
class Dek:
    """A person's data key, opened."""

    tenant: str
    dek_id: bytes
    subject_ref: bytes
    secret: Secret = field(compare=False)


class Subjects:
    """The keys of persons. Readers on any thread; what writes is called by the writer, or before it runs."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        keys: KeyStore,
        index_key: bytes,
        random: Callable[[int], bytes],
    ) -> None:
        self.keys = keys
        self.epoch = 0
        self._hierarchy = hierarchy
        self._index_key = index_key
        self._random = random
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, bytes], Dek] = OrderedDict()
        self._places: dict[bytes, tuple[str, bytes]] = {}  # reference -> where in the cache
        self._pending: OrderedDict[bytes, Dek] = OrderedDict()
        self._buckets: dict[tuple[str, int, int | None], tuple[int, BucketRow, Secret]] = {}

    def ref(self, tenant: str, subject: str) -> bytes:
        """What a person is found by: an HMAC, since a plain hash of an id could be guessed."""
        message = length_prefixed(tenant.encode()) + length_prefixed(subject.encode())
        return hmac.digest(self._index_key, message, "sha256")[:REF_BYTES]

    # use

    def to_seal(self, read: Callable[[], Tx], tenant: str, subject: str, epoch: int) -> Dek:
        """The key of a person, for new values; drawn if there is none, and stored by `settle`.

        *read* gives a transaction that was begun after `epoch` was looked at; it is not asked where the key is open.

        Raises:
            SubjectForgotten: it is revoked.
        """
        ref = self.ref(tenant, subject)
        with self._lock:
            place = self._places.get(ref)
            found = self._cache.get(place) if place else self._pending.get(ref)
        if found is not None:
            return found
        tx = read()
        row = dek_store.by_ref(tx, ref)
        if row is not None:
            return self._opened(tx, row, epoch)
        dek_id = new_key_id(self._random(ID_CANDIDATES), _Taken(tx, tenant, self.keys))
        drawn = Dek(tenant, dek_id, ref, Secret(self._random(DEK_BYTES), f"key {dek_id.hex()}"))
        with self._lock:
            drawn = self._pending.setdefault(ref, drawn)  # of two first writes at once, both use one key
            while len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
        return drawn

    def to_open(self, read: Callable[[], Tx], tenant: str, dek_id: bytes, epoch: int) -> Dek:
        """A key by its id; *read* and *epoch* as in `to_seal`.

        Raises:
            SubjectForgotten: it is revoked or destroyed.
            NotFound: this tenant never had it.
        """
        with self._lock:
            found = self._cache.get((tenant, dek_id))
            if found is not None:
                self._cache.move_to_end((tenant, dek_id))
                return found
        tx = read()
        row = dek_store.by_id(tx, tenant, dek_id)
        if row is not None:
            return self._opened(tx, row, epoch)
        entry = self.keys.shredded(dek_id)
        if entry is not None and entry.tenant == tenant:
            raise SubjectForgotten(FORGOTTEN.format("destroyed"), destroyed_us=entry.time_us)
        raise NotFound(f"There is no key with the id {dek_id.hex()} and version 1.")

    def settle(self, tx: Tx, used: Iterable[Dek], epoch: int, now_us: int) -> list[Dek]:
        """In the transaction that records a use: store keys that were drawn for it, and see that all are live still.

        Gives the keys that were stored; call `stored` with them once the transaction is durable.

        Raises:
            SubjectForgotten: one was revoked or destroyed meanwhile.
            Conflict: two first writes drew two keys, which only happens when too many persons come at once.
        """
        fresh = []
        for dek in used:
            drawn = dek.subject_ref in self._pending
            if not drawn and epoch == self.epoch:
                continue
            row = dek_store.by_ref(tx, dek.subject_ref)
            if row is None and drawn:
                fresh.append(dek)
            elif row is None or row.revoked_us is not None:
                raise SubjectForgotten(FORGOTTEN.format("destroyed" if row is None else "revoked"))
            elif row.dek_id != dek.dek_id:
                raise Conflict("Another first write of this person came first; try again.")
        for tenant in {dek.tenant for dek in fresh}:
            self._furnish(tx, tenant, now_us)
        if fresh:
            dek_store.add(tx, [self._wrapped(tx, dek, now_us) for dek in fresh], now_us)
        return fresh

    def stored(self, deks: Iterable[Dek]) -> None:
        """These keys are durable."""
        with self._lock:
            for dek in deks:
                self._pending.pop(dek.subject_ref, None)

    def flush(self, dek_id: bytes | None = None) -> None:
        """Forget opened keys, one or all; whoever computed with one before has to look again before he answers."""
        with self._lock:
            self.epoch += 1
            gone = [place for place in self._cache if dek_id in {None, place[1]}]
            for place in gone:
                self._places.pop(self._cache.pop(place).subject_ref, None)

    def _opened(self, tx: Tx, row: DekRow, epoch: int) -> Dek:
        if row.revoked_us is not None:
            raise SubjectForgotten(FORGOTTEN.format("revoked"), revoked_us=row.revoked_us)
        entry = self.keys.shredded(row.dek_id)
        if entry is not None:
            raise SubjectForgotten(FORGOTTEN.format("destroyed"), destroyed_us=entry.time_us)
        dek = Dek(row.tenant, row.dek_id, row.subject_ref, Secret(self.unwrapped(tx, row), f"key {row.dek_id.hex()}"))
        with self._lock:
            if epoch == self.epoch:  # what was read before a revocation is not kept after it
                self._cache[row.tenant, row.dek_id] = dek
                self._places[row.subject_ref] = (row.tenant, row.dek_id)
            while len(self._cache) > MAX_CACHED:
                self._places.pop(self._cache.popitem(last=False)[1].subject_ref, None)
        return dek

    # wraps

    def unwrapped(self, tx: Tx, row: DekRow) -> bytearray:
        """The key in a row."""
        bucket, secret = self._bucket(tx, row.tenant, bucket_of(row.dek_id), row.bucket_version)
        return unwrap(secret.expose(), _dek_place(bucket, row.dek_id), row.wrapped)

    def rewrapped(self, tx: Tx, row: DekRow, version: int) -> bytes:
        """The key in a row under another version of its bucket's key; opened again before it replaces anything."""
        bucket, secret = self._bucket(tx, row.tenant, bucket_of(row.dek_id), version)
        key, place = self.unwrapped(tx, row), _dek_place(bucket, row.dek_id)
        parent = secret.expose()
        wrapped = wrap(parent, place, key)
        if unwrap(parent, place, wrapped) != key:
            raise StoreDamaged(
                "Expected a key to open under its new bucket key, but it does not; nothing was replaced."
            )
        return wrapped

    def open_bucket(self, tx: Tx, row: BucketRow) -> Secret:
        """A bucket's key."""
        if row.wrapped is None:
            raise SubjectForgotten("The bucket key of this data was destroyed, as its backup is older than is kept.")
        kek = self._kek(tx, row.tenant, row.kek_version)
        secret = unwrap(self._hierarchy.open_kek(kek).expose(), _bucket_place(kek, row), row.wrapped)
        return Secret(secret, f"bucket {row.bucket} version {row.version}")

    def opens(self, tx: Tx, row: BucketRow) -> bool:
        """Whether a bucket's key opens: the database may have been put back to before its KEK was made."""
        try:
            self.open_bucket(tx, row)
        except (DoesNotOpen, StoreDamaged):
            return False
        return True

    def new_bucket(self, tx: Tx, tenant: str, bucket: int, version: int, now_us: int) -> BucketRow:
        """A version of a bucket's key, not stored yet."""
        return self.new_buckets(tx, tenant, [(bucket, version)], now_us)[0]

    def new_buckets(self, tx: Tx, tenant: str, wanted: Iterable[tuple[int, int]], now_us: int) -> list[BucketRow]:
        """Versions of buckets' keys, (bucket, version) each, under the newest KEK; not stored yet."""
        kek = self._kek(tx, tenant)
        parent, made = self._hierarchy.open_kek(kek).expose(), []
        for bucket, version in wanted:
            key_id, key = self._random(KEY_ID_BYTES), self._random(WRAPPING_KEY_BYTES)
            bare = BucketRow(tenant, bucket, version, key_id, kek.version, None, "current", now_us)
            wrapped = wrap(parent, _bucket_place(kek, bare), key)
            made.append(BucketRow(tenant, bucket, version, key_id, kek.version, wrapped, "current", now_us))
        return made

    def _wrapped(self, tx: Tx, dek: Dek, now_us: int) -> DekRow:
        number = bucket_of(dek.dek_id)
        try:
            bucket, secret = self._bucket(tx, dek.tenant, number)
        except (DoesNotOpen, StoreDamaged):  # the database was put back, to before its KEK or its tenant was made
            old = self.keys.find(dek.tenant, number)
            fresh = self.new_bucket(tx, dek.tenant, number, old.version + 1 if old else 1, now_us)
            dek_store.saw_generation(tx, self.keys.add([fresh]))
            bucket, secret = self._bucket(tx, dek.tenant, number)
        wrapped = wrap(secret.expose(), _dek_place(bucket, dek.dek_id), dek.secret.expose())
        return DekRow(dek.tenant, dek.dek_id, dek.subject_ref, wrapped, bucket.version)

    def _furnish(self, tx: Tx, tenant: str, now_us: int) -> None:
        """See that a tenant has buckets: all in one commit, or the first 4096 persons would each wait for one."""
        if (tenant, 0, None) not in self._buckets and not self.keys.has_tenant(tenant):
            wanted = [(bucket, 1) for bucket in range(BUCKETS)]
            dek_store.saw_generation(tx, self.keys.add(self.new_buckets(tx, tenant, wanted, now_us)))

    def _bucket(self, tx: Tx, tenant: str, bucket: int, version: int | None = None) -> tuple[BucketRow, Secret]:
        """A version of a bucket's key, or the one that wraps; kept open until any bucket key changes."""
        place, changes = (tenant, bucket, version), self.keys.changes
        kept = self._buckets.get(place)
        if kept is not None and kept[0] == changes:
            return kept[1], kept[2]
        row = self.keys.find(tenant, bucket, version)
        if row is None:
            raise KeyStoreRolledBack(
                f"Expected bucket {bucket} of {tenant} in the key store, but that version is not there; "
                "put its newest backup back."
            )
        secret = self.open_bucket(tx, row)
        if len(self._buckets) >= MAX_BUCKETS:
            self._buckets = {}
        self._buckets[place] = (changes, row, secret)
        return row, secret

    def _kek(self, tx: Tx, tenant: str, version: int | None = None) -> KekRow:
        found = [one for one in store.list_keks(tx, tenant) if version in {None, one.version}]
        if not found:  # it is not made here: should this transaction roll back, bucket keys would stay without theirs
            raise StoreDamaged(f"Expected a KEK of {tenant} for its bucket keys, got none; restore the last backup.")
        return max(found, key=lambda one: one.version)


class _Taken:
    """Ids of keys that live, and of those that were destroyed: an id names one key for ever."""

    def __init__(self, tx: Tx, tenant: str, keys: KeyStore) -> None:
        self._tx, self._tenant, self._keys = tx, tenant, keys

    def __contains__(self, dek_id: object) -> bool:
        assert isinstance(dek_id, bytes)
        return dek_store.by_id(self._tx, self._tenant, dek_id) is not None or self._keys.shredded(dek_id) is not None


def _bucket_place(kek: KekRow, row: BucketRow) -> Place:
    child = row.key_id + row.bucket.to_bytes(2, "big")  # so that a key moved to another bucket does not open
    return Place(row.tenant, "bucket", kek.key_id, kek.version, child, row.version)


def _dek_place(bucket: BucketRow, dek_id: bytes) -> Place:
    return Place(bucket.tenant, "subject", bucket.key_id, bucket.version, dek_id, 1)
