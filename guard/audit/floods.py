"""Refused log-ins above the rate of their source, counted until they are recorded: one record for a source and second.

Law: a flood of bad credentials must not fill the log, and none of it may go uncounted. Below the rate each refusal has
a record of its own before its answer; above it only the count has, within the next second. What a killed process
had counted in its last second is lost with it. Sources that no longer fit are counted together. No I/O.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from guard.catalogue import PLATFORM

SECOND_US = 1_000_000
MAX_SOURCES = 1024  # waiting to be recorded; a botnet has more
PER_BEAT = 64
OTHERS = "others"


class Floods:
    """Counts by second and source. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, str]] = Counter()

    def add(self, peer: str, now_us: int) -> None:
        """One more refusal of *peer*."""
        second = now_us // SECOND_US * SECOND_US
        with self._lock:
            known = (second, peer) in self._counts or len(self._counts) < MAX_SOURCES
            self._counts[(second, peer if known else OTHERS)] += 1

    def due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """`refusals.merge`, for each source of a second that is over; of a clock that went back too."""
        second = now_us // SECOND_US * SECOND_US
        with self._lock:
            over = [one for one in self._counts.items() if one[0][0] != second][:PER_BEAT]
        return [(PLATFORM, {"second_us": at, "peer": peer, "count": count}) for (at, peer), count in over]

    def told(self, second_us: int, peer: str, count: int) -> None:
        """So many of them are on record."""
        with self._lock:
            self._counts[(second_us, peer)] -= count
            self._counts = +self._counts
