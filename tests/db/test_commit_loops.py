"""Records that event loops write themselves: several loops, loops that end, defects, and the end of the writer.

All of it twice: where the loop commits them too, and where the disk is slow and the COMMIT is the writer thread's.
"""

import asyncio
import threading
import time

import pytest
from sqlalchemy import event, exc

from guard.db.commit import MAX_UNITS, Pipeline
from guard.db.unit import Unit
from guard.errors import AuditOutcomeUnknown, AuditUnavailable, GuardError, Overloaded, StoreUnavailable
from tests.db.building import PATIENCE_SECONDS, entry_of, held, keep, names, on_writer, queued, rows
from tests.world import world

ALWAYS, NEVER = 1000.0, 0.0  # seconds that a COMMIT may take for the loop to do it


@pytest.fixture(params=[ALWAYS, NEVER], ids=["loop", "thread"])
def quick(request):
    return request.param


@pytest.fixture
def made(tmp_path, quick):
    with world(tmp_path / "home", queue_limit=2000) as made:
        made.guard.pipeline.quick_seconds = quick
        yield made


def another(made, quick, limit=500, on_fatal=lambda: None):
    """A pipeline in the place of the one that *made* has."""
    made.guard.pipeline.stop()
    pipeline = Pipeline(made.guard.store, made.guard.log, limit=limit, on_fatal=on_fatal)
    pipeline.quick_seconds = quick
    pipeline.start()
    return pipeline


@pytest.fixture
def pipeline(made):
    return made.guard.pipeline


@pytest.fixture
def path(made):
    return made.guard.settings.database


def recorded(path):
    """Numbers of the test's records, in the order of the log, which must be dense."""
    found = rows(path, "SELECT idx, id, n FROM audit_index WHERE tenant = 'acme' ORDER BY idx")
    assert [n for _, _, n in found] == list(range(len(found)))
    indexes = [index for (index,) in rows(path, "SELECT idx FROM audit_entries ORDER BY idx")]
    assert indexes == list(range(len(indexes)))
    return [int(name.rsplit("-", 1)[1], 16) for _, name, _ in found]


def record(number, *, bad=False):
    """A unit of one record only; a bad one holds what no log can."""
    entry = entry_of(number)
    unit = Unit([entry._replace(body=None) if bad else entry])
    unit.result = number
    return unit


def submitted(pipeline, unit):
    """Submit *unit* as the running event loop does; the future to await."""
    unit.waiter = asyncio.get_running_loop().create_future()
    waiter = unit.waiter
    pipeline.submit(unit)
    return waiter


async def outcomes(waiters):
    return await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), PATIENCE_SECONDS)


def test_records_of_a_loop_share_commits_and_keep_their_order(pipeline, path):
    async def client():
        return await outcomes([submitted(pipeline, record(number)) for number in range(600)])

    assert asyncio.run(client()) == list(range(600))
    assert recorded(path) == list(range(600))


def test_a_record_is_durable_when_its_waiter_hears_of_it(pipeline, path):
    async def client():
        seen = []
        for number in range(20):
            await submitted(pipeline, record(number))
            seen.append(len(recorded(path)))
        return seen

    assert asyncio.run(client()) == list(range(1, 21))


def test_loops_and_threads_write_side_by_side_without_a_gap(pipeline, path):
    async def client(start):
        answers = []
        for turn in range(20):
            numbers = range(start + turn * 10, start + turn * 10 + 10)
            answers += await outcomes([submitted(pipeline, record(number)) for number in numbers])
        return answers

    def loop(start):
        heard.append(asyncio.run(client(start)))

    def thread(start):
        heard.append([queued(pipeline, record(start + number)).result(PATIENCE_SECONDS) for number in range(40)])

    def worker(start):
        heard.append([pipeline.wait(keep(f"w{start + number}", number=start + number)) for number in range(40)])

    heard = []
    targets = [(loop, 0), (loop, 1000), (thread, 2000), (worker, 3000), (thread, 4000)]
    threads = [threading.Thread(target=target, args=(start,)) for target, start in targets]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE_SECONDS)
    assert sorted(map(len, heard)) == [40, 40, 40, 200, 200]
    found = recorded(path)
    assert len(found) == len(set(found)) == 520
    for start in (0, 1000):
        assert [number for number in found if start <= number < start + 1000] == list(range(start, start + 200))
    assert len(names(path)) == 40


