"""Forgetting persons, as the service holds it: whom to ask about holds, who signs receipts, and what is due when.

Law: what is due is known to the two stores; what is held in memory is only when to look, so a restart forgets nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

from guard.catalogue import PLATFORM
from guard.db.engine import Tx
from guard.errors import KeyStoreRolledBack
from guard.settings import Settings
from guard.vault import dek_store
from guard.vault.dek_store import ForgetRow
from guard.vault.deks import Subjects
from guard.vault.key_store import KeyStore
from guard.vault.remains import Remains
from guard.vault.rewraps import Rewraps
from guard.vault.shred import LedgerEntry, Stage, Terms, bucket_of, check_chain, unrecoverable_us
from guard.vault.unsealing import Hierarchy, Random

LOOK_US = 60_000_000  # between two looks at what is due
HELD_US = 86_400_000_000  # between two tries at what a hold forbids; each leaves a record
MAX_DUE = 64
INDEX_KEY = "subject_index_key"

Held = Callable[[Tx, str, str], str | None]
"""`held(tx, tenant, subject)`: the id of a legal hold that covers a person."""


Read = Callable[[], AbstractContextManager[Tx]]
"""`with read() as tx`: a read transaction on the main database."""


class Signer(Protocol):
    """Signs receipts: the log, which the vault does not know."""

    origin: str

    def sign(self, text: str) -> bytes:
        """A signed note over *text*."""
        ...


class Forgetting:
    """What the operations on forgetting work on."""

    def __init__(self, subjects: Subjects, terms: Terms, read: Read, remains: Remains) -> None:
        self.subjects = subjects
        self.terms = terms
        self.remains = remains
        self.rewraps = Rewraps(read, subjects.keys, terms.main_us)
        self.replayed: list[str] = []
        self._read = read
        self._look_us = self._buckets_us = self._ledger_us = 0
        self._postponed: dict[str, int] = {}
        self.held: Held
        self.signer: Signer

    def attach(self, held: Held, signer: Signer) -> None:
        """What other rooms know; handed over, since no room knows another."""
        self.held, self.signer = held, signer

    def close(self) -> None:
        """Close the key store."""
        self.subjects.keys.close()

    def look(self) -> None:
        """Something changed: look at the next beat."""
        self._look_us = self._buckets_us = 0

    def postpone(self, forget: str, now_us: int) -> None:
        """A hold forbids the next stage; try again later."""
        self._postponed[forget] = now_us + HELD_US

    def due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Which requests to carry on now."""
        if now_us < self._look_us:
            return []
        with self._read() as tx:
            rows = dek_store.due(tx, now_us, MAX_DUE)
            rows += [row for row in dek_store.unrotated(tx, MAX_DUE) if rotated_at(self.subjects.keys, row) is not None]
        rows = [row for row in rows if self._postponed.get(row.id, 0) <= now_us]
        if not rows:
            self._look_us = now_us + LOOK_US
        return [(row.tenant, {"forget": row.id}) for row in rows]

    def buckets_due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Which buckets to rotate, to go on rotating, or to destroy an old key of."""
        if now_us < self._buckets_us:
            return []
        keys = self.subjects.keys
        places = set(keys.dirty(now_us - self.terms.cycle_us, MAX_DUE))
        # A rewrap turns all buckets of a tenant itself: a record each thousand keys, and not each bucket.
        own = [*keys.in_state("retiring", now_us, MAX_DUE)]
        own += keys.in_state("retired", now_us - self.terms.main_us, MAX_DUE)
        places |= {(row.tenant, row.bucket) for row in own if not self.rewraps.going(row.tenant)}
        if not places:
            self._buckets_us = now_us + LOOK_US
        return [(tenant, {"bucket": bucket}) for tenant, bucket in sorted(places)]

    def replays_due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Whether entries of the ledger are not applied, or were at the start and no record tells of it yet."""
        if not self.replayed and now_us >= self._ledger_us:
            self._ledger_us = now_us + LOOK_US
            with self._read() as tx:
                behind = dek_store.known(tx)[2].seq < self.subjects.keys.size()
            return [(PLATFORM, {})] if behind else []
        return [(PLATFORM, {})] if self.replayed else []


