"""The loops: checkpoints, open intents, re-encryption, runs that are due. Each goes through the gate.

Law: APScheduler is the heartbeat only; what is due is known to the rooms, whose truth is in the store, so a missed or
doubled beat loses and repeats nothing. A loop that fails is logged and beats again.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from guard.catalogue import PLATFORM, Actor
from guard.errors import GuardError
from guard.gate import Gate

Due = Callable[[int], Iterable[tuple[str, Mapping[str, Any]]]]
"""`due(now_us)`: the tenants and requests for which an operation is to be called now."""

STANDING = "GRD-STAND-"  # how the service stands is told when it changes, and not at every beat
MAX_PER_BEAT = 64  # calls of one loop per beat, so that the loops take turns

log = structlog.get_logger(__name__)


class Worker:
    """Runs the loops of one process."""

    def __init__(self, gate: Gate, clock: Callable[[], int], heartbeat_milliseconds: int) -> None:
        self._gate = gate
        self._clock = clock
        self._seconds = heartbeat_milliseconds / 1000
        self._scheduler = BackgroundScheduler(timezone="UTC")
        self._beats = 0

    def every(self, seconds: float, operation: str, due: Due) -> None:
        """Call *operation* for whatever is due, every *seconds* (at least one heartbeat)."""
        self._scheduler.add_job(
            self.beat,
            "interval",
            seconds=max(seconds, self._seconds),
            args=(operation, due),
            id=operation,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    def start(self) -> None:
        """Start beating."""
        self._scheduler.start()

    def stop(self) -> None:
        """End after the calls under way."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def beat(self, operation: str, due: Due) -> int:
        """One beat of one loop; the number of calls that succeeded."""
        try:
            wanted = list(islice(due(self._clock()), MAX_PER_BEAT))
        except Exception as error:  # the scheduler would log the text
            log.error("loop_failed", operation=operation, kind=type(error).__name__)  # noqa: TRY400  see above
            return 0
        return sum(self._call(operation, tenant, request) for tenant, request in wanted)

    def _call(self, operation: str, tenant: str, request: Mapping[str, Any]) -> int:
        self._beats += 1
        actor = Actor("system:worker", tenant, "system")
        try:
            self._gate.call_named(operation, request, actor, f"beat_{self._beats}")
        except GuardError as error:
            if not error.code.startswith(STANDING):
                log.warning("loop_refused", operation=operation, tenant=tenant, code=error.code, detail=error.detail)
            return 0
        except Exception as error:  # a loop must beat on; the text could hold a value
            log.error("loop_failed", operation=operation, tenant=tenant, kind=type(error).__name__)  # noqa: TRY400  see above
            return 0
        return 1


def always(_now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Due at every beat, once, for the platform."""
    return [(PLATFORM, {})]