def test_a_loop_s_records_count_against_the_limit_and_are_refused_beyond_it(tmp_path):
    with world(tmp_path / "home", queue_limit=5) as made:
        pipeline = made.guard.pipeline

        async def client():
            with held(pipeline):
                waiters = [submitted(pipeline, record(number)) for number in range(5)]
                with pytest.raises(Overloaded):
                    submitted(pipeline, record(5))
                await asyncio.sleep(0.02)
                with pytest.raises(Overloaded):
                    submitted(pipeline, record(6))
                with pytest.raises(Overloaded):
                    queued(pipeline, keep("a"))
            return await outcomes(waiters)

        assert asyncio.run(client()) == list(range(5))


def test_a_group_of_a_loop_is_bounded(pipeline, path):
    async def client():
        with held(pipeline):
            waiters = [submitted(pipeline, record(number)) for number in range(MAX_UNITS * 2 + 1)]
            await asyncio.sleep(0.01)
        return await outcomes(waiters)

    assert asyncio.run(client()) == list(range(MAX_UNITS * 2 + 1))
    assert len(recorded(path)) == MAX_UNITS * 2 + 1


def test_half_of_those_who_wait_is_committed_while_the_loop_makes_the_others(pipeline, commits):
    """A turn that makes many records at once does not keep a slow disk idle until it ends."""
    pipeline.quick_seconds = NEVER

    async def client():
        first = [submitted(pipeline, record(number)) for number in range(40)]
        await outcomes(first)
        before = len(commits)
        waiters = [submitted(pipeline, record(number)) for number in range(40, 80)]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(commits) == before and time.monotonic() < deadline:
            time.sleep(0.001)  # noqa: ASYNC251  the loop is at work here, and nothing else has its turn
        return len(commits) - before, await outcomes(waiters)

    during, answers = asyncio.run(client())
    assert during == 1
    assert answers == list(range(40, 80))


# who commits


class Disk:
    """Stands in for the disk under the writer: how long a COMMIT waits for it, who waited, and what it answers."""

    def __init__(self, engine):
        self.seconds, self.error, self.waited = 0.0, None, []
        event.listen(engine, "commit", self)

    def __call__(self, _connection):
        self.waited.append(threading.current_thread().name)
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(made):
    return Disk(made.guard.store.writer_engine)


WRITER, LOOP = "guard-writer", "MainThread"


async def groups(pipeline, disk, count, start=0):
    """Who committed each of so many groups of one record."""
    before = len(disk.waited)
    for number in range(start, start + count):
        assert await submitted(pipeline, record(number)) == number
    return disk.waited[before:]


def test_a_quick_commit_is_the_loop_s_and_one_that_waits_the_thread_s(pipeline, disk, quick):
    assert set(asyncio.run(groups(pipeline, disk, 5))) == {LOOP if quick else WRITER}


def test_a_crowd_whose_requests_come_in_two_turns_is_one_group(pipeline, disk, quick):
    async def client():
        await outcomes([submitted(pipeline, record(number)) for number in range(40)])
        before = len(disk.waited)
        waiters = [submitted(pipeline, record(number)) for number in range(40, 50)]
        await asyncio.sleep(0)
        waiters += [submitted(pipeline, record(number)) for number in range(50, 80)]
        await outcomes(waiters)
        return len(disk.waited) - before

    assert asyncio.run(client()) == (1 if quick else 2)


def test_a_disk_that_turns_slow_costs_the_loop_few_commits_and_one_slow_commit_changes_nothing(pipeline, disk, path):
    pipeline.quick_seconds, slow_seconds = 0.03, 0.1

    async def client():
        await groups(pipeline, disk, 20)
        disk.seconds = slow_seconds
        once = await groups(pipeline, disk, 1, 20)
        disk.seconds = 0
        after = await groups(pipeline, disk, 3, 21)
        disk.seconds = slow_seconds
        slow = await groups(pipeline, disk, 16, 30)
        disk.seconds = 0
        again = await groups(pipeline, disk, 20, 50)
        return once, after, slow, again

    once, after, slow, again = asyncio.run(client())
    assert once == [LOOP]
    assert LOOP in after
    assert slow[-4:] == [WRITER] * 4
    assert LOOP in again
    assert len(recorded(path)) == 20 + 1 + 3 + 16 + 20