def open_forgetting(
    tx: Tx, hierarchy: Hierarchy, settings: Settings, read: Read, random: Random, at_us: int
) -> Forgetting:
    """Open the key store, hold it against the database, and apply what its ledger has more; nothing is served before.

    Raises:
        KeyStoreRolledBack: it is older than the database, another one, or gone.
        StoreDamaged: it cannot be read.
    """
    keys = KeyStore(settings.key_store)
    index_key = bytes(hierarchy.system_secret(tx, INDEX_KEY, 32, at_us).expose())
    days = (settings.forget_days, settings.backup_hours, settings.database_backup_days, settings.key_backup_days)
    remains = Remains(unsure=dek_store.ended(tx))
    made = Forgetting(Subjects(hierarchy, keys, index_key, random), Terms.of(*days), read, remains)
    with ExitStack() as undo:
        undo.callback(keys.close)
        check_key_store(tx, keys, random)
        made.replayed = replay(tx, made)
        if made.replayed:
            remains.left()
        undo.pop_all()  # from here on whoever asked closes it
    return made


def check_key_store(tx: Tx, keys: KeyStore, random: Random) -> None:
    """See that this is the key store of the database, and no older than the database.

    Raises:
        KeyStoreRolledBack: it is not.
    """
    known, generation, applied = dek_store.known(tx)
    if known and not keys.path.exists():
        raise KeyStoreRolledBack(
            f"Expected the key store of this database at {keys.path}, got none; put its newest backup back."
        )
    identity = keys.open(random)
    if known not in {"", identity}:
        raise KeyStoreRolledBack(
            f"Expected the key store of this database at {keys.path}, got that of another; put the right one there."
        )
    check_chain(keys.entries(), applied)
    if keys.generation < generation:
        raise KeyStoreRolledBack(
            "Expected a key store as new as the database, but bucket keys that the database uses are not in it; an "
            "older key store was put back. Put back the newest one.",
            applied=generation,
            found=keys.generation,
        )
    if not known:
        dek_store.adopt(tx, identity)


def replay(tx: Tx, forgetting: Forgetting) -> list[str]:
    """Apply the ledger's entries that the database has not seen; the ids of their keys."""
    keys = forgetting.subjects.keys
    entries = list(keys.entries(dek_store.known(tx)[2].seq))
    for entry in entries:
        dek_store.destroy(tx, entry.tenant, bytes.fromhex(entry.dek_id))
        known = dek_store.find_forget(tx, entry.tenant, entry.request)
        if known is None:
            # The backup is older than the request: what the ledger holds of it comes back, and no name.
            made = ForgetRow(
                entry.request, entry.tenant, bytes.fromhex(entry.dek_id), None, "", "ledger", entry.time_us
            )
            dek_store.add_forget(tx, destroyed(made, entry))
        else:
            dek_store.write_forget(tx, destroyed(known, entry))
    if entries:
        dek_store.applied(tx, entries)
        forgetting.subjects.flush()
    return [entry.dek_id for entry in entries]


def destroyed(row: ForgetRow, entry: LedgerEntry) -> ForgetRow:
    """A request whose key the ledger says is destroyed; the person's id goes with it."""
    return ForgetRow(
        row.id,
        row.tenant,
        row.dek_id,
        None,
        Stage.DESTROYED.value,
        row.requested_by,
        row.requested_us,
        row.approved_by,
        row.due_us,
        entry.time_us,
        entry.bucket_version,
        entry.seq,
        entry.hash,
    )


def rotated_at(keys: KeyStore, row: ForgetRow) -> int | None:
    """Since when no row of the database is under the bucket key that wrapped a destroyed key."""
    old = keys.find(row.tenant, bucket_of(row.dek_id), row.bucket_version)
    return old.changed_us if old is not None and old.state in {"retired", "destroyed"} else None


def noise_from(keys: KeyStore, row: ForgetRow, rotated_us: int, terms: Terms) -> tuple[bool, int]:
    """Whether the bucket key is destroyed here too, and from when no backup of it is left, as the times say."""
    old = keys.find(row.tenant, bucket_of(row.dek_id), row.bucket_version)
    if old is not None and old.state == "destroyed":
        return True, old.changed_us + terms.keys_us
    return False, unrecoverable_us(rotated_us, terms)
