"""Every external call has an intent before it and, whatever happens, exactly one outcome, unknown or late after it."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from guard.audit.operations import SWEEP_LIMIT
from guard.audit.verifier.command import verify
from guard.db.unit import Unit
from guard.errors import AuditUnavailable, Conflict
from guard.gate import INTENT_SECONDS
from tests.conftest import ROOT
from tests.db.building import held, keep, on_writer, queued
from tests.gate.building import BROKEN_LOG, insert, stage, told


@pytest.fixture
def made(tmp_path):
    with stage(tmp_path / "home") as made:
        made.ana = made.hire("acme", "user:local|ana", "role:tester")
        yield made


def phases(bodies):
    return [(body["phase"], body["result"]["status"]) for body in bodies]


@pytest.mark.parametrize("moment", [[], ["after"]], ids=["in the call", "at the outcome"])
def test_a_process_that_dies_before_the_outcome_leaves_an_intent_that_becomes_unknown(tmp_path, moment):
    home = tmp_path / "home"
    command = [sys.executable, str(ROOT / "tests" / "gate" / "dying.py"), str(home), *moment]
    died = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    with stage(home) as made:
        made.clock.advance(60)  # the second life begins later than the first, and long before the intent's own deadline
        (intent,) = made.bodies()[-1:]
        assert phases([intent]) == [("intent", "ok")]
        assert made.rows("SELECT intent, tenant, actor, action FROM audit_open_intents") == [
            (intent["id"], "acme", "user:local|ana", "notes.send")
        ]
        assert made.beat("intents.sweep") == 1
        unknown = made.bodies()[-1]
        assert phases([unknown]) == [("unknown", "unknown")]
        assert (unknown["intent"], unknown["action"]) == (intent["id"], "notes.send")
        assert unknown["actor"]["id"] == "user:local|ana"
        assert made.rows("SELECT count(*) FROM audit_open_intents") == [(0,)]
        size = made.size
        made.beat("intents.sweep")
        assert made.size == size
        assert_log_pairs(made)


def assert_log_pairs(made):
    """The offline verifier finds each intent closed once, and nothing else wrong."""
    auditor = made.hire("system", "user:local|eve", "role:auditor")
    made.call("checkpoints.publish")
    view = made.call("exports.create", auditor)
    report = verify(Path(made.home) / "exports" / f"{view.id}.zip")
    assert report.faults == []
    assert report.counts["open_intents"] == 0


def test_an_outcome_that_comes_after_the_sweep_is_late(made):
    def slow(ctx, _request):
        made.clock.advance(INTENT_SECONDS + 1)
        made.beat("intents.sweep")
        ctx.at_outcome(lambda _tx: insert(ctx, "done late"))

    made.script["a"] = slow
    size = made.size
    assert made.call("notes.send", made.ana).text == "did a"
    bodies = made.bodies(size)
    assert phases(bodies) == [("intent", "ok"), ("unknown", "unknown"), ("late", "ok")]
    assert bodies[2]["intent"] == bodies[1]["intent"] == bodies[0]["id"]
    assert made.kept() == ["done late"]
    assert_log_pairs(made)


def test_a_full_queue_does_not_keep_out_the_outcome(tmp_path):
    with stage(tmp_path / "home", queue_limit=1) as made, ExitStack() as writer:
        ana = made.hire("acme", "user:local|ana", "role:tester")

        def crowded(_ctx, _request):
            writer.enter_context(held(made.pipeline))
            queued(made.pipeline, keep("company"))
            threading.Timer(0.2, writer.close).start()

        made.script["a"] = crowded
        size = made.size
        assert made.call("notes.send", ana).text == "did a"
        assert phases(made.bodies(size)) == [("intent", "ok"), ("outcome", "ok")]


def test_an_outcome_that_cannot_be_recorded_does_not_say_that_nothing_happened(made):
    made.script["a"] = lambda _ctx, _request: on_writer(made.pipeline, BROKEN_LOG)
    with pytest.raises(AuditUnavailable, match="was done, but its outcome could not be recorded"):
        made.call("notes.send", made.ana)
    on_writer(made.pipeline, "DROP TRIGGER broken")
    size = made.size
    made.clock.advance(INTENT_SECONDS + 1)
    made.beat("intents.sweep")
    assert phases(made.bodies(size)) == [("unknown", "unknown")]


def test_a_late_refusal_is_late_too(made):
    def slow(_ctx, _request):
        made.clock.advance(INTENT_SECONDS + 1)
        made.beat("intents.sweep")
        raise Conflict("The other side said no.")

    made.script["a"] = slow
    size = made.size
    with pytest.raises(Conflict):
        made.call("notes.send", made.ana)
    assert phases(made.bodies(size)) == [("intent", "ok"), ("unknown", "unknown"), ("late", "refused")]


def test_a_call_within_its_time_is_not_swept(made):
    def slow(_ctx, _request):
        made.clock.advance(INTENT_SECONDS - 5)
        made.beat("intents.sweep")

    made.script["a"] = slow
    size = made.size
    made.call("notes.send", made.ana)
    assert phases(made.bodies(size)) == [("intent", "ok"), ("outcome", "ok")]


def opened(made, actor):
    """Open an intent as the gate does for *actor*, and go no further."""
    entry = made.gate.operations["notes.send"]
    intent = made.gate._record.entry(entry, None, made.gate._context(actor, "req"), phase="intent")
    made.pipeline.wait(Unit(work=lambda tx: made.gate._open_intent(tx, intent)))


def test_a_restart_makes_every_open_intent_due_at_once(tmp_path):
    home = tmp_path / "home"
    with stage(home) as made:
        opened(made, made.hire("acme", "user:local|ana", "role:tester"))
        before = made.clock.now_us
    with stage(home) as made:
        made.clock.now_us = before + 1
        assert made.call("intents.sweep").unknown == 1


def test_a_sweep_takes_a_bounded_number_and_the_next_goes_on(made):
    for _ in range(SWEEP_LIMIT + 5):
        opened(made, made.ana)
    made.clock.advance(INTENT_SECONDS + 1)
    assert [made.call("intents.sweep").unknown for _ in range(3)] == [SWEEP_LIMIT, 5, 0]
    assert sum(told(body)[1] == "unknown" for body in made.bodies()) == SWEEP_LIMIT + 5
