"""Opens the key hierarchy: custody slot -> seal secret -> system secrets, tenant KEKs -> key versions, index keys.

Law: the root key exists before the first write; whatever a slot gives back is compared with the stored check value
before anything is opened with it; a key is held in memory that is overwritten when the service is sealed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from guard.db.engine import Tx
from guard.errors import StoreDamaged
from guard.plugins import load
from guard.vault import store, suites
from guard.vault.custody import RANDOMNESS_BYTES, Slot
from guard.vault.keys import IndexKey, KeyVersion, Secret
from guard.vault.store import IndexRow, KekRow, SlotRow, VersionRow
from guard.vault.versions import State
from guard.vault.wrap import WRAPPING_KEY_BYTES, Place, key_check_value, new_key_id, unwrap, wrap

Random = Callable[[int], bytes]
SYSTEM = "system"
SEAL_ID = b"seal"
SEAL_VERSION = 1
ID_CANDIDATES = 64  # bytes drawn for one 8-byte id: eight tries
PURPOSES = dict.fromkeys(suites.BY_NAME.values(), "field") | {suites.SIV: "det", suites.FF1: "ff1"}
PURPOSES |= dict.fromkeys(suites.INGEST.values(), "seal_private")


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """The custody plugin of the first slot and its options."""

    plugin: str
    options: Mapping[str, str]


def create_slot(plan: SlotPlan, random: Random) -> Slot:
    """Make the root key of a new store; nothing is written to a database yet.

    Raises:
        AlreadyExists: there is one; attach it instead.
    """
    slot: Slot = load("vault/custody", plan.plugin).create(plan.options, random(RANDOMNESS_BYTES))
    return slot


def attach_slot(plan: SlotPlan) -> Slot:
    """Find the root key of an existing store.

    Raises:
        RootKeyMissing: it is not where the settings say.
    """
    slot: Slot = load("vault/custody", plan.plugin).attach(plan.options)
    return slot


def seal_new_store(tx: Tx, plan: SlotPlan, slot: Slot, random: Random, now_us: int) -> Secret:
    """Draw the seal secret of a new store and keep it wrapped in its first slot."""
    secret = random(WRAPPING_KEY_BYTES)
    slot_id = f"{plan.plugin}-1"
    record = json.dumps({"seal_version": SEAL_VERSION, "slot": slot_id}, sort_keys=True).encode()
    check_value = key_check_value(secret, slot_id, SEAL_VERSION)
    row = SlotRow(slot_id, plan.plugin, record, slot.wrap(record, secret), SEAL_VERSION, check_value)
    store.add_slot(tx, row, now_us)
    return Secret(secret, "seal secret")


class Hierarchy:
    """Wraps and unwraps under an open seal secret."""

    def __init__(self, seal: Secret, random: Random) -> None:
        self._seal = seal
        self._random = random

    def system_secret(self, tx: Tx, name: str, size_bytes: int, now_us: int) -> Secret:
        """The system secret *name* (32 or 64 bytes), made at its first use."""
        place = Place(SYSTEM, name, SEAL_ID, SEAL_VERSION, name.encode(), 1)
        wrapped = store.find_secret(tx, name)
        if wrapped is None:
            fresh = self._random(size_bytes)
            store.add_secret(tx, name, wrap(self._seal.expose(), place, fresh), now_us)
            return Secret(fresh, name)
        return Secret(unwrap(self._seal.expose(), place, wrapped), name)

    def new_kek(self, tx: Tx, tenant: str, now_us: int, version: int = 1) -> tuple[KekRow, Secret]:
        """Make a version of a tenant's KEK."""
        key_id = new_key_id(self._random(ID_CANDIDATES), store.taken_key_ids(tx))
        fresh = self._random(WRAPPING_KEY_BYTES)
        place = Place(tenant, "tenant", SEAL_ID, SEAL_VERSION, key_id, version)
        row = KekRow(tenant, version, key_id, wrap(self._seal.expose(), place, fresh))
        store.add_kek(tx, row, now_us)
        return row, Secret(fresh, f"KEK of {tenant}")

    def open_kek(self, row: KekRow) -> Secret:
        """A tenant's KEK."""
        place = Place(row.tenant, "tenant", SEAL_ID, SEAL_VERSION, row.key_id, row.version)
        return Secret(unwrap(self._seal.expose(), place, row.wrapped), f"KEK of {row.tenant}")

    def new_version(
        self,
        tx: Tx,
        kek: tuple[KekRow, Secret],
        name: str,
        version: int,
        suite: suites.Suite,
        now_us: int,
        state: State = State.ACTIVE,
    ) -> KeyVersion:
        """Make and store a version of a key; the caller takes its predecessor out of use."""
        row, secret = kek
        key_id = new_key_id(self._random(ID_CANDIDATES), store.taken_key_ids(tx))
        material = self._random(suite.key_bytes)
        place = version_place(row, suite, key_id, version)
        wrapped = wrap(secret.expose(), place, material)
        times = (now_us, now_us)
        stored = VersionRow(key_id, row.tenant, name, version, suite.name, state, False, row.version, wrapped, *times)
        store.add_version(tx, stored, now_us)
        return _key_version(stored, suite, material)

    def open_version(self, kek: tuple[KekRow, Secret], row: VersionRow) -> KeyVersion:
        """A stored key version, opened."""
        suite = suites.BY_NAME[row.suite]
        place = version_place(kek[0], suite, row.key_id, row.version)
        return _key_version(row, suite, unwrap(kek[1].expose(), place, row.wrapped))

    def new_index_key(self, tx: Tx, kek: tuple[KekRow, Secret], name: str, now_us: int, version: int = 1) -> IndexKey:
        """Make and store a version of an index key."""
        row, secret = kek
        material = self._random(32)
        place = index_place(row, name, version)
        wrapped = wrap(secret.expose(), place, material)
        store.add_index_key(tx, IndexRow(row.tenant, name, version, row.version, wrapped), now_us)
        return IndexKey(row.tenant, name, version, Secret(material, f"index key {name}"))

    def open_index_key(self, kek: tuple[KekRow, Secret], row: IndexRow) -> IndexKey:
        """A stored index key, opened."""
        place = index_place(kek[0], row.name, row.version)
        material = unwrap(kek[1].expose(), place, row.wrapped)
        return IndexKey(row.tenant, row.name, row.version, Secret(material, f"index key {row.name}"))

    def open_all(self, tx: Tx) -> tuple[list[KeyVersion], list[IndexKey]]:
        """Every key of the store.

        Raises:
            StoreDamaged: a key names a KEK that is not there.
            DoesNotOpen: a wrap was changed or moved.
        """
        keks = {(row.tenant, row.version): (row, self.open_kek(row)) for row in store.list_keks(tx)}
        versions, index_keys = store.list_versions(tx), store.list_index_keys(tx)
        rows: list[VersionRow | IndexRow] = [*versions, *index_keys]
        for one in rows:
            if (one.tenant, one.kek_version) not in keks:
                raise StoreDamaged(f"Key {one.name} of {one.tenant} has no KEK in the store; restore the last backup.")
        return (
            [self.open_version(keks[row.tenant, row.kek_version], row) for row in versions],
            [self.open_index_key(keks[row.tenant, row.kek_version], row) for row in index_keys],
        )


def version_place(kek: KekRow, suite: suites.Suite, key_id: bytes, version: int) -> Place:
    """Where the wrap of a key version belongs."""
    return Place(kek.tenant, PURPOSES[suite], kek.key_id, kek.version, key_id, version)


def index_place(kek: KekRow, name: str, version: int) -> Place:
    """Where the wrap of an index key belongs."""
    return Place(kek.tenant, "index", kek.key_id, kek.version, name.encode(), version)


def _key_version(row: VersionRow, suite: suites.Suite, material: bytes | bytearray) -> KeyVersion:
    secret = Secret(material, f"{row.name} version {row.version}")
    return KeyVersion(
        row.key_id,
        row.name,
        row.tenant,
        row.version,
        row.state,
        suite.id,
        secret,
        compromised=row.compromised,
        created_us=row.created_us,
        changed_us=row.changed_us,
    )
