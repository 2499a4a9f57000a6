"""The loops: one that fails beats again, none starves the others, and a hint is only a hint."""

import threading

import pytest
import structlog

from guard.errors import Conflict
from guard.worker import MAX_PER_BEAT, Worker, always
from tests.db.building import PATIENCE_SECONDS
from tests.gate.building import CANARY, insert, stage

LOOPS = {
    "audit.resumed",
    "buckets.rotate",
    "budgets.exceeded",
    "budgets.store",
    "subjects.replayed",
    "subjects.scrub",
    "subjects.step",
    "tokens.sweep",
    "checkpoints.stage",
    "checkpoints.adopt",
    "checkpoints.reread",
    "checkpoints.tidy",
    "checkpoints.witness",
    "clock.regression",
    "erasures.step",
    "exports.step",
    "intents.sweep",
    "key_uses.store",
    "keys.expire",
    "keys.rewrap",
    "keys.rotate",
    "log.archive",
    "prunes.sweep",
    "reencryptions.step",
    "refusals.merge",
    "runs.advance",
    "scrubs.step",
    "sealed.expire",
    "services.watch",
}
POLICY = "\np, role:system-worker, *, notes/**, notes.*, allow\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worker")
    with stage(folder / "first"):
        pass
    with (folder / "policies" / "access" / "roles.csv").open("a") as file:
        file.write(POLICY)
    with stage(folder / "home") as made:
        made.hire("acme", "user:local|ana", "role:tester")
        yield made


@pytest.fixture
def worker(made):
    made.script.clear()
    worker = Worker(made.gate, made.clock, heartbeat_milliseconds=20)
    yield worker
    worker.stop()


def due(*requests, tenant="acme"):
    return lambda _now_us: [(tenant, request) for request in requests]


def test_a_beat_calls_the_operation_for_whatever_is_due_and_counts_successes(made, worker):
    made.script["a"] = lambda ctx, request: insert(ctx, f"beat{request.value}")
    wanted = due(*({"name": "a", "value": str(number)} for number in range(3)))
    assert worker.beat("notes.keep", wanted) == 3
    assert made.kept()[-3:] == ["beat0", "beat1", "beat2"]


def test_each_call_is_recorded_as_guard_s_own_in_the_tenant_of_the_thing(made, worker):
    size = made.size
    worker.beat("notes.keep", due({"name": "a"}, {"name": "b"}))
    bodies = made.bodies(size)
    assert [body["actor"]["id"] for body in bodies] == ["system:worker"] * 2
    assert len({body["request"]["id"] for body in bodies}) == 2


def test_what_is_not_allowed_to_guard_s_own_loops_is_refused_and_the_beat_goes_on(made, worker):
    with structlog.testing.capture_logs() as logs:
        assert worker.beat("keys.read", due({"key": "customers.email"}, {"key": "customers.email"})) == 0
    assert [(line["event"], line["code"]) for line in logs] == [("loop_refused", "GRD-AUTHZ-001")] * 2


def test_one_that_is_refused_does_not_hold_up_the_next(made, worker):
    def run(ctx, request):
        if request.value == "bad":
            raise Conflict("Not now.")
        insert(ctx, f"held{request.value}")

    made.script["a"] = run
    wanted = due(*({"name": "a", "value": value} for value in ("1", "bad", "2")))
    with structlog.testing.capture_logs() as logs:
        assert worker.beat("notes.keep", wanted) == 2
    assert made.kept()[-2:] == ["held1", "held2"]
    assert [line["event"] for line in logs] == ["loop_refused"]


def test_a_defect_is_logged_without_its_text_and_the_beat_goes_on(made, worker):
    def run(_ctx, request):
        if request.value == "bad":
            raise ValueError(CANARY)

    made.script["a"] = run
    wanted = due(*({"name": "a", "value": value} for value in ("bad", "1")))
    with structlog.testing.capture_logs() as logs:
        assert worker.beat("notes.keep", wanted) == 1
    assert CANARY not in str(logs)
    assert {line["event"] for line in logs} == {"unforeseen_error", "loop_refused"}


@pytest.mark.parametrize("request_", [{"nmae": "a"}, {"name": 1}, {"name": object()}, {1: 2}, None, "text"])
def test_a_hint_that_is_no_request_is_logged_and_no_more(made, worker, request_):
    with structlog.testing.capture_logs() as logs:
        assert worker.beat("notes.keep", due(request_, {"name": "a"})) == 1
    assert len(logs) == 1


def test_a_beat_makes_a_bounded_number_of_calls_and_asks_for_no_more(made, worker):
    asked = []

    def endless(_now_us):
        while True:
            asked.append(1)
            yield "acme", {"name": "a"}

    assert worker.beat("notes.compute", endless) == MAX_PER_BEAT
    assert len(asked) == MAX_PER_BEAT


def test_the_hint_gets_the_time_of_the_guard_s_clock(made, worker):
    seen = []
    worker.beat("notes.compute", lambda now_us: seen.append(now_us) or [])
    assert 0 <= made.clock.now_us - seen[0] < 100


