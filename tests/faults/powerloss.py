"""Power cuts under the commit pipeline: the work, the cut at a chosen tick, the return of power, and the check.

The work is what guard does: groups of records written by an event loop, units with changes behind a savepoint (some
rolled back, with the record of their failure), checkpoints published, all through the real Pipeline, Log and Store.
Checkpoints of the WAL happen every 7 pages instead of every 1,000, so that cuts fall into them too.
"""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import exc

from guard.audit.log import Log
from guard.db.commit import Pipeline
from guard.db.engine import Store, open_store, savepoint
from guard.db.unit import Unit
from guard.errors import GuardError, InvalidInput
from tests.db.building import entry_of
from tests.faults import driver
from tests.faults.books import Books, examine, sizes
from tests.faults.power import Power

ORIGIN = "faults.example/guard/main"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW_US = 1_790_000_000_000_000
TURNS = 4
RECORDS = 5  # in a group that an event loop writes
TENANTS = ("acme", "bolt", "café")
WAL_PAGES = 7
PATIENCE_SECONDS = 20
GUARD_DB = "guard.db"
SHARED_MEMORY = Path("/dev/shm")  # a power cut is simulated, so the files need no disk

_names = itertools.count(1)


@dataclass
class Work:
    """What was asked of the pipeline and what it acknowledged."""

    tried: dict[str, str] = field(default_factory=dict)  # id of a record: name of the row that belongs to it, or ""
    acknowledged: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    fatal: int = 0

    def number(self) -> int:
        return len(self.tried) + 1


def new_log() -> Log:
    """The log with its keys, not loaded. It has no files: what the simulator cuts is SQLite's."""
    return Log(ORIGIN, KEY, receipts=KEY)


def open_log(store: Store) -> Log:
    """The log of a store, as a start loads it."""
    log = new_log()
    with store.write() as tx:
        log.load(tx, NOW_US)
    return log


def make_template(folder: Path) -> Path:
    """A home with a migrated database and an empty log, from which each run starts."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(open_store(folder / GUARD_DB)) as store:
        open_log(store)
    return folder / GUARD_DB


def records(work: Work, count: int) -> list[Unit]:
    """Units of one record each."""
    units = []
    for _ in range(count):
        number = work.number()
        one = entry_of(number, TENANTS[number % len(TENANTS)])
        work.tried[one.id] = ""
        units.append(Unit([one]))
    return units


def change(work: Work, *, refused: bool = False) -> Unit:
    """A unit as the gate makes one for an operation that writes: a savepoint, and a record of how it ended."""
    one = entry_of(work.number())
    name = f"{'refused' if refused else 'kept'}-{one.id}"
    work.tried[one.id] = "" if refused else name

    def carry_out(tx):
        try:
            with savepoint(tx):
                tx.exec_driver_sql("INSERT INTO meta VALUES (?, ?)", (name, "row"))
                if refused:
                    raise InvalidInput("the operation refuses")
        except InvalidInput:
            pass
        return [one]

    return Unit(work=carry_out)


def publication(work: Work, log: Log) -> Unit:
    """A checkpoint; its note counts as published once it is acknowledged."""
    unit = Unit()

    def carry_out(tx):
        unit.result = log.publish(tx, NOW_US + 1_000_000 * (work.number() + len(work.published)))[1]
        return []

    unit.work = carry_out
    return unit


async def settled(pipeline: Pipeline, units: list[Unit]) -> list[object]:
    """Submit *units* as an event loop does, and wait for all; results and errors in order."""
    waiters: list[asyncio.Future] = []
    for unit in units:
        unit.waiter = asyncio.get_running_loop().create_future()
        waiters.append(unit.waiter)
        pipeline.submit(unit)
    return await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), PATIENCE_SECONDS)


def together(pipeline: Pipeline, units: list[Unit]) -> list[object]:
    """Queue *units* behind one that holds the writer, so that they form one group; results and errors in order."""
    inside, free = threading.Event(), threading.Event()

    def hold(_tx):
        inside.set()
        free.wait(PATIENCE_SECONDS)
        return []

    waiters = []
    for unit in (Unit(work=hold), *units):
        unit.waiter = Future()
        waiters.append(unit.waiter)
        pipeline.submit(unit)
        while not inside.is_set() and not waiters[0].done():
            time.sleep(0.0002)
    free.set()
    return [waiter.exception(PATIENCE_SECONDS) or waiter.result() for waiter in waiters[1:]]


def note(work: Work, ids: list[str], answers: list[object]) -> None:
    """Write down what was acknowledged."""
    for one, answer in zip(ids, answers, strict=True):
        if not isinstance(answer, BaseException):
            work.acknowledged.append(one)
        elif not isinstance(answer, GuardError):
            raise answer


def turn(pipeline: Pipeline, store: Store, log: Log, work: Work) -> None:
    """One turn of everything that guard writes."""
    begin = len(work.tried)
    answers = asyncio.run(settled(pipeline, records(work, RECORDS)))
    note(work, list(work.tried)[begin:], answers)
    begin = len(work.tried)
    units = [change(work), *records(work, 2), change(work, refused=True), change(work)]
    note(work, list(work.tried)[begin:], together(pipeline, units))
    with contextlib.suppress(GuardError, exc.SQLAlchemyError), store.read() as tx:
        log.reread(tx)
    (signed,) = together(pipeline, [publication(work, log)])
    if isinstance(signed, str) and signed:
        work.published.append(signed)


def perform(
    store: Store,
    work: Work,
    *,
    turns: int = TURNS,
    synchronous: str = "FULL",
    pages: int = WAL_PAGES,
    end: Callable[[], None] = lambda: None,
) -> None:
    """The whole work on an open store, until its end or until the pipeline calls for the end of the process: *end*."""
    with store.writer_engine.connect() as tx:
        tx.connection.driver_connection.execute(f"PRAGMA wal_autocheckpoint={pages}")
        tx.connection.driver_connection.execute(f"PRAGMA synchronous={synchronous}")
    log = open_log(store)

    def fatal() -> None:
        work.fatal += 1
        end()

    pipeline = Pipeline(store, log, limit=1000, on_fatal=fatal)
    pipeline.start()
    try:
        for _ in range(turns):
            turn(pipeline, store, log, work)
            if work.fatal:
                return  # the process would have ended here
    finally:
        pipeline.stop()


@contextmanager
def powered(folder: Path, **faults: int) -> Iterator[tuple[Power, Store]]:
    """A store of *folder* on a VFS of its own."""
    name = f"power{next(_names)}"
    power = Power(name, **faults)
    driver.use(name, power.forgiven)
    store = Store(folder / GUARD_DB, driver=driver)
    try:
        yield power, store
    finally:
        with contextlib.suppress(exc.SQLAlchemyError, driver.Error):
            store.close()
        power.unregister()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one."""
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="guard-faults-", dir=place) as folder:
        yield Path(folder)


