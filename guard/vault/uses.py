"""How often each key version sealed and when it last opened a value, counted in memory and stored now and then.

Law: counts never fall, and are read by those who decide over rotation and retirement. A crash loses what was counted
since the last store, a few seconds; every limit that is decided by these counts is far above what fits into that time.
"""

import threading
from collections.abc import Iterable

from guard.vault.envelope import SuiteId
from guard.vault.version_store import Use

ROTATE_AT = {SuiteId.CBL256: 1 << 55, SuiteId.XAES: 1 << 62, SuiteId.SIV: 1 << 48, SuiteId.GCM96: 1 << 31}
"""Values after which a version of each suite is replaced; XAES has room for 2^80, and a count has 63 bits."""
DEFAULT_LIMIT = 1 << 48
STORE_US = 5_000_000  # between two stores while a service works
READ_STEP_US = 60_000_000  # a later reading within this time is no news

Place = tuple[str, str, int]


class Uses:
    """Counts by tenant, key name and version."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sealed: dict[Place, int] = {}
        self._opened: dict[Place, int] = {}
        self._changed: set[Place] = set()
        self._stored_us = 0

    def load(self, stored: Iterable[Use]) -> None:
        """Take over what was stored."""
        for one in stored:
            place = (one.tenant, one.name, one.version)
            self._sealed[place], self._opened[place] = one.sealed, one.opened_us

    def seal(self, place: Place, values: int) -> None:
        """Count values that a version sealed."""
        with self._lock:
            self._sealed[place] = self._sealed.get(place, 0) + values
            self._changed.add(place)

    def open(self, place: Place, now_us: int) -> None:
        """Note that a version opened a value for a caller."""
        if now_us - self._opened.get(place, 0) >= READ_STEP_US:
            with self._lock:
                self._opened[place] = now_us
                self._changed.add(place)

    def sealed(self, place: Place) -> int:
        """How many values a version sealed."""
        return self._sealed.get(place, 0)

    def opened_us(self, place: Place) -> int:
        """When a version last opened a value for a caller, a minute at most too early; 0: never."""
        return self._opened.get(place, 0)

    def due(self, now_us: int) -> bool:
        """Whether there is something to store."""
        return bool(self._changed) and now_us - self._stored_us >= STORE_US

    def take(self, now_us: int) -> list[Use]:
        """What changed since the last store; give it back with `again` where storing failed."""
        with self._lock:
            changed, self._changed, self._stored_us = self._changed, set(), now_us
        return [Use(*place, self.sealed(place), self.opened_us(place)) for place in sorted(changed)]
