"""Which tenants' keys are being put under another KEK, and what of that is left; read from the two stores.

Law: what is held in memory is only when to look, so a restart goes on where a rewrap stood.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from guard.db.engine import Tx
from guard.vault import rewrap_store, store
from guard.vault.key_store import KeyStore

LOOK_US: Final = 60_000_000  # between two looks at whether an old KEK has become free
CURRENT, RETIRING, RETIRED = "bucket_keys", "retiring_bucket_keys", "retired_bucket_keys"
_STATES: Final = {"current": CURRENT, "retiring": RETIRING, "retired": RETIRED}

Count = tuple[str, int, int]
"""What, the version of the KEK that it is under, and how many."""


def census(tx: Tx, keys: KeyStore, tenant: str) -> list[Count]:
    """Every wrap under a KEK of a tenant, in both stores."""
    in_buckets = [(_STATES[state], version, count) for state, version, count in keys.count_by_kek(tenant)]
    return sorted(rewrap_store.counts(tx, tenant) + in_buckets)


def left(counts: Iterable[Count], newest: int) -> int:
    """How many wraps are still to be moved, the versions of buckets that retire among them."""
    return sum(n for what, at, n in counts if what == RETIRING or (what != RETIRED and at != newest))


def free(counts: Iterable[Count], versions: Iterable[int], newest: int) -> list[int]:
    """Older KEKs under which nothing is left."""
    used = {version for _, version, _ in counts} | {newest}
    return [version for version in versions if version not in used]


class Rewraps:
    """When to go on, and for whom. The writer puts, the worker asks."""

    def __init__(self, read: Callable[[], AbstractContextManager[Tx]], keys: KeyStore, main_us: int) -> None:
        self._read = read
        self._keys = keys
        self._main_us = main_us  # how long backups of the main database need a bucket's old key
        self._going: frozenset[str] = frozenset()
        self._next: frozenset[str] = frozenset()  # those whose last step was done; one that failed waits for a look
        self._look_us = 0

    def put(self, tenant: str, *, going: bool) -> None:
        """A tenant's rewrap goes on, or does not."""
        self._going = self._going | {tenant} if going else self._going - {tenant}
        self._next = self._next | {tenant} if going else self._next - {tenant}

    def going(self, tenant: str) -> bool:
        """Whether a rewrap moves the keys of this tenant now, buckets too."""
        return tenant in self._going

    def due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Which tenants' rewraps to go on with now."""
        if now_us >= self._look_us:
            self._look_us = now_us + LOOK_US
            with self._read() as tx:
                self._next |= {tenant for tenant in rewrap_store.tenants(tx) if self._unfinished(tx, tenant, now_us)}
                self._going |= self._next
        wanted, self._next = self._next, frozenset()
        return [(tenant, {}) for tenant in sorted(wanted)]

    def _unfinished(self, tx: Tx, tenant: str, now_us: int) -> bool:
        versions = [row.version for row in store.list_keks(tx, tenant)]
        counts = census(tx, self._keys, tenant)
        if left(counts, versions[-1]) or free(counts, versions, versions[-1]):
            return True
        return bool(self._keys.of_tenant(tenant, "retired", now_us - self._main_us, 1))