def run_until(
    template: Path, folder: Path, synchronous: str = "FULL", pages: int = WAL_PAGES, **faults: int
) -> tuple[Power, Work]:
    """Do the work in *folder* until the power goes."""
    folder.mkdir()
    shutil.copyfile(template, folder / GUARD_DB)
    work = Work()
    with powered(folder, **faults) as (power, store):
        with contextlib.suppress(exc.SQLAlchemyError, driver.Error):
            perform(store, work, synchronous=synchronous, pages=pages, end=power.cut)
        power.cut()
    return power, work


def check(folder: Path, work: Work) -> Books:
    """Open what survived as a restart does, with Python's own SQLite, and compare it with what was promised."""
    try:
        store = open_store(folder / GUARD_DB)
    except GuardError as error:
        books = Books()
        books.verdict.lost += work.acknowledged
        books.verdict.faults.append(f"the store does not open: {error.detail}")
        return books
    with closing(store):
        books = examine(store, new_log(), sizes(work.published))
        books.acknowledged(work.acknowledged)
        books.attempted(work.tried)
        books.promised(work.published)
        with store.read() as tx:
            rows = {name for (name,) in tx.exec_driver_sql("SELECT name FROM meta WHERE value = 'row'")}
        expected = {work.tried[one] for one in books.ids if work.tried.get(one)}
        books.verdict.expect(rows == expected, f"rows without their record or the reverse: {sorted(rows ^ expected)}")
        if not books.verdict.faults and not books.verdict.lost:
            _go_on(store, books, work)
    return books


def _go_on(store: Store, books: Books, work: Work) -> None:
    """After recovery the service works: one more turn, a checkpoint, and the log is still whole."""
    later = Work(tried=dict(work.tried))
    perform(store, later, turns=1)
    again = examine(store, new_log(), sizes(work.published))
    again.acknowledged(later.acknowledged)
    again.promised([*work.published, *later.published])
    fine = len(later.acknowledged) == RECORDS + 5 and later.published and again.size == books.size + RECORDS + 5
    books.verdict.expect(bool(fine), "the service does not go on after the power returned")
    books.verdict.lost += again.verdict.lost
    books.verdict.faults += again.verdict.faults
    books.verdict.holes += again.verdict.holes
