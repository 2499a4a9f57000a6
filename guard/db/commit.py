"""The commit pipeline: one writer thread takes queued units and commits them, with their records, in groups.

Law: nothing is answered before its COMMIT returned; state and record commit together or not at all; a full queue
refuses at once. An fsync per unit costs about fifteen times the throughput of a group, so units share one.
A COMMIT whose outcome is unknown stops the process: only a restart can read from disk what happened.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import structlog
from sqlalchemy import exc

from guard.db.engine import Store, Tx, abandon, begin, dont_wait, in_transaction
from guard.db.entry import Entry
from guard.db.unit import Promises, Unit, resolve
from guard.errors import AuditOutcomeUnknown, AuditUnavailable, GuardError, Overloaded, StoreUnavailable

MAX_UNITS = 256  # per transaction: bounds how long one unit waits for its neighbours
LINGER_SECONDS = 0.001  # under load, how long a group waits for more units
GATHER_SECONDS = 0.005  # and in all, so that a trickle cannot hold its first unit back
RETRY_AFTER_SECONDS = 1
MIN_SHARE = 8  # records for which it is worth to open a transaction between two turns of the event loop
FORGETTING = 16  # after each group the crowd that is remembered shrinks by one in so many
PATIENCE_SECONDS = 5.0  # for another program (a backup, a person with sqlite3) that holds the database

log = structlog.get_logger(__name__)


class Ledger(Protocol):
    """The audit log as the pipeline sees it."""

    def append(self, tx: Tx, entries: Sequence[Entry]) -> None:
        """Write *entries* as the next records of the log, in order."""
        ...

    def committed(self) -> None:
        """The transaction of the last `append` is durable."""
        ...

    def aborted(self) -> None:
        """The transaction of the last `append` was rolled back."""
        ...

    def promise(self, entries: Sequence[Entry]) -> Promises:
        """Signed promises that these durable records are in the log: `promises(place)` is the text of one."""
        ...


class Filled(NamedTuple):
    """A group that an event loop has written into the open transaction and that waits for its COMMIT.

    Whoever holds one holds the writer connection. Empty where the writing failed and was undone.
    """

    group: Sequence[Unit]


class Pipeline:
    """Owns the writer connection. Start it once; `submit` from any thread or event loop.

    Units with work are carried out by the writer thread. Records alone, which is nearly everything, are written by the
    event loop that made them, and only their COMMIT, which waits for the disk, is the thread's: with both on the thread
    the two took the interpreter from each other at every statement, and a request cost half as much again.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        *,
        limit: int,
        on_fatal: Callable[[], None],
        admit: Callable[[bool], None] = lambda _vital: None,
    ) -> None:
        self._admit = admit  # raises where nothing may be written now; told whether the unit is vital
        self._store = store
        self._ledger = ledger
        self._limit = limit
        self._on_fatal = on_fatal
        self._queue: queue.SimpleQueue[Unit | Filled | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="guard-writer", daemon=True)
        self._lock = threading.Lock()  # held by whoever puts a unit down or ends the writer: none falls in between
        self._open = False
        self._last_group = 0
        self._last_written, self._most = 0, 0  # units of the last group, and the most that stood in it and behind it
        self._tx: Tx | None = None
        self._connection = threading.Lock()  # held by whoever writes into the transaction, until its COMMIT returned
        self._records: list[Unit] = []  # of the event loop, not yet written
        self._scheduled: asyncio.AbstractEventLoop | None = None
        self._ended = False  # nobody takes anything from the queue any more
        self._written_groups = 0  # in the queue, 0 or 1; their units wait for the disk and no longer for their turn

    @property
    def alive(self) -> bool:
        """Whether the writer accepts work."""
        return self._open and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many units wait for their turn."""
        return self._queue.qsize() - self._written_groups + len(self._records)

    def start(self) -> None:
        """Start the writer thread."""
        self._connection.acquire()  # the thread gives it free when it is connected
        self._open = True
        self._thread.start()

    def stop(self) -> None:
        """Commit what is queued, then end; later submissions are refused."""
        with self._lock:
            self._open = False
            self._take_back()
            self._queue.put(None)
        self._thread.join()

    def submit(self, unit: Unit) -> None:
        """Queue *unit*.

        Raises:
            Overloaded: the queue is full; nothing was done.
            StoreUnavailable: the writer has stopped.
            GuardError: whatever *admit* says.
        """
        with self._lock:
            if not self.alive:
                raise StoreUnavailable("The store's writer has stopped, so nothing was done; restart the service.")
            if self.waiting >= self._limit and not unit.owed:
                raise Overloaded(
                    "The commit queue is full, so nothing was done; try again shortly.",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            self._admit(unit.vital)
            waiter = unit.waiter
            if unit.work is not None or waiter is None or isinstance(waiter, Future):
                self._queue.put(unit)
                return
            self._records.append(unit)
            self._most = max(self._most, len(self._records) + self._last_written)
            at_once = len(self._records) >= MIN_SHARE and self._half_wait() and not self._connection.locked()
            loop = waiter.get_loop()
            if not at_once and self._scheduled is not loop:  # nobody's turn yet, or that of a loop that may have ended
                self._scheduled = loop
                loop.call_soon(self._write)
        if at_once:
            self._write()

    def wait(self, unit: Unit) -> Any:
        """Queue *unit* and block until it is durable; its result, or its error raised."""
        waiter: Future[Any] = Future()
        unit.waiter = waiter
        self.submit(unit)
        return waiter.result()

    # on the event loop

    def _write(self) -> None:
        """Write the records that came meanwhile into a transaction, if nobody else has one open."""
        with self._lock:
            self._scheduled = None
            if not self._records or not self._open or not self._connection.acquire(blocking=False):
                return  # whoever has the connection calls again when he gives it free
            group, self._records = self._records[:MAX_UNITS], self._records[MAX_UNITS:]
            self._last_written = len(group)
        tx, later = self._tx, []
        assert tx is not None

        def step() -> None:
            if begin(tx, patience_seconds=0):
                self._fill(tx, group)
            else:
                # Another program has the database open for writing; waiting for it is the thread's, not the loop's.
                later.extend(group)

        written = False
        try:
            written = self._guarded(tx, group, step) and not later
        finally:  # whatever happened, the thread is to give the connection free
            with self._lock:
                self._written_groups = 1
                self._queue.put(Filled(group if written else ()))
                for unit in later:
                    self._queue.put(unit)
                ended = self._ended
            if ended:
                self._fail_queued()

    def _half_wait(self) -> bool:
        """Whether half of a steady crowd waits to be written: of the most that lately stood in a group and behind it.

        A crowd then falls into two parts, of which one is made while the other is committed. Where each group takes
        whoever is there, 64 clients settle at groups of 1 and 63, and the loop stands idle for each commit of the 63.
        """
        return self._most <= 2 * len(self._records)

    def _written(self, units: list[Unit]) -> None:
        """Answer *units*, then go on with what came while they were committed."""
        for unit in units:
            resolve(unit)
        self._most -= self._most // FORGETTING
        if self._half_wait():
            self._write()
        elif self._records and self._scheduled is None:
            self._scheduled = asyncio.get_running_loop()
            self._scheduled.call_soon(self._write)

    # on the writer thread

    def _run(self) -> None:
        try:
            with self._store.writer_engine.connect() as tx:
                dont_wait(tx)
                self._tx = tx
                self._connection.release()
                self._call_writer()  # an event loop may have been here before the connection was
                while (first := self._queue.get()) is not None:
                    if isinstance(first, Filled):
                        self._finish(tx, first)
                    else:
                        self._carry_out(tx, first)
                self._end(tx)
        finally:
            with self._lock:
                self._open, self._ended = False, True
                self._take_back()
            self._fail_queued()

    def _end(self, tx: Tx) -> None:
        """Commit what an event loop was writing when the end came."""
        rest: list[Unit] = []
        self._take_connection(tx, rest)
        self._drain(rest)
        if rest and self._prepare(tx, rest) and self._settle(tx, rest):
            self._deliver(rest)

    def _finish(self, tx: Tx, filled: Filled) -> None:
        self._written_groups = 0
        durable = not filled.group or self._settle(tx, filled.group)
        self._connection.release()
        if durable:
            self._deliver(filled.group)
        self._call_writer()

    def _carry_out(self, tx: Tx, first: Unit) -> None:
        group, taken = [first], False
        try:
            self._gather(group)
            self._take_connection(tx, group)
            taken = True
        finally:
            if not taken:  # these are in no queue any more, so nobody else would tell them
                self._fail(group, StoreUnavailable("The store's writer has stopped, so nothing was done."))
        durable = self._prepare(tx, group) and self._settle(tx, group)
        self._connection.release()
        if durable:
            self._deliver(group)
        self._last_group = len(group)
        self._call_writer()

    def _take_connection(self, tx: Tx, group: list[Unit]) -> None:
        """Take the connection; where an event loop has it, commit what it writes first, and keep it from then on."""
        stopping = False
        while not self._connection.acquire(blocking=False):
            item = self._queue.get()
            if isinstance(item, Filled):
                self._written_groups = 0
                if item.group and self._settle(tx, item.group):
                    self._deliver(item.group)
                break
            if item is None:
                stopping = True
            else:
                group.append(item)
        if stopping:
            self._queue.put(None)

    def _call_writer(self) -> None:
        """The connection is free: records that came meanwhile may be written."""
        with self._lock:
            waiter = self._records[-1].waiter if self._records else None
            if waiter is None or isinstance(waiter, Future):
                return
            loop = waiter.get_loop()
            if self._scheduled is not loop:
                self._scheduled = loop
                if not _soon(loop, self._write):
                    self._take_back()

    def _take_back(self) -> None:
        """Records that no event loop has written become units of the writer."""
        for unit in self._records:
            self._queue.put(unit)
        self._records = []

    def _gather(self, group: list[Unit]) -> None:
        """Add what is queued to the first unit; under load, sleep a moment for more and take that too.

        Sleeping leaves the interpreter to the event loop, which then makes the next units undisturbed; waking for each
        of them cost both threads more than the commit that they share.
        """
        self._drain(group)
        if self._last_group <= 1 and len(group) == 1:
            return
        deadline = time.monotonic() + GATHER_SECONDS
        while len(group) < MAX_UNITS and time.monotonic() < deadline:
            time.sleep(LINGER_SECONDS)
            if not self._drain(group):
                break

    def _drain(self, group: list[Unit]) -> int:
        """Move what is queued into *group*, up to what is no unit; how much that was."""
        before = len(group)
        while len(group) < MAX_UNITS:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(more, Unit):
                self._queue.put(more)
                break
            group.append(more)
        return len(group) - before

    def _prepare(self, tx: Tx, group: Sequence[Unit]) -> bool:
        """Write *group* into a transaction; False where it failed, was undone and everybody was told."""

        def step() -> None:
            begin(tx, patience_seconds=PATIENCE_SECONDS)
            self._fill(tx, group)

        return self._guarded(tx, group, step)

    def _settle(self, tx: Tx, group: Sequence[Unit]) -> bool:
        """COMMIT what was written and run the hooks; False where it failed and everybody was told."""
        if not self._guarded(tx, group, lambda: self._seal(tx)):
            return False
        self._ledger.committed()
        self._promise(group)
        told = False
        try:
            for unit in group:
                for hook in unit.hooks:
                    hook()
            told = True
        finally:
            if not told:
                self._deliver(group)  # it is durable, whatever a hook does
        return True

    def _promise(self, group: Sequence[Unit]) -> None:
        recorded = [(unit, unit.record) for unit in group if unit.record is not None]
        if recorded:
            promises = self._ledger.promise([record for _, record in recorded])
            for place, (unit, _) in enumerate(recorded):
                unit.promised(promises, place)

    def _guarded(self, tx: Tx, group: Sequence[Unit], step: Callable[[], None]) -> bool:
        # Anything unforeseen ends the writer; those who wait must still hear of it.
        failure: GuardError | None = _unavailable("an internal error")
        try:
            step()
            failure = None
        except (exc.SQLAlchemyError, OSError, GuardError) as error:
            failure = _named(error)
        finally:
            # Once only: an event loop reads the error later, and must not find another one in its place.
            if failure is not None:
                abandon(tx)
                self._ledger.aborted()
                self._fail(group, failure)
        if isinstance(failure, AuditOutcomeUnknown):
            self._on_fatal()
        return failure is None

    def _fill(self, tx: Tx | None, group: Sequence[Unit]) -> None:
        assert tx is not None
        entries: list[Entry] = []
        for unit in group:
            made = unit.entries if unit.work is None else unit.work(tx)
            if made:
                entries.extend(made)
                unit.record = made[-1]
            if not in_transaction(tx):
                # SQLite answers some errors inside a savepoint (disk full) by ending the whole transaction.
                raise _unavailable("the database ended the transaction, most likely because the disk is full")
        self._ledger.append(tx, entries)

    def _seal(self, tx: Tx) -> None:
        try:
            tx.commit()
        except exc.SQLAlchemyError as error:
            if "full" in str(error):  # the commit frame was never written: a known rollback
                raise
            log.critical("commit_outcome_unknown", cause=type(error).__name__)
            raise AuditOutcomeUnknown(
                "The store failed while committing, so it is unknown whether this happened; "
                "once the service is back, look in the audit log whether it did before you repeat it."
            ) from None

    def _fail(self, group: Sequence[Unit], error: GuardError) -> None:
        for unit in group:
            unit.error = _unrecorded() if unit.owed and isinstance(error, AuditUnavailable) else error
        self._deliver(group)

    def _fail_queued(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            group = item.group if isinstance(item, Filled) else () if item is None else (item,)
            self._fail(group, StoreUnavailable("The store's writer has stopped, so nothing was done."))

    def _deliver(self, group: Sequence[Unit]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[Unit]] = {}
        for unit in group:
            waiter = unit.waiter
            if isinstance(waiter, Future):
                resolve(unit)
            elif waiter is not None:
                loops.setdefault(waiter.get_loop(), []).append(unit)
        for loop, units in loops.items():
            _soon(loop, self._written, units)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> bool:
    """Have *loop* make the call; False where it was closed meanwhile, so that nobody there waits."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        return False
    return True


def _named(error: BaseException) -> GuardError:
    if isinstance(error, GuardError):
        return error
    cause = str(error.orig) if isinstance(error, exc.DBAPIError) else type(error).__name__
    log.error("commit_failed", cause=cause)
    return _unavailable(cause)


def _unrecorded() -> AuditUnavailable:
    return AuditUnavailable(
        "The operation was done, but its outcome could not be recorded; the audit log keeps its intent and will call "
        "the outcome unknown. See what was done before you repeat it.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _unavailable(cause: str) -> AuditUnavailable:
    return AuditUnavailable(
        f"The audit log could not be written ({cause}), so the operation did not happen; "
        "see the operator's log and the free disk space.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
