"""The vault in memory: field policies, the keyring of the moment, and which re-encryption jobs run.

Law: readers take one reference to an immutable keyring and no lock; the writer replaces it after a commit.
"""

from collections.abc import Callable, Mapping

from guard.db.engine import Tx
from guard.errors import InvalidRequest, KeyStateConflict, PurposeRefused
from guard.vault import batches, honey_store, store
from guard.vault.formats import FormatSealer
from guard.vault.honey import KEY_BYTES, Honey
from guard.vault.index import Definition
from guard.vault.indexes import Definitions
from guard.vault.key_life import KeyLife
from guard.vault.keys import Keyring, KeyVersion, Secret
from guard.vault.policy import FieldPolicy
from guard.vault.queue import Queue
from guard.vault.sealing import Sealer
from guard.vault.suites import Random
from guard.vault.unsealing import Hierarchy

HONEY_KEY = "honey_key"
MAX_SEALERS = 4096  # fields of tenants; each binds a key and takes about 1 kB


class Vault:
    """What the operations of this room work on."""

    def __init__(self, hierarchy: Hierarchy, policies: Mapping[str, FieldPolicy], random: Random) -> None:
        self.hierarchy = hierarchy
        self._random = random
        self.policies = policies
        self.keyring = Keyring()
        self.definitions = Definitions()
        self.honey = Honey()
        self.jobs = Queue()
        self.life = KeyLife()
        self.lacking: tuple[str, ...] = ()  # tenants without a key for a field that was declared after they were made
        self._sealers: dict[tuple[str, str], tuple[Keyring, Sealer | FormatSealer, int]] = {}

    def load(self, tx: Tx) -> None:
        """Open every key of the store, and remember which jobs run."""
        versions, index_keys = self.hierarchy.open_all(tx)
        self.life.load(tx)
        self.keyring = Keyring([*versions, *self.life.destroyed(tx)], index_keys)
        for tenant, view in store.open_jobs(tx):
            self.jobs.put(tenant, view)
        if store.find_secret(tx, HONEY_KEY) is not None:
            self.honey = Honey(self.honey_key(tx, 0), honey_store.marks(tx))
        wanted = {("key", name) for policy in self.policies.values() for name in policy.keys}
        wanted |= {("index", name) for policy in self.policies.values() for name in policy.index_keys}
        held = {(one.tenant, "key", one.name) for one in versions} | {(o.tenant, "index", o.index) for o in index_keys}
        tenants = sorted({tenant for tenant, _, _ in held})
        self.lacking = tuple(one for one in tenants if any((one, *name) not in held for name in wanted))
        self.definitions.load(tx, self.declared, index_keys)

    @property
    def declared(self) -> dict[str, Definition]:
        """The blind indexes that the field policy declares, by their whole names."""
        return {one.key_name: one for policy in self.policies.values() for one in policy.indexes}

    def policy(self, field: str) -> FieldPolicy:
        """The policy of a field.

        Raises:
            InvalidRequest: there is none.
        """
        found = self.policies.get(field)
        if found is None:
            raise InvalidRequest(f"Expected a field of the field policy, got {field}; see guard fields list.")
        return found

    def policy_for(self, field: str, purpose: str) -> FieldPolicy:
        """The policy of a field that allows *purpose*.

        Raises:
            PurposeRefused: the field's policy does not name this purpose.
        """
        found = self.policy(field)
        if purpose not in found.purposes:
            allowed = ", ".join(sorted(found.purposes))
            raise PurposeRefused(f"Expected one of the purposes {allowed} for {field}, got {purpose}; correct it.")
        return found

    def sealer(self, tenant: str, policy: FieldPolicy) -> tuple[Sealer | FormatSealer, int]:
        """What seals a field's new values now, and the key version it uses; made once per keyring.

        Raises:
            NotFound: the tenant has no such key.
            KeyStateConflict: no version of it may encrypt, or the policy has declared another suite since.
        """
        ring = self.keyring
        kept = self._sealers.get((tenant, policy.name))
        if kept is None or kept[0] is not ring:
            key = ring.active(tenant, policy.key)
            if key.suite is not policy.suite:  # or a column would show which rows are equal although the policy forbids
                raise KeyStateConflict(
                    f"Expected the key {policy.key} to have the suite that {policy.name} declares; rotate the key."
                )
            names = batches.binding(policy)
            made = self._made(key, policy, names)
            if len(self._sealers) >= MAX_SEALERS:
                self._sealers.clear()
            kept = self._sealers[tenant, policy.name] = (ring, made, key.version)
        return kept[1], kept[2]

    def _made(self, key: KeyVersion, policy: FieldPolicy, names: tuple[str, ...]) -> Sealer | FormatSealer:
        shared = batches.shared(key.tenant, policy)
        if policy.format is not None:
            return FormatSealer(policy.format, key, shared, names)
        return Sealer(key, shared, names, portable=policy.portable, pad_step=policy.pad_step, random=self._random)

    def change(self, how: Callable[[Keyring], Keyring]) -> None:
        """Replace the keyring; called after a commit by the writer only."""
        self.keyring = how(self.keyring)
        self._sealers = {}  # they bind keys of the keyring that went

    def honey_key(self, tx: Tx, now_us: int) -> Secret:
        """The key that marks what is planted; made when something is planted first."""
        return self.hierarchy.system_secret(tx, HONEY_KEY, KEY_BYTES, now_us)

    def watch(self, honey: Honey) -> None:
        """Watch what is planted now; called after a commit by the writer only."""
        self.honey = honey

    def wipe(self) -> None:
        """Overwrite every data and index key; whoever still holds one gets the error Sealed."""
        self._sealers = {}
        self.honey = Honey()
        for one in self.keyring.materials():
            one.wipe()

    def due(self, now_us: int) -> list[tuple[str, Mapping[str, object]]]:
        """(tenant, request) of every re-encryption job whose turn it is, for the worker."""
        return self.jobs.due(now_us)
