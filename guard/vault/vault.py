"""The vault in memory: field policies, the keyring of the moment, and which re-encryption jobs run.

Law: readers take one reference to an immutable keyring and no lock; the writer replaces it after a commit.
"""

from collections.abc import Callable, Mapping

from guard.db.engine import Tx
from guard.errors import InvalidRequest, PurposeRefused
from guard.vault import store
from guard.vault.keys import Keyring
from guard.vault.policy import FieldPolicy
from guard.vault.unsealing import Hierarchy


class Vault:
    """What the operations of this room work on."""

    def __init__(self, hierarchy: Hierarchy, policies: Mapping[str, FieldPolicy]) -> None:
        self.hierarchy = hierarchy
        self.policies = policies
        self.keyring = Keyring()
        self.running: dict[str, str] = {}  # job -> tenant

    def load(self, tx: Tx) -> None:
        """Open every key of the store, and remember which jobs run."""
        versions, index_keys = self.hierarchy.open_all(tx)
        self.keyring = Keyring(versions, index_keys)
        self.running = {job: tenant for tenant, job in store.running_jobs(tx)}

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

    def change(self, how: Callable[[Keyring], Keyring]) -> None:
        """Replace the keyring; called after a commit by the writer only."""
        self.keyring = how(self.keyring)

    def start(self, job: str, tenant: str) -> None:
        """A job runs from now on."""
        self.running = {**self.running, job: tenant}

    def stop(self, job: str) -> None:
        """A job runs no more."""
        self.running = {other: tenant for other, tenant in self.running.items() if other != job}

    def due(self, _now_us: int) -> list[tuple[str, Mapping[str, str]]]:
        """(tenant, request) of every running job, for the worker."""
        return [(tenant, {"job": job}) for job, tenant in self.running.items()]
