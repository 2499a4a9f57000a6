"""The loop that copies the log into a bucket: portion after portion, then looks at what is there; a thread of its own.

Law: a bucket that does not answer is tried again later and later, and holds up neither a request nor another loop.
"""

from collections.abc import Callable
from typing import Any

from guard.audit import anchor_store
from guard.audit.copies import LONGEST_PAUSE, Copies

IDLE_SECONDS = 1.0
LOOK_EVERY = 10  # idle seconds: a hundred objects each, so those of 100 million records have their turn in a day

Call = Callable[[str], Any]


class Copier:
    """Calls the operations; *call* runs one through the gate."""

    def __init__(self, call: Call, copies: Copies, serving: Callable[[], bool]) -> None:
        self._call, self._copies, self._serving = call, copies, serving
        self._idle = 0

    def step(self) -> float:
        """Copy a portion or look at a group; the seconds to wait before the next step."""
        if not self._serving():
            return IDLE_SECONDS
        answer = self._call("log.copy")
        if answer.more:
            return 0.0
        if answer.alarm:
            anchor_store.say("alarm", operation="log.copy", alarm=answer.alarm)
            return self._copies.pause_seconds if self._copies.failing else LONGEST_PAUSE
        self._idle += 1
        if self._copies.failing or self._idle % LOOK_EVERY == 0:
            found = self._call("copies.look")
            if found.alarm:
                anchor_store.say("alarm", operation="copies.look", alarm=found.alarm)
        return self._copies.pause_seconds if self._copies.failing else IDLE_SECONDS
