"""Sends the log on to sinks as it grows: one stream a sink, each in a thread of its own.

Law: at least once and in the order of the index. A cursor moves after the acknowledgement; what was sent again is
counted. A stream holds no transaction and no lock while it sends, so a receiver that stands still delays no request.
It goes through the gate like everybody: `call` runs an operation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from guard import plugins
from guard.audit.row import Row
from guard.audit.sinks import Connection, lost
from guard.errors import InvalidSetting, SinkUnavailable
from guard.settings import Sink

FOLDER = "audit/sinks"
POLL_SECONDS = 0.5  # how late a record is at most where nothing else is
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0  # below a minute, so that a sink that is back is noticed within one
KEEP_BATCHES = 8  # acknowledged before the cursor is written: a crash repeats at most so many
REPORT_US = 10_000_000  # a sink that comes and goes leaves at most one record in ten seconds, which it gets in turn
ALARM_US = 60_000_000  # a late sink is told of once a minute

Call = Callable[[str, Mapping[str, Any]], Any]

log = structlog.get_logger(__name__)


def check(sinks: Sequence[Sink]) -> None:
    """Look at the declared sinks before anything is opened.

    Raises:
        InvalidSetting: no such plugin, an option missing, of no use, or of the wrong form.
    """
    for plan in sinks:
        module = plugins.load(FOLDER, plan.plugin)
        given = {name for name in ("address", "path", "ca_file", "token_file") if getattr(plan, name)}
        if not module.TAKES <= given <= module.TAKES | module.MAY_TAKE:
            wanted = ", ".join(sorted(module.TAKES)) + "".join(f" (or {one})" for one in sorted(module.MAY_TAKE))
            raise InvalidSetting(
                f"Expected {wanted} for the sink {plan.name}, got {', '.join(sorted(given)) or 'nothing'}; correct it."
            )
        module.check(plan)


class Stream:
    """The delivery to one sink. `step` is called by one thread, `release` by any."""

    def __init__(self, plan: Sink, call: Call) -> None:
        self.plan = plan
        self.failures = 0
        self.last_error = ""
        self._module = plugins.load(FOLDER, plan.plugin)
        self._call = call
        self._connection: Connection | None = None
        self._released = False
        self._kept: int | None = None  # the cursor as it is stored; None: to be read
        self._next = 0
        self._batches = 0  # acknowledged since it was stored
        self._state = self._told = ""
        self._told_us = 0

    def step(self) -> float:
        """Deliver what is next, if anything is; the seconds to wait before the next step."""
        batch = self._call("sinks.pull", {"sink": self.plan.name, "first": None if self._kept is None else self._next})
        if self._kept is None:
            self._kept = self._next = batch.first
        if not batch.entries:
            self._tell(batch.now_us)
            return POLL_SECONDS
        rows = [Row.of(batch.first + at, entry.encode()) for at, entry in enumerate(batch.entries)]
        try:
            self._send(rows)
        except SinkUnavailable as error:
            pause = self._fail(error)
            self._tell(batch.now_us)
            return pause
        self._succeed(rows)
        if not batch.more or self._batches >= KEEP_BATCHES:
            self._keep(self._next)
        self._tell(batch.now_us)
        return 0 if batch.more else POLL_SECONDS

    def release(self) -> None:
        """Close the connection; a step under way ends."""
        self._released = True
        connection = self._connection
        if connection is not None:
            connection.close()

    def _send(self, rows: Sequence[Row]) -> None:
        if self._connection is None:
            self._connection = self._module.connect(self.plan, rows[0].index)
        taken = self._connection.send(rows)
        if taken != len(rows):
            raise lost(f"{taken} of {len(rows)} records acknowledged")

    def _succeed(self, rows: Sequence[Row]) -> None:
        self._next = rows[-1].index + 1
        self._batches += 1
        self.failures, self.last_error = 0, ""
        self._state = "connected"

    def _fail(self, error: SinkUnavailable) -> float:
        connection, self._connection = self._connection, None
        back = self._next
        if connection is not None:
            if not self._released and connection.doubtful is not None:
                back = min(back, connection.doubtful)
            connection.close()
        self._keep(back)
        if self._released:
            return 0
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(self.failures, 16), MAX_PAUSE_SECONDS)
        self.failures += 1
        self.last_error = str(error.extra.get("cause", ""))
        self._state = "lost"
        log.warning("sink_failed", sink=self.plan.name, cause=self.last_error, failures=self.failures, again=pause)
        return pause

    def _keep(self, back: int) -> None:
        """Store the cursor: what was acknowledged, and where to go on."""
        self._batches = 0
        kept, reached, self._next = self._kept, self._next, back
        if kept is None or (reached == kept == back):
            return
        self._kept = None  # until it is known to be stored: after an error it is read again
        move = {"first": kept, "next": reached, "back": back, "count": reached - kept}
        self._call("sinks.move", {"sink": self.plan.name, **move})
        self._kept = back

    def _tell(self, now_us: int) -> None:
        """One record for a sink that was reached or lost."""
        if self._state == self._told or now_us < self._told_us + REPORT_US:
            return
        facts = {"state": self._state, "next": self._next, "failures": self.failures, "error": self.last_error[:64]}
        self._call("sinks.report", {"sink": self.plan.name, **facts})
        self._told, self._told_us = self._state, now_us


@dataclass(frozen=True, slots=True)
class Late:
    """A sink that lacks `behind` records, the oldest of them `lag_us` old."""

    name: str
    behind: int
    lag_us: int


class Streams:
    """The streams of this process, and who of them is late."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = tuple(sinks)
        self.running: dict[str, Stream] = {}
        self._alarmed_us: dict[str, int] = {}

    def open(self, call: Call) -> list[Stream]:
        """Make the streams; nothing is connected yet."""
        self.running = {plan.name: Stream(plan, call) for plan in self.sinks}
        return list(self.running.values())

    def is_late(self, name: str, lag_us: int) -> bool:
        """Whether this lag is worth an alarm."""
        return any(lag_us >= plan.alarm_seconds * 1_000_000 for plan in self.sinks if plan.name == name)

    def alarm(self, late: Sequence[Late], now_us: int) -> None:
        """Tell the operator of late sinks, once a minute, and of those that have caught up."""
        for one in late:
            if now_us >= self._alarmed_us.get(one.name, 0) + ALARM_US:
                self._alarmed_us[one.name] = now_us
                log.error("sink_lagging", sink=one.name, behind=one.behind, seconds=one.lag_us // 1_000_000)
        for name in self._alarmed_us.keys() - {one.name for one in late}:
            del self._alarmed_us[name]
            log.warning("sink_caught_up", sink=name)