@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_hint_that_raises_is_logged_without_its_text_and_the_loop_lives(made, worker, moment, capfd):
    def broken(_now_us):
        if moment == "between":
            yield "acme", {"name": "a"}
        raise ValueError(CANARY)

    with structlog.testing.capture_logs() as logs:
        worker.beat("notes.compute", broken)
    assert [(line["event"], line["kind"]) for line in logs] == [("loop_failed", "ValueError")]
    assert CANARY not in str(logs) + "".join(capfd.readouterr())


def test_loops_beat_again_after_every_kind_of_failure(made, worker, capfd):
    beats, enough = {"a": 0, "b": 0}, threading.Event()

    def failing(_ctx, request):
        beats[request.name] += 1
        if min(beats.values()) >= 3:
            enough.set()
        raise (ValueError(CANARY) if request.name == "a" else Conflict("Not now."))

    def broken(_now_us):
        raise ValueError(CANARY)

    made.script.update(a=failing, b=failing)
    with structlog.testing.capture_logs() as logs:
        worker.every(0, "notes.keep", due({"name": "a"}))
        worker.every(0, "notes.send", due({"name": "b"}))
        worker.every(0, "notes.look", broken)
        worker.start()
        assert enough.wait(PATIENCE_SECONDS)
        worker.stop()
    assert CANARY not in str(logs) + "".join(capfd.readouterr())
    assert {"loop_failed", "loop_refused", "unforeseen_error"} <= {line["event"] for line in logs}


def test_one_loop_never_runs_twice_at_a_time(made, worker):
    running, most, enough = [], [], threading.Event()

    def slow(_ctx, _request):
        running.append(1)
        most.append(len(running))
        threading.Event().wait(0.08)
        running.pop()
        if len(most) >= 3:
            enough.set()

    made.script["a"] = slow
    worker.every(0, "notes.send", due({"name": "a"}))
    worker.start()
    assert enough.wait(PATIENCE_SECONDS)
    worker.stop()
    assert set(most) == {1}


def test_stopping_waits_for_the_call_under_way(made, worker):
    started, ended = threading.Event(), []

    def slow(_ctx, _request):
        started.set()
        threading.Event().wait(0.1)
        ended.append(1)

    made.script["a"] = slow
    worker.every(0, "notes.send", due({"name": "a"}))
    worker.start()
    assert started.wait(PATIENCE_SECONDS)
    worker.stop()
    assert ended
    worker.stop()


def test_always_is_due_once_for_the_platform():
    assert list(always(0)) == [("system", {})]


def test_the_guard_s_own_loops_are_these_and_their_operations_exist(made):
    jobs = {job.id for job in made.guard.worker._scheduler.get_jobs()}
    assert jobs == LOOPS
    assert jobs <= made.gate.operations.keys()


def test_checkpoints_are_published_by_the_running_loop(tmp_path):
    with stage(tmp_path / "home", checkpoint_seconds=0, heartbeat_milliseconds=20) as made:
        made.guard.worker.start()
        for _ in range(400):
            if made.rows("SELECT count(*) FROM audit_checkpoints")[0][0]:
                break
            threading.Event().wait(0.02)
        assert made.rows("SELECT max(size) FROM audit_checkpoints")[0][0] > 0


def test_a_loop_of_its_own_goes_on_after_any_failure_and_ends_with_the_worker(worker, monkeypatch):
    monkeypatch.setattr("guard.worker.AGAIN_SECONDS", 0.01)
    errors = iter([Conflict("Expected x, got y; do z."), ValueError(CANARY)])
    seen, released, enough = [], [], threading.Event()

    def step():
        seen.append(threading.current_thread().name)
        if len(seen) >= 5:
            enough.set()
        for error in errors:
            raise error
        return 0.01

    worker.alone("mine", step, lambda: released.append(True))
    with structlog.testing.capture_logs() as logged:
        worker.start()
        assert enough.wait(PATIENCE_SECONDS)
        worker.stop()
    assert set(seen) == {"guard-mine"}
    assert released == [True]
    assert [(one["event"], one["loop"]) for one in logged[:2]] == [("loop_refused", "mine"), ("loop_failed", "mine")]
    assert CANARY not in str(logged)
    count = len(seen)
    threading.Event().wait(0.1)
    assert len(seen) == count


def test_a_loop_of_its_own_that_waits_holds_no_other_loop(made, worker):
    held, beaten = threading.Event(), threading.Event()
    made.script["a"] = lambda _ctx, _request: beaten.set()
    for number in range(20):  # more than the scheduler has threads
        worker.alone(f"stuck{number}", lambda: float(held.wait(PATIENCE_SECONDS)), held.set)
    worker.every(0, "notes.keep", due({"name": "a"}))
    worker.start()
    assert beaten.wait(PATIENCE_SECONDS)
    assert not held.is_set()
