"""Every transition that the tables allow, and every one that they do not."""

import itertools

import pytest

from guard.errors import Conflict
from guard.runbook import events as ev
from guard.runbook.plan import GuardStep
from guard.runbook.run import MOVES, RunState, StepRun, apply, draft
from guard.runbook.states import (
    ENDED,
    RUN_TRANSITIONS,
    STEP_TRANSITIONS,
    UNDER_WAY,
    WAITING,
    RunStatus,
    StepState,
    run_moves,
    step_moves,
)

LEGAL_STEPS = """
pending -> ready skipped
ready -> waiting_human waiting_approval waiting_timer waiting_event intended
waiting_human -> succeeded failed timed_out skipped
waiting_approval -> succeeded failed timed_out skipped
waiting_timer -> succeeded failed timed_out skipped
waiting_event -> succeeded failed timed_out skipped
intended -> dispatched skipped
dispatched -> succeeded failed timed_out unknown
unknown -> succeeded failed ready
failed -> ready
timed_out -> ready
succeeded -> compensated
"""
LEGAL_RUNS = """
draft -> running
running -> paused completed failed aborted superseded
paused -> running completed failed aborted superseded
"""


def pairs(text):
    for line in text.strip().splitlines():
        old, _, new = line.partition(" -> ")
        yield from ((old, each) for each in new.split())


@pytest.mark.parametrize(("old", "new"), list(itertools.product(StepState, StepState)))
def test_each_pair_of_step_states(old, new):
    if (old.value, new.value) in set(pairs(LEGAL_STEPS)):
        assert step_moves("s", old, new) is new
    else:
        with pytest.raises(Conflict):
            step_moves("s", old, new)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(RunStatus, RunStatus)))
def test_each_pair_of_run_states(old, new):
    if (old.value, new.value) in set(pairs(LEGAL_RUNS)):
        assert run_moves(old, new) is new
    else:
        with pytest.raises(Conflict):
            run_moves(old, new)


def test_every_state_has_its_row():
    assert set(STEP_TRANSITIONS) == set(StepState)
    assert set(RUN_TRANSITIONS) == set(RunStatus)
    assert not {new for ended in ENDED for new in RUN_TRANSITIONS[ended]}
    assert WAITING < UNDER_WAY


def test_every_step_event_has_its_row_and_none_leaves_the_table():
    classes = {each for each in ev.AnyEvent.__args__ if issubclass(each, ev.StepEvent)}
    assert set(MOVES) == classes
    for allowed, target in MOVES.values():
        for old in allowed if target else ():
            assert target in STEP_TRANSITIONS[old]


def event(cls, run, /, attempt=1, **members):
    envelope = {"seq": run.version + 1, "at_us": 5, "actor": "user:ana", "command_id": "c"}
    if issubclass(cls, ev.StepEvent):
        envelope |= {"path": "s", "iteration": 0, "attempt": attempt}
    return cls(**(envelope | members))


SAMPLES = {
    ev.StepReady: {"source": "", "label": ""},
    ev.StepWaiting: {"state": "waiting_human", "timers": (), "subject_hash": ""},
    ev.TaskAnswered: {"answer": {}, "person": "ana"},
    ev.OptionChosen: {"option": "x", "reason": "", "person": "ana"},
    ev.ApprovalGiven: {"person": "ana", "subject_hash": "h", "complete": True},
    ev.ApprovalRefused: {"person": "ana", "subject_hash": "h", "reason": "no"},
    ev.StepFailed: {"reason": "no"},
    ev.StepSkipped: {"reason": "no"},
    ev.EffectIntended: {"operation": "keys.rotate", "idem_key": "k", "idempotent": False},
    ev.EffectDispatched: {"fence": 1},
    ev.EffectRedispatched: {"fence": 2},
    ev.EffectSucceeded: {"fence": 1, "result": {}},
    ev.EffectUnknown: {"reason": "no"},
    ev.UnknownResolved: {"verdict": "done", "reason": "seen", "person": "ana"},
    ev.LateResult: {"fence": 1, "outcome": "failed"},
    ev.WaitElapsed: {"due_us": 5},
    ev.StepTimedOut: {"due_us": 5},
    ev.DeadlinePassed: {"due_us": 5},
    ev.StepEscalated: {"due_us": 5, "kind": "rung:1", "to": "role:deputy"},
}


@pytest.mark.parametrize(("cls", "old"), list(itertools.product(SAMPLES, StepState)))
def test_each_event_meets_each_state(cls, old):
    """An event is taken only from the states of its row, and then leads where the table of states allows."""
    steps = {} if old is StepState.PENDING else {"s": StepRun(old, 0, 1, 0, "user:ana")}
    state = RunState("r", "h", RunStatus.RUNNING, version=3, steps=steps)
    attempt = 2 if cls is ev.StepReady and steps else 1
    if old not in MOVES[cls][0]:
        with pytest.raises(Conflict):
            apply(state, event(cls, state, attempt=attempt, **SAMPLES[cls]))
        return
    new = apply(state, event(cls, state, attempt=attempt, **SAMPLES[cls])).steps["s"].state
    assert new is old or new in STEP_TRANSITIONS[old]


@pytest.mark.parametrize("seq", [0, 1, 3, 5])
def test_events_come_in_dense_order(seq):
    state = RunState("r", "h", RunStatus.RUNNING, version=3)
    with pytest.raises(Conflict, match="Event 4 comes next"):
        apply(state, event(ev.RunPaused, state, reason="x", path="", seq=seq if seq != 3 else 6))


@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_an_event_of_another_attempt_is_refused(attempt):
    state = RunState("r", "h", RunStatus.RUNNING, steps={"s": StepRun(StepState.WAITING_HUMAN, 0, 2, 0, "x")})
    with pytest.raises(Conflict, match="attempt"):
        apply(state, event(ev.TaskAnswered, state, attempt=attempt, answer={}, person="ana"))
    failed = RunState("r", "h", RunStatus.RUNNING, steps={"s": StepRun(StepState.FAILED, 0, 1, 0, "x")})
    with pytest.raises(Conflict, match="Attempt 2"):
        apply(failed, event(ev.StepReady, failed, attempt=attempt, source="", label=""))


def test_an_event_of_another_iteration_is_refused():
    state = RunState("r", "h", RunStatus.RUNNING, steps={"s": StepRun(StepState.WAITING_HUMAN, 0, 1, 0, "x")})
    with pytest.raises(Conflict, match="an event of another came"):
        apply(state, event(ev.TaskAnswered, state, iteration=1, answer={}, person="ana"))


@pytest.mark.parametrize("run_id", ["", "a|b"])
def test_a_run_id_is_usable_in_a_key(run_id):
    with pytest.raises(Conflict):
        draft(run_id, "h")


def test_only_automatic_steps_have_effects(every_kind):
    assert {path for path, step in every_kind.steps.items() if isinstance(step, GuardStep)} == {"shoot", "rotate"}
