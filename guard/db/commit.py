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
from guard.db.failure import RETRY_AFTER_SECONDS, named, unavailable, unrecorded
from guard.db.unit import Promises, Unit, resolve, soon, waiting_on_loops
from guard.errors import AuditOutcomeUnknown, AuditUnavailable, GuardError, Overloaded, StoreUnavailable

MAX_UNITS = 256  # per transaction: bounds how long one unit waits for its neighbours
LINGER_SECONDS = 0.001  # under load, how long a group waits for more units
GATHER_SECONDS = 0.005  # and in all, so that a trickle cannot hold its first unit back
MIN_SHARE = 8  # records for which it is worth to open a transaction between two turns of the event loop
QUICK_SECONDS = 0.002  # a COMMIT that waits no longer for its disk is the event loop's own
RISE = 1.25  # by so much at most one COMMIT more is believed to take, so that one slow one is an exception
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


class Free:
    """Tells the writer thread, which waits for the connection, that an event loop no longer has it."""


class Filled(NamedTuple):
    """A group that an event loop has written into the open transaction and that waits for its COMMIT.

    Whoever holds one holds the writer connection. Empty where the writing failed and was undone.
    """

    group: Sequence[Unit]


class Pipeline:
    """Owns the writer connection. Start it once; `submit` from any thread or event loop.

    Units with work are carried out by the writer thread. Records alone, which is nearly everything, are written by the
    event loop that made them: with all on the thread the two took the interpreter from each other at every statement,
    and a request cost half as much again. Where the disk is quick the loop commits them too: handing a group over and
    back costs 1 ms, and the disk 0.4. Where it is slow, the loop must not stand still for it, and the COMMIT is the
    thread's.
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
        self._queue: queue.SimpleQueue[Unit | Filled | Free | None] = queue.SimpleQueue()
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
        self._second_turn = False
        self._fatal = False  # the outcome of a COMMIT is unknown
        self._wanted = False  # by the thread, which waits for the connection: no event loop takes it again before
        self.quick_seconds = QUICK_SECONDS  # 0: every COMMIT is the thread's
        self._usual_seconds = 0.0  # what a COMMIT took lately
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
            enough = len(self._records) >= MIN_SHARE and self._half_wait()
            at_once = enough and not self._quick and not self._connection.locked()
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
        """Write the records that came meanwhile into a transaction, if nobody else has one open or waits for it."""
        with self._lock:
            if self._may_grow():
                return
            self._scheduled = None
            if not self._records or not self._open or self._wanted or not self._connection.acquire(blocking=False):
                return  # whoever has the connection, or gets it next, calls again when he gives it free
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

        rest: Filled | None = Filled(())  # whatever happens, somebody is to give the connection free
        try:
            if self._guarded(tx, group, step) and not later:
                rest = Filled(group)
                if self._quick:
                    self._finish(tx, rest)
                    rest = None
        finally:
            if rest is not None:
                self._hand_over(rest, later)

    def _hand_over(self, filled: Filled, later: Sequence[Unit]) -> None:
        """Leave the rest to the writer thread."""
        with self._lock:
            self._written_groups = 1
            self._queue.put(filled)
            for unit in later:
                self._queue.put(unit)
            ended = self._ended
        if ended:
            self._fail_queued()

    def _may_grow(self) -> bool:
        """Whether to give the loop one turn more: of a crowd, those whose requests came in parts follow in the next.

        Without it every second group that the loop commits has one to ten records, with it nearly all have the crowd.
        """
        first_turn, self._second_turn = not self._second_turn, False
        if first_turn and self._records and self._quick and not self._half_wait():
            self._second_turn = True
            self._scheduled = asyncio.get_running_loop()
            self._scheduled.call_soon(self._write)
        return self._second_turn

    @property
    def _quick(self) -> bool:
        return self._usual_seconds < self.quick_seconds

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
                    elif isinstance(first, Unit):
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
        self._end_if_fatal()

    def _finish(self, tx: Tx, filled: Filled) -> None:
        """Commit what an event loop wrote and give the connection free; on either thread."""
        self._written_groups = 0
        durable = not filled.group or self._settle(tx, filled.group)
        if self._fatal and threading.current_thread() is not self._thread:
            self._hand_over(Filled(()), ())  # the end is the thread's, while the loop sends what it has to answer
            return
        self._end_if_fatal()
        self._connection.release()
        if self._wanted:
            self._queue.put(Free())
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
        self._end_if_fatal()
        self._connection.release()
        if durable:
            self._deliver(group)
        self._last_group = len(group)
        self._call_writer()

    def _take_connection(self, tx: Tx, group: list[Unit]) -> None:
        """Take the connection; where an event loop has it, commit what it writes first, and keep it from then on."""
        stopping = False
        while not self._connection.acquire(blocking=False):
            if not self._wanted:
                self._wanted = True  # whoever gives it free from now on says so; perhaps somebody did just before
                continue
            item = self._queue.get()
            if isinstance(item, Filled):
                self._written_groups = 0
                if item.group and self._settle(tx, item.group):
                    self._deliver(item.group)
                self._end_if_fatal()
                break
            if item is None:
                stopping = True
            elif isinstance(item, Unit):
                group.append(item)
        self._wanted = False
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
                if not soon(loop, self._write):
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
            if isinstance(more, Free):
                continue
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
        failure: GuardError | None = unavailable("an internal error")
        try:
            step()
            failure = None
        except (exc.SQLAlchemyError, OSError, GuardError) as error:
            failure = named(error)
        finally:
            # Once only: an event loop reads the error later, and must not find another one in its place.
            if failure is not None:
                abandon(tx)
                self._ledger.aborted()
                self._fail(group, failure)
        self._fatal = self._fatal or isinstance(failure, AuditOutcomeUnknown)
        return failure is None

    def _end_if_fatal(self) -> None:
        if self._fatal:
            self._fatal = False
            self._on_fatal()

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
                raise unavailable("the database ended the transaction, most likely because the disk is full")
        self._ledger.append(tx, entries)

    def _seal(self, tx: Tx) -> None:
        began = time.perf_counter()
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
        took = time.perf_counter() - began
        self._usual_seconds = min(took, max(self._usual_seconds, self.quick_seconds / 8) * RISE)

    def _fail(self, group: Sequence[Unit], error: GuardError) -> None:
        for unit in group:
            unit.error = unrecorded() if unit.owed and isinstance(error, AuditUnavailable) else error
        self._deliver(group)

    def _fail_queued(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            group = item.group if isinstance(item, Filled) else (item,) if isinstance(item, Unit) else ()
            self._fail(group, StoreUnavailable("The store's writer has stopped, so nothing was done."))

    def _deliver(self, group: Sequence[Unit]) -> None:
        for loop, units in waiting_on_loops(group):
            soon(loop, self._written, units)
