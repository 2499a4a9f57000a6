"""When time-stamps and copies are due, and what the watch found. No I/O.

Law: a checkpoint goes out at most once in the minutes that the settings name, since each going out is two records, and
records ask for the next checkpoint. A failure waits a minute and is tried again. All of it is lost at a restart, at no
greater cost than one more time-stamp.
"""

from collections.abc import Mapping
from typing import Any

from guard.catalogue import PLATFORM

MINUTE_US = 60_000_000
RETRY_US = MINUTE_US


class Rounds:
    """What is due. `minutes` names each kind of going out; `size` is told the log's size."""

    def __init__(self, minutes: Mapping[str, int]) -> None:
        self._minutes = minutes
        self._next_us = dict.fromkeys(minutes, 0)
        self._done = dict.fromkeys(minutes, -1)
        self.room_again = False

    def done(self, kind: str, size: int) -> None:
        """The checkpoint of this size went out."""
        self._done[kind] = size
        if kind in self._minutes:
            self._next_us[kind] += self._minutes[kind] * MINUTE_US - RETRY_US

    def due(self, kind: str, now_us: int, size: int) -> bool:
        """Whether it is time, and there is something new; counts as a try."""
        # A pause longer than any there is comes of a clock that was set back meanwhile.
        paused = 0 < self._next_us[kind] - now_us <= self._minutes[kind] * MINUTE_US + RETRY_US
        if paused or size <= self._done[kind]:
            return False
        self._next_us[kind] = now_us + RETRY_US
        return True

    def stamps(self, now_us: int, size: int) -> list[tuple[str, Mapping[str, Any]]]:
        """The authorities to ask now."""
        kinds = [kind for kind in self._minutes if kind.startswith("rfc3161:") and self.due(kind, now_us, size)]
        return [(PLATFORM, {"authority": kind.partition(":")[2]}) for kind in kinds]

    def copies(self, now_us: int, size: int) -> list[tuple[str, Mapping[str, Any]]]:
        """Whether to copy now."""
        return [(PLATFORM, {})] if "worm" in self._minutes and self.due("worm", now_us, size) else []

    def resumption(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Whether to go on after a full disk."""
        return [(PLATFORM, {})] if self.room_again else []
