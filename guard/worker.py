"""The loops: checkpoints, open intents, re-encryption, runs that are due. Each goes through the gate.

Law: APScheduler is the heartbeat only; what is due is known to the rooms, whose truth is in the store, so a missed or
doubled beat loses and repeats nothing. A loop that fails is logged and beats again.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from guard.catalogue import PLATFORM, Actor, Effect
from guard.errors import GuardError
from guard.gate import Gate

Due = Callable[[int], Iterable[tuple[str, Mapping[str, Any]]]]
"""`due(now_us)`: the tenants and requests for which an operation is to be called now."""

AGAIN_SECONDS = 5.0  # after a step that failed without knowing why
STOP_SECONDS = 5.0  # for a step under way when the worker stops; its thread ends with the process
STANDING = "GRD-STAND-"  # how the service stands is told when it changes, and not at every beat
MAX_PER_BEAT = 64  # calls of one loop per beat, so that the loops take turns

log = structlog.get_logger(__name__)


class Lone(NamedTuple):
    """A loop with a thread of its own."""

    thread: threading.Thread
    release: Callable[[], None]


class Worker:
    """Runs the loops of one process."""

    def __init__(
        self,
        gate: Gate,
        clock: Callable[[], int],
        heartbeat_milliseconds: int,
        serving: Callable[[], bool] = lambda: True,
    ) -> None:
        self._gate = gate
        self._serving = serving
        self._clock = clock
        self._seconds = heartbeat_milliseconds / 1000
        self._scheduler = BackgroundScheduler(timezone="UTC")
        self._beats = 0
        self._ended = threading.Event()
        self._lone: list[Lone] = []

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

    def alone(self, name: str, step: Callable[[], float], release: Callable[[], None]) -> None:
        """Call *step* in a thread of its own, again and again, each time after the seconds that it returned.

        For loops that wait for other machines: in the pool of the others, those that stand still would hold it all.
        *release* makes a step that waits end; it is called when the worker stops.
        """
        thread = threading.Thread(target=self._repeat, args=(name, step), name=f"guard-{name}", daemon=True)
        self._lone.append(Lone(thread, release))

    def start(self) -> None:
        """Start beating."""
        self._scheduler.start()
        for one in self._lone:
            one.thread.start()

    def stop(self) -> None:
        """End after the calls under way."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        self._ended.set()
        for one in self._lone:
            one.release()
        for one in self._lone:
            if one.thread.ident is not None:
                one.thread.join(STOP_SECONDS)

    def beat(self, operation: str, due: Due) -> int:
        """One beat of one loop; the number of calls that succeeded.

        While the service does not serve, loops rest whose work would be refused: an external one acts before it is.
        """
        declared = self._gate.operations[operation]
        if declared.effect in {Effect.WRITE, Effect.EXTERNAL} and not declared.vital and not self._serving():
            return 0
        try:
            wanted = list(islice(due(self._clock()), MAX_PER_BEAT))
        except Exception as error:  # the scheduler would log the text
            log.error("loop_failed", operation=operation, kind=type(error).__name__)  # noqa: TRY400  see above
            return 0
        return sum(self._call(operation, tenant, request) for tenant, request in wanted)

    def _repeat(self, name: str, step: Callable[[], float]) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            try:
                pause = step()
            except GuardError as error:
                pause = AGAIN_SECONDS
                if not error.code.startswith(STANDING):
                    log.warning("loop_refused", loop=name, code=error.code, detail=error.detail)
            except Exception as error:  # as in a beat
                pause = AGAIN_SECONDS
                log.error("loop_failed", loop=name, kind=type(error).__name__)  # noqa: TRY400  see above

    def _call(self, operation: str, tenant: str, request: Mapping[str, Any]) -> int:
        self._beats += 1
        actor = Actor("system:worker", tenant, "system")
        try:
            answer = self._gate.call_named(operation, request, actor, f"beat_{self._beats}")
        except GuardError as error:
            if not error.code.startswith(STANDING):
                log.warning("loop_refused", operation=operation, tenant=tenant, code=error.code, detail=error.detail)
            return 0
        except Exception as error:  # a loop must beat on; the text could hold a value
            log.error("loop_failed", operation=operation, tenant=tenant, kind=type(error).__name__)  # noqa: TRY400  see above
            return 0
        if alarm := getattr(answer, "alarm", ""):
            log.error("alarm", operation=operation, tenant=tenant, alarm=alarm)
        return 1


def always(_now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Due at every beat, once, for the platform."""
    return [(PLATFORM, {})]