def test_work_has_its_turn_beside_a_loop_that_never_pauses(pipeline, path):
    """A loop that takes the connection again at once would leave the thread waiting for ever."""
    ended = threading.Event()

    async def client():
        number = 0
        while not ended.is_set():
            await outcomes([submitted(pipeline, record(number + one)) for one in range(8)])
            number += 8
        return number

    def work():
        for number in range(30):
            assert pipeline.wait(keep(f"w{number}")) == f"w{number}"
        ended.set()

    worker = threading.Thread(target=work)
    worker.start()
    written = asyncio.run(asyncio.wait_for(client(), PATIENCE_SECONDS))
    worker.join(PATIENCE_SECONDS)
    assert names(path) == [f"w{number}" for number in range(30)]
    assert recorded(path) == list(range(written))


def test_after_a_commit_of_unknown_outcome_the_loop_tells_it_before_the_thread_ends_the_process(made, quick, disk):
    heard = []

    def end():
        told.wait(PATIENCE_SECONDS)  # the loop is free to send its answers meanwhile
        heard.append(threading.current_thread().name)

    told = threading.Event()
    pipeline = another(made, quick, on_fatal=end)

    async def client():
        disk.error = exc.OperationalError("COMMIT", None, Exception("disk I/O error"))
        answers = await outcomes([submitted(pipeline, record(number)) for number in range(3)])
        disk.error = None
        told.set()
        return answers

    answers = asyncio.run(client())
    assert [type(one) for one in answers] == [AuditOutcomeUnknown] * 3
    pipeline.stop()
    assert heard == [WRITER]


# loops that end


def test_a_loop_that_ended_before_its_turn_holds_up_nobody(pipeline, path):
    """Its record was made, so it is written; the next loop is answered as if nothing had been."""
    loop = asyncio.new_event_loop()
    unit = record(1)
    unit.waiter = loop.create_future()
    pipeline.submit(unit)
    loop.close()

    async def client():
        return await outcomes([submitted(pipeline, record(number)) for number in (2, 3)])

    assert asyncio.run(client()) == [2, 3]
    pipeline.stop()
    assert sorted(recorded(path)) == [1, 2, 3]


def test_a_loop_that_ended_while_another_was_busy_holds_up_nobody(pipeline, path):
    loop = asyncio.new_event_loop()

    async def client():
        with held(pipeline):
            unit = record(1)
            unit.waiter = loop.create_future()
            pipeline.submit(unit)
            loop.close()
            waiter = submitted(pipeline, record(2))
            await asyncio.sleep(0.02)  # its turn has come and found the connection taken
        return await outcomes([waiter])

    assert asyncio.run(client()) == [2]
    pipeline.stop()
    assert sorted(recorded(path)) == [1, 2]


def test_records_of_an_ended_loop_are_written_when_the_connection_is_free(pipeline, path):
    async def client():
        submitted(pipeline, record(1)).cancel()
        await asyncio.sleep(0.01)

    with held(pipeline):
        asyncio.run(client())
    pipeline.wait(keep("next", number=2))
    pipeline.stop()
    assert sorted(recorded(path)) == [1, 2]


def test_many_short_loops_after_each_other_are_all_answered(pipeline, path):
    async def client(number):
        return await outcomes([submitted(pipeline, record(number))])

    assert [asyncio.run(client(number)) for number in range(30)] == [[number] for number in range(30)]
    assert recorded(path) == list(range(30))


# defects and the end


def test_a_record_that_cannot_be_written_is_told_and_the_rest_goes_on(pipeline, path):
    async def client():
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        bad = await outcomes([submitted(pipeline, record(number, bad=number == 1)) for number in range(3)])
        good = await outcomes([submitted(pipeline, record(number)) for number in (3, 4)])
        return bad, good

    bad, good = asyncio.run(client())
    assert {type(one) for one in bad} == {AuditUnavailable}
    assert good == [3, 4]
    assert pipeline.wait(keep("after", number=5)) == "after"
    assert recorded(path) == [3, 4, 5]


def test_a_log_that_is_broken_for_a_while_leaves_no_gap(pipeline, path):
    broken = "CREATE TRIGGER broken BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'broken'); END"

    async def client(start):
        return await outcomes([submitted(pipeline, record(start + number)) for number in range(5)])

    assert asyncio.run(client(0)) == list(range(5))
    on_writer(pipeline, broken)
    assert {type(one) for one in asyncio.run(client(10))} == {AuditUnavailable}
    on_writer(pipeline, "DROP TRIGGER broken")
    assert asyncio.run(client(20)) == list(range(20, 25))
    assert recorded(path) == [*range(5), *range(20, 25)]


async def submit_until_refused(pipeline, start):
    """Submit records without pause until the writer has stopped; what became of those that were taken."""
    taken = []
    for number in range(start, start + 5000):
        try:
            taken.append(submitted(pipeline, record(number)))
        except Overloaded:
            await asyncio.sleep(0)
        except StoreUnavailable:
            break
        if number % 7 == 0:
            await asyncio.sleep(0)
    return await outcomes(taken)


