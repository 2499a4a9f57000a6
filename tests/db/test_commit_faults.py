"""What goes wrong under the pipeline: the log refuses, COMMIT fails, the disk is full, the writer dies."""

import asyncio
import queue
import sqlite3
import threading
import time

import pytest
from sqlalchemy import event, exc

from guard.db.commit import Pipeline
from guard.db.engine import savepoint
from guard.db.unit import Unit
from guard.errors import AuditOutcomeUnknown, AuditUnavailable, GuardError, StoreUnavailable
from tests.db.building import PATIENCE_SECONDS, entry_of, held, keep, names, on_writer, queued, rows
from tests.world import world

BROKEN_LOG = "CREATE TRIGGER broken BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'the log is broken'); END"
BLOB_BYTES = 4_000_000


@pytest.fixture
def made(tmp_path):
    with world(tmp_path / "home") as made:
        yield made


@pytest.fixture
def pipeline(made):
    return made.guard.pipeline


@pytest.fixture
def path(made):
    return made.guard.settings.database


@pytest.fixture
def second(made):
    """A pipeline on the same store that notes a fatal error and lives; with what was noted."""
    made.guard.pipeline.stop()
    noted = []
    fresh = Pipeline(made.guard.store, made.guard.log, limit=100, on_fatal=lambda: noted.append("fatal"))
    fresh.start()
    yield fresh, noted
    fresh.stop()


def big(name):
    """A unit that needs more room than there is, with a savepoint round it as the gate makes one."""

    def work(tx):
        try:
            with tx.begin_nested():
                tx.exec_driver_sql("INSERT INTO meta VALUES (?, 'kept')", (name,))
                tx.exec_driver_sql(f"INSERT INTO secrets VALUES (?, zeroblob({BLOB_BYTES}), 0)", (name,))
        except exc.SQLAlchemyError as error:
            unit.error = GuardError(type(error).__name__)
        return [entry_of(99)]

    unit = Unit(work=work)
    return unit


def failures(waiters):
    return [waiter.exception(PATIENCE_SECONDS) for waiter in waiters]


def dense(path):
    """Every index of the log and every number of each tenant, without a gap; the number of records."""
    found = rows(path, "SELECT idx FROM audit_index ORDER BY idx")
    assert [index for (index,) in found] == list(range(len(found)))
    assert rows(path, "SELECT count(*) FROM audit_entries") == [(len(found),)]
    assert rows(path, "SELECT size FROM audit_head") == [(len(found),)]
    for (tenant,) in rows(path, "SELECT DISTINCT tenant FROM audit_index"):
        numbers = rows(path, "SELECT n FROM audit_index WHERE tenant = ? ORDER BY n", tenant)
        assert [n for (n,) in numbers] == list(range(len(numbers)))
    return len(found)


def test_a_log_that_cannot_be_written_undoes_every_unit_of_the_group(pipeline, path, made):
    pipeline.wait(keep("before", number=1))
    size = made.guard.log.size
    on_writer(pipeline, BROKEN_LOG)
    with held(pipeline):
        waiters = [queued(pipeline, unit) for unit in (keep("a", number=2), keep("b"), keep("c", number=3))]
    for error in failures(waiters):
        assert isinstance(error, AuditUnavailable)
        assert "the operation did not happen" in error.detail
        assert error.extra["retry_after_seconds"] >= 1
    assert names(path) == ["before"]
    assert made.guard.log.size == size
    on_writer(pipeline, "DROP TRIGGER broken")
    pipeline.wait(keep("after", number=4))
    assert names(path) == ["before", "after"]
    assert dense(path) == size + 1
    assert rows(path, "SELECT n FROM audit_index WHERE id = ?", entry_of(4).id) == [(1,)]


def test_the_cause_reaches_those_who_wait_in_threads_and_those_on_event_loops_alike(pipeline):
    on_writer(pipeline, BROKEN_LOG)

    async def client():
        unit = keep("loop", number=1)
        unit.waiter = asyncio.get_running_loop().create_future()
        with held(pipeline):
            pipeline.submit(unit)
            waiters = [unit.waiter, asyncio.wrap_future(queued(pipeline, keep("thread", number=2)))]
        return await asyncio.gather(*waiters, return_exceptions=True)

    for error in asyncio.run(client()):
        assert isinstance(error, AuditUnavailable)
        assert "the log is broken" in error.detail
    on_writer(pipeline, "DROP TRIGGER broken")


def test_a_commit_of_unknown_outcome_is_told_to_all_and_calls_for_the_end(second, path):
    pipeline, noted = second
    on_writer(pipeline, "CREATE TABLE child (parent TEXT REFERENCES meta(name) DEFERRABLE INITIALLY DEFERRED)")

    def work(tx):
        tx.exec_driver_sql("INSERT INTO child VALUES ('nobody')")
        return [entry_of(1)]

    async def client():
        unit = keep("loop", number=3)
        unit.waiter = asyncio.get_running_loop().create_future()
        with held(pipeline):
            pipeline.submit(unit)
            waiters = [queued(pipeline, Unit(work=work)), queued(pipeline, keep("thread", number=2))]
        heard = [unit.waiter, *(asyncio.wrap_future(waiter) for waiter in waiters)]
        return await asyncio.gather(*heard, return_exceptions=True)

    for error in asyncio.run(client()):
        assert isinstance(error, AuditOutcomeUnknown)
        assert "unknown whether this happened" in error.detail
    pipeline.wait(Unit())
    assert noted == ["fatal"]
    assert names(path) == []


