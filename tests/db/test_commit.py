"""The pipeline at work: groups, order, savepoints, a full queue, both kinds of waiters, and the end."""

import asyncio
import threading

import pytest
from sqlalchemy import event

from guard.db.commit import MAX_UNITS, Pipeline
from guard.db.engine import savepoint
from guard.db.unit import Unit
from guard.errors import InvalidInput, Overloaded, StoreUnavailable
from tests.db.building import PATIENCE_SECONDS, Refusal, entry_of, held, keep, names, queued, rows
from tests.world import world


@pytest.fixture
def made(tmp_path):
    with world(tmp_path / "home", queue_limit=2000) as made:
        yield made


@pytest.fixture
def pipeline(made):
    return made.guard.pipeline


@pytest.fixture
def path(made):
    return made.guard.settings.database


def test_many_units_share_few_commits_and_each_is_answered(pipeline, path, commits):
    with held(pipeline):
        waiters = [queued(pipeline, keep(f"n{number}", number=number)) for number in range(600)]
    assert [waiter.result(PATIENCE_SECONDS) for waiter in waiters] == [f"n{number}" for number in range(600)]
    assert len(commits) <= 1 + -(-600 // MAX_UNITS) + 1
    assert len(names(path)) == 600


def test_a_group_has_at_most_its_limit_of_units(pipeline, commits):
    with held(pipeline):
        waiters = [queued(pipeline, keep(f"n{number}")) for number in range(MAX_UNITS + 1)]
    for waiter in waiters:
        waiter.result(PATIENCE_SECONDS)
    assert len(commits) >= 2


def test_the_order_of_submission_is_the_order_of_effects_and_records(pipeline, path, made):
    before = made.guard.log.size
    with held(pipeline):
        waiters = [queued(pipeline, keep(f"n{number}", number=number)) for number in range(300)]
    for waiter in waiters:
        waiter.result(PATIENCE_SECONDS)
    assert names(path) == [f"n{number}" for number in range(300)]
    wanted = [entry_of(number).id for number in range(300)]
    assert [name for (name,) in rows(path, "SELECT id FROM audit_index WHERE idx >= ? ORDER BY idx", before)] == wanted
    numbers = rows(path, "SELECT n FROM audit_index WHERE tenant = 'acme' ORDER BY idx")
    assert [n for (n,) in numbers] == list(range(300))


def test_a_lone_unit_does_not_wait_for_company(pipeline, commits):
    for number in range(5):
        pipeline.wait(keep(f"n{number}"))
    assert len(commits) == 5


def test_nothing_is_visible_before_the_answer_and_all_of_it_after(pipeline, path):
    with held(pipeline):
        waiter = queued(pipeline, keep("late", number=1))
        assert not waiter.done()
        assert names(path) == []
    waiter.result(PATIENCE_SECONDS)
    assert names(path) == ["late"]


@pytest.mark.parametrize("limit", [1, 3])
def test_a_full_queue_refuses_at_once_and_does_nothing(tmp_path, limit):
    with world(tmp_path / "home", queue_limit=limit) as made:
        pipeline, path = made.guard.pipeline, made.guard.settings.database
        with held(pipeline):
            waiters = [queued(pipeline, keep(f"n{number}")) for number in range(limit)]
            with pytest.raises(Overloaded, match="nothing was done") as refusal:
                pipeline.submit(keep("one too many"))
            assert refusal.value.extra["retry_after_seconds"] >= 1
        for waiter in waiters:
            waiter.result(PATIENCE_SECONDS)
        assert names(path) == [f"n{number}" for number in range(limit)]
        assert pipeline.wait(keep("room again")) == "room again"


def test_a_full_queue_takes_what_has_happened_already(tmp_path):
    """Told that nothing was done, a caller would do it again; and the log would not know of the first time."""
    with world(tmp_path / "home", queue_limit=1) as made:
        pipeline, path = made.guard.pipeline, made.guard.settings.database
        owed = keep("owed")
        owed.owed = True
        with held(pipeline):
            waiters = [queued(pipeline, keep("first")), queued(pipeline, owed)]
            with pytest.raises(Overloaded):
                pipeline.submit(keep("one too many"))
        assert [waiter.result(PATIENCE_SECONDS) for waiter in waiters] == ["first", "owed"]
        assert names(path) == ["first", "owed"]


def test_a_refused_unit_undoes_its_savepoint_only(pipeline, path):
    def work(tx):
        try:
            with savepoint(tx):
                tx.exec_driver_sql("INSERT INTO meta VALUES ('undone', 'kept')")
                raise Refusal("no")
        except Refusal as error:
            unit.error = error
        return [entry_of(7)]

    unit = Unit(work=work)
    with held(pipeline):
        waiters = [queued(pipeline, one) for one in (keep("before"), unit, keep("after"))]
    assert waiters[0].result(PATIENCE_SECONDS) == "before"
    assert waiters[2].result(PATIENCE_SECONDS) == "after"
    with pytest.raises(Refusal):
        waiters[1].result(PATIENCE_SECONDS)
    assert names(path) == ["before", "after"]
    assert rows(path, "SELECT id FROM audit_index WHERE id = ?", entry_of(7).id)


def test_savepoints_nest_and_inner_ones_fail_alone(pipeline, path):
    def work(tx):
        with savepoint(tx):
            tx.exec_driver_sql("INSERT INTO meta VALUES ('outer', 'kept')")
            with pytest.raises(Refusal), savepoint(tx):
                tx.exec_driver_sql("INSERT INTO meta VALUES ('inner', 'kept')")
                raise Refusal("no")
        return []

    pipeline.wait(Unit(work=work))
    assert names(path) == ["outer"]


def test_a_unit_that_raises_fails_its_whole_group_with_its_error(pipeline, path):
    with held(pipeline):
        units = (keep("a", number=1), keep("b", error=InvalidInput("this group is lost")), keep("c", number=2))
        waiters = [queued(pipeline, unit) for unit in units]
    for waiter in waiters:
        with pytest.raises(InvalidInput, match="this group is lost"):
            waiter.result(PATIENCE_SECONDS)
    assert names(path) == []
    pipeline.wait(keep("d", number=3))
    assert names(path) == ["d"]


def test_hooks_run_after_the_commit_and_before_the_answer(pipeline, path):
    seen = []
    unit = keep("hooked")
    unit.hooks = [lambda: seen.append(names(path)), lambda: seen.append(waiter.done())]
    with held(pipeline):
        waiter = queued(pipeline, unit)
    waiter.result(PATIENCE_SECONDS)
    assert seen == [["hooked"], False]


def test_threads_and_event_loops_wait_side_by_side(pipeline, path):
    async def clients(count):
        loop = asyncio.get_running_loop()

        async def client(number):
            unit = keep(f"loop{number}")
            unit.waiter = loop.create_future()
            waiter = unit.waiter
            pipeline.submit(unit)
            return await waiter

        return await asyncio.gather(*(client(number) for number in range(count)))

    answers = []
    threads = [
        threading.Thread(target=lambda number=number: answers.append(pipeline.wait(keep(f"thread{number}"))))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    assert asyncio.run(clients(50)) == [f"loop{number}" for number in range(50)]
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(answers) == [f"thread{number}" for number in range(8)]
    assert len(names(path)) == 58


def test_one_who_no_longer_waits_does_not_disturb_the_rest(pipeline, path):
    async def client():
        unit = keep("left alone")
        unit.waiter = asyncio.get_running_loop().create_future()
        with held(pipeline):
            pipeline.submit(unit)
            unit.waiter.cancel()
            follower = queued(pipeline, keep("stays"))
        return await asyncio.to_thread(follower.result, PATIENCE_SECONDS)

    assert asyncio.run(client()) == "stays"
    assert names(path) == ["left alone", "stays"]


def test_a_closed_event_loop_does_not_disturb_the_rest(pipeline, path):
    loop = asyncio.new_event_loop()
    unit = keep("nobody hears it")
    unit.waiter = loop.create_future()
    with held(pipeline):
        pipeline.submit(unit)
        loop.close()
    assert pipeline.wait(keep("next")) == "next"
    assert names(path) == ["nobody hears it", "next"]


def test_stopping_commits_what_is_queued_and_refuses_what_comes_later(made, pipeline, path):
    fresh = Pipeline(made.guard.store, made.guard.log, limit=100, on_fatal=lambda: None)
    pipeline.stop()
    fresh.start()
    free = threading.Event()
    first = queued(fresh, Unit(work=lambda _tx: free.wait(PATIENCE_SECONDS) and []))
    waiters = [queued(fresh, keep(f"n{number}", number=number)) for number in range(40)]
    stopper = threading.Thread(target=fresh.stop)
    stopper.start()
    free.set()
    stopper.join(PATIENCE_SECONDS)
    assert [waiter.result(0) for waiter in waiters] == [f"n{number}" for number in range(40)]
    assert first.done()
    assert not fresh.alive
    with pytest.raises(StoreUnavailable, match="nothing was done"):
        fresh.submit(keep("too late"))
    assert len(names(path)) == 40


def test_no_submission_is_left_without_an_answer_while_the_writer_stops(made):
    """Threads submit without pause while the pipeline stops: each gets its answer or a refusal, none waits for ever."""
    made.guard.pipeline.stop()
    for turn in range(15):
        pipeline = Pipeline(made.guard.store, made.guard.log, limit=100, on_fatal=lambda: None)
        pipeline.start()
        outcomes = []

        def client(name, pipeline=pipeline, outcomes=outcomes):
            for number in range(10_000):
                try:
                    waiter = queued(pipeline, keep(f"{name}.{number}"))
                except StoreUnavailable:
                    outcomes.append("refused")
                    return
                except Overloaded:
                    continue
                try:
                    waiter.result(PATIENCE_SECONDS)
                except StoreUnavailable:
                    outcomes.append("refused")
                    return

        threads = [threading.Thread(target=client, args=(f"{turn}.{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        pipeline.stop()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert outcomes == ["refused"] * 4


def test_a_unit_of_records_only_needs_no_work(pipeline, path):
    unit = Unit([entry_of(1), entry_of(2)])
    unit.result = "answer"
    assert pipeline.wait(unit) == "answer"
    assert len(rows(path, "SELECT 1 FROM audit_index WHERE tenant = 'acme'")) == 2


def test_records_of_a_loop_that_is_faster_than_the_writer_thread_are_not_forgotten(tmp_path):
    """The loop finds the connection not yet made; whoever makes it has to come back to it."""
    with world(tmp_path / "home") as made:
        made.guard.pipeline.stop()
        pipeline = Pipeline(made.guard.store, made.guard.log, limit=100, on_fatal=lambda: None)
        connected = threading.Event()
        event.listen(made.guard.store.writer_engine, "engine_connect", lambda _: connected.wait(PATIENCE_SECONDS))

        async def client():
            unit = Unit([entry_of(1)])
            unit.waiter = waiter = asyncio.get_running_loop().create_future()
            pipeline.submit(unit)
            await asyncio.sleep(0.05)
            connected.set()
            return await asyncio.wait_for(waiter, PATIENCE_SECONDS)

        pipeline.start()
        assert asyncio.run(client()) is None
        pipeline.stop()