@pytest.mark.parametrize("turn", range(12))
def test_stopping_while_loops_write_answers_every_one_of_their_records(made, quick, path, turn):
    """Each record that was taken is committed or refused, and none waits for ever."""
    pipeline = another(made, quick)
    started, heard = threading.Barrier(3), []

    def loop(start):
        started.wait(PATIENCE_SECONDS)
        heard.extend(asyncio.run(submit_until_refused(pipeline, start)))

    threads = [threading.Thread(target=loop, args=(start,)) for start in (0, 10_000)]
    for thread in threads:
        thread.start()
    started.wait(PATIENCE_SECONDS)
    threading.Event().wait(0.003 * turn)
    pipeline.stop()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    committed = [one for one in heard if isinstance(one, int)]
    assert all(isinstance(one, StoreUnavailable | AuditUnavailable) for one in heard if not isinstance(one, int))
    assert sorted(recorded(path)) == sorted(committed)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_writer_dies_loops_hear_of_it(made, quick):
    pipeline = another(made, quick)

    def defect(_tx):
        raise RuntimeError("a defect")

    async def client():
        with held(pipeline):
            queued(pipeline, Unit(work=defect)).add_done_callback(lambda _future: None)
            waiters = [submitted(pipeline, record(number)) for number in range(5)]
            await asyncio.sleep(0.01)
        return await outcomes(waiters)

    for error in asyncio.run(client()):
        assert isinstance(error, GuardError | int)
    pipeline._thread.join(PATIENCE_SECONDS)
    assert not pipeline.alive


class Slow(tuple):
    """Records that take their time to be read, as a stalled disk would; tells when somebody reads them."""

    __slots__ = ()
    reached, go = threading.Event(), threading.Event()

    def __iter__(self):
        self.reached.set()
        assert self.go.wait(PATIENCE_SECONDS)
        return super().__iter__()


def test_stopping_in_the_middle_of_what_a_loop_writes_commits_it(made, pipeline, path):
    Slow.reached.clear()
    Slow.go.clear()
    unit, heard = record(1), []
    unit.entries = Slow(unit.entries)

    async def client():
        return await outcomes([submitted(pipeline, unit)])

    loop = threading.Thread(target=lambda: heard.append(asyncio.run(client())))
    stopper = threading.Thread(target=pipeline.stop)
    loop.start()
    assert Slow.reached.wait(PATIENCE_SECONDS)
    stopper.start()
    stopper.join(0.2)
    Slow.go.set()
    stopper.join(PATIENCE_SECONDS)
    loop.join(PATIENCE_SECONDS)
    assert not stopper.is_alive()
    assert heard == [[1]]
    assert recorded(path) == [1]


@pytest.mark.parametrize("who", ["loop", "thread"])
def test_a_transaction_that_cannot_begin_is_told_and_the_next_one_can(made, pipeline, path, who):
    faults = [exc.OperationalError("BEGIN", None, Exception("disk I/O error"))]

    def broken(_connection):
        if faults:
            raise faults.pop()

    async def client(number):
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        return await outcomes([submitted(pipeline, record(number))])

    event.listen(made.guard.store.writer_engine, "begin", broken)
    if who == "loop":
        (error,) = asyncio.run(client(1))
    else:
        error = queued(pipeline, record(1)).exception(PATIENCE_SECONDS)
    assert isinstance(error, AuditUnavailable)
    assert asyncio.run(client(2)) == [2]
    assert queued(pipeline, record(3)).result(PATIENCE_SECONDS) == 3
    assert recorded(path) == [2, 3]


class Ending:
    """A waiter on a loop that looks open and is closed by the time that anybody calls it."""

    def get_loop(self):
        return self

    def is_closed(self):
        return False

    def done(self):
        return False

    def call_soon(self, *_):
        pass

    def call_soon_threadsafe(self, *_):
        raise RuntimeError("Event loop is closed")


@pytest.mark.parametrize("work", [False, True])
def test_a_loop_that_closes_at_the_last_moment_does_not_end_the_writer(pipeline, path, work):
    unit = keep("a", number=1) if work else record(1)
    unit.waiter = Ending()
    with held(pipeline):
        pipeline.submit(unit)
    assert pipeline.wait(keep("next", number=2)) == "next"
    assert pipeline.alive
    pipeline.stop()
    assert sorted(recorded(path)) == [1, 2]