def test_those_who_wait_hear_of_an_unknown_outcome_before_the_process_ends(made):
    made.guard.pipeline.stop()
    heard = []
    pipeline = Pipeline(made.guard.store, made.guard.log, limit=100, on_fatal=lambda: heard.append(waiter.done()))
    pipeline.start()
    on_writer(pipeline, "CREATE TABLE child (parent TEXT REFERENCES meta(name) DEFERRABLE INITIALLY DEFERRED)")
    unit = Unit(work=lambda tx: tx.exec_driver_sql("INSERT INTO child VALUES ('nobody')") and [])
    with held(pipeline):
        waiter = queued(pipeline, unit)
    assert isinstance(waiter.exception(PATIENCE_SECONDS), AuditOutcomeUnknown)
    pipeline.stop()
    assert heard == [True]


def test_a_commit_that_finds_the_disk_full_is_a_known_failure_and_work_goes_on(second, path, made):
    pipeline, noted = second
    faults = [exc.OperationalError("COMMIT", None, Exception("database or disk is full"))]

    def full(_connection):
        if faults:
            raise faults.pop()

    event.listen(made.guard.store.writer_engine, "commit", full)
    waiter = queued(pipeline, keep("lost", number=1))
    assert isinstance(waiter.exception(PATIENCE_SECONDS), AuditUnavailable)
    event.remove(made.guard.store.writer_engine, "commit", full)
    pipeline.wait(keep("next", number=2))
    assert noted == []
    assert names(path) == ["next"]
    dense(path)


def test_a_full_disk_inside_a_savepoint_fails_the_whole_group(pipeline, path):
    pages = on_writer(pipeline, "PRAGMA page_count")
    before = dense(path)
    on_writer(pipeline, f"PRAGMA max_page_count = {pages + 8}")
    with held(pipeline):
        waiters = [queued(pipeline, unit) for unit in (keep("a", number=1), big("b"), keep("c", number=2))]
    for error in failures(waiters):
        assert isinstance(error, AuditUnavailable)
        assert "full" in error.detail
        assert "did not happen" in error.detail
    assert names(path) == []
    assert dense(path) == before
    on_writer(pipeline, "PRAGMA max_page_count = 1000000")
    with held(pipeline):
        waiters = [queued(pipeline, unit) for unit in (keep("a", number=1), big("b"), keep("c", number=2))]
    assert [waiter.exception(PATIENCE_SECONDS) for waiter in waiters] == [None, None, None]
    assert names(path) == ["a", "b", "c"]
    assert dense(path) == before + 3


def test_the_error_that_ended_the_transaction_inside_a_savepoint_is_the_one_that_is_told(pipeline, path):
    on_writer(pipeline, f"PRAGMA max_page_count = {on_writer(pipeline, 'PRAGMA page_count') + 8}")

    def work(tx):
        with savepoint(tx):
            tx.exec_driver_sql(f"INSERT INTO secrets VALUES ('big', zeroblob({BLOB_BYTES}), 0)")
        return [entry_of(1)]

    error = queued(pipeline, Unit(work=work)).exception(PATIENCE_SECONDS)
    assert "database or disk is full" in error.detail
    on_writer(pipeline, "PRAGMA max_page_count = 1000000")
    pipeline.wait(keep("next", number=2))
    assert names(path) == ["next"]


def test_a_disk_that_fills_while_the_log_is_written_fails_the_group_too(pipeline, path):
    before = dense(path)
    on_writer(pipeline, f"PRAGMA max_page_count = {on_writer(pipeline, 'PRAGMA page_count')}")
    error, number = None, 0
    while error is None:  # the last pages still have some room
        number += 1
        error = queued(pipeline, Unit([entry_of(number)])).exception(PATIENCE_SECONDS)
        assert number < 2000
    assert isinstance(error, AuditUnavailable)
    assert "full" in error.detail
    assert dense(path) == before + number - 1
    on_writer(pipeline, "PRAGMA max_page_count = 1000000")
    pipeline.wait(Unit([entry_of(number)]))
    assert dense(path) == before + number


def test_somebody_else_moving_the_head_is_noticed_and_nothing_is_written(pipeline, path):
    size = rows(path, "SELECT size FROM audit_head")[0][0]
    on_writer(pipeline, "UPDATE audit_head SET size = size + 1")
    error = queued(pipeline, keep("a", number=1)).exception(PATIENCE_SECONDS)
    assert "only writer of the log" in error.detail
    assert names(path) == []
    on_writer(pipeline, f"UPDATE audit_head SET size = {size}")
    pipeline.wait(keep("b", number=2))
    dense(path)


@pytest.fixture
def stranger(path):
    """Another program, such as a person with sqlite3, that has begun to write."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def test_another_program_that_holds_the_store_for_a_moment_is_waited_for(pipeline, path, stranger):
    waiter = queued(pipeline, keep("a", number=1))
    with pytest.raises(TimeoutError):
        waiter.result(0.2)
    stranger.execute("ROLLBACK")
    assert waiter.result(PATIENCE_SECONDS) == "a"
    assert names(path) == ["a"]


def test_a_loop_is_not_held_up_while_another_program_holds_the_store(pipeline, path, stranger):
    async def client():
        unit = Unit([entry_of(1)])
        unit.waiter = asyncio.get_running_loop().create_future()
        waiter = unit.waiter
        pipeline.submit(unit)
        began = time.monotonic()
        for _ in range(10):
            await asyncio.sleep(0.01)
        free_seconds = time.monotonic() - began
        stranger.execute("ROLLBACK")
        return free_seconds, await asyncio.wait_for(waiter, PATIENCE_SECONDS)

    free_seconds, answer = asyncio.run(client())
    assert free_seconds < 1
    assert answer is None
    assert rows(path, "SELECT count(*) FROM audit_index WHERE tenant = 'acme'") == [(1,)]


def test_another_program_that_keeps_the_store_is_told_and_work_goes_on_after_it(pipeline, path, stranger):
    error = queued(pipeline, keep("a", number=1)).exception(PATIENCE_SECONDS)
    stranger.execute("ROLLBACK")
    assert isinstance(error, AuditUnavailable)
    assert "locked" in error.detail
    pipeline.wait(keep("b", number=1))
    assert names(path) == ["b"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_error_ends_the_writer_and_everybody_hears_of_it(second, path):
    pipeline, _ = second

    def defect(_tx):
        raise RuntimeError("a defect")

    with held(pipeline):
        waiters = [queued(pipeline, unit) for unit in (keep("a", number=1), Unit(work=defect))]
    for error in failures(waiters):
        assert isinstance(error, AuditUnavailable)
        assert "a defect" not in error.detail
    pipeline._thread.join(PATIENCE_SECONDS)
    assert not pipeline.alive
    with pytest.raises(StoreUnavailable):
        pipeline.submit(keep("b"))
    assert names(path) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_is_durable_is_answered_even_if_a_hook_breaks_its_promise(second, path):
    pipeline, _ = second
    unit = keep("durable", number=1)
    unit.hooks = [lambda: 1 // 0]
    assert queued(pipeline, unit).result(PATIENCE_SECONDS) == "durable"
    assert names(path) == ["durable"]


class Broken(queue.SimpleQueue):
    """A queue that fails while units are gathered from it."""

    def get_nowait(self):
        raise OSError("a defect")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_unit_in_hand_when_the_writer_dies_is_answered(made):
    made.guard.pipeline.stop()
    pipeline = Pipeline(made.guard.store, made.guard.log, limit=100, on_fatal=lambda: None)
    pipeline._queue = Broken()
    pipeline._fail_queued = lambda: None
    pipeline.start()
    assert isinstance(queued(pipeline, keep("a", number=1)).exception(PATIENCE_SECONDS), StoreUnavailable)


class Pausing(queue.SimpleQueue):
    """A queue that lets a submitter pause just before it puts its unit down."""

    def __init__(self):
        self.reached, self.go = threading.Event(), threading.Event()

    def qsize(self):
        self.reached.set()
        self.go.wait(PATIENCE_SECONDS)
        return super().qsize()


def test_a_unit_put_down_while_the_writer_ends_is_answered(made):
    made.guard.pipeline.stop()
    pipeline = Pipeline(made.guard.store, made.guard.log, limit=100, on_fatal=lambda: None)
    pipeline._queue = Pausing()
    pipeline.start()
    outcome = []

    def client():
        try:
            outcome.append(queued(pipeline, keep("a", number=1)).result(5))
        except StoreUnavailable as error:
            outcome.append(error)

    submitter, stopper = threading.Thread(target=client), threading.Thread(target=pipeline.stop)
    submitter.start()
    assert pipeline._queue.reached.wait(PATIENCE_SECONDS)
    stopper.start()
    stopper.join(0.2)
    pipeline._queue.go.set()
    submitter.join(PATIENCE_SECONDS)
    stopper.join(PATIENCE_SECONDS)
    assert len(outcome) == 1


def test_a_start_that_cannot_be_recorded_leaves_nothing_running(tmp_path):
    with world(tmp_path / "home") as made:
        on_writer(made.guard.pipeline, BROKEN_LOG)
    with pytest.raises(AuditUnavailable), world(tmp_path / "home"):
        pass
    assert [thread.name for thread in threading.enumerate() if thread.name == "guard-writer"] == []
    with pytest.raises(AuditUnavailable), world(tmp_path / "home"):
        pass  # neither the lock nor the store is still held by the first attempt
