"""The fold of events: what a state remembers, and in which order timers come."""

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import Conflict
from guard.runbook import commands as cmd
from guard.runbook import events as ev
from guard.runbook.run import Due, RunState, StepRun, Timer, apply, draft, fold, next_due, stale
from guard.runbook.states import ENDED, RunStatus, StepState

ENVELOPE = {"at_us": 50, "actor": "user:ana", "command_id": "c1"}


def running(**steps):
    return RunState("run_1", "h" * 64, RunStatus.RUNNING, steps=steps)


def waiting(*timers):
    return StepRun(StepState.WAITING_HUMAN, 0, 1, 0, "user:ana", timers=tuple(Timer(*timer) for timer in timers))


def test_a_draft_is_empty():
    state = draft("run_1", "h")
    assert (state.version, state.status, state.steps, state.requester) == (0, RunStatus.DRAFT, {}, "")


def test_a_state_does_not_change():
    state = draft("run_1", "h")
    with pytest.raises(FrozenInstanceError):
        state.version = 5
    started = apply(state, ev.RunStarted(seq=1, **ENVELOPE, plan_sha256="h", mode="drill", inputs={}, person="sam"))
    assert (state.version, started.version) == (0, 1)
    assert (started.mode, started.started_by) == (cmd.Mode.DRILL, "sam")


def test_folding_in_parts_is_folding_at_once(driver, every_kind):
    log = driver(every_kind).go("success", "act", "success", "success", "success").log
    empty = draft("run_1", every_kind.sha256)
    whole = fold(empty, log)
    for cut in range(len(log) + 1):
        assert fold(fold(empty, log[:cut]), log[cut:]) == whole


@pytest.mark.parametrize(
    ("steps", "due"),
    [
        ({}, None),
        ({"a": waiting()}, None),
        ({"a": waiting((9, "wait", ""))}, Due(9, "a", "wait")),
        ({"a": waiting((9, "deadline", ""), (4, "rung:1", "role:x"))}, Due(4, "a", "rung:1")),
        ({"a": waiting((9, "wait", "")), "b": waiting((4, "wait", ""))}, Due(4, "b", "wait")),
        ({"b": waiting((4, "wait", "")), "a": waiting((4, "wait", ""))}, Due(4, "a", "wait")),
    ],
)
def test_the_next_timer(steps, due):
    assert next_due(running(**steps)) == due


@pytest.mark.parametrize("status", [each for each in RunStatus if each is not RunStatus.RUNNING])
def test_only_a_running_run_has_timers(status):
    assert next_due(replace(running(a=waiting((1, "wait", ""))), status=status)) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), max_size=8))
def test_the_next_timer_is_the_least(timers):
    steps = {path: waiting(*((due, "wait", "") for name, due in timers if name == path)) for path in "abc"}
    found = next_due(running(**steps))
    assert (found.due_us if found else None) == min((due for _, due in timers), default=None)


def test_a_settled_step_has_no_timers():
    state = running(a=waiting((9, "deadline", "")))
    answered = ev.TaskAnswered(seq=1, **ENVELOPE, path="a", iteration=0, attempt=1, answer={}, person="ana")
    after = apply(state, answered).steps["a"]
    assert (after.state, after.timers, after.since_us, after.by) == (StepState.SUCCEEDED, (), 50, "user:ana")


def test_an_event_that_is_none_of_a_run():
    with pytest.raises(Conflict, match="no event of a run"):
        apply(draft("run_1", "h"), ev.Event(seq=1, **ENVELOPE))


@pytest.mark.parametrize("status", sorted(ENDED))
def test_a_run_that_is_over_stays_over(status):
    over = replace(running(), status=status)
    for event in (
        ev.RunStarted(seq=1, **ENVELOPE, plan_sha256="h", mode="live", inputs={}, person=""),
        ev.RunPaused(seq=1, **ENVELOPE, reason="x", path=""),
        ev.RunResumed(seq=1, **ENVELOPE),
        ev.RunEnded(seq=1, **ENVELOPE, status="completed", reason="", path=""),
    ):
        with pytest.raises(Conflict):
            apply(over, event)


@pytest.mark.parametrize("status", ["superseded", "aborted", "failed", "completed"])
def test_a_run_can_end_in_each_way(status):
    ended = apply(running(), ev.RunEnded(seq=1, **ENVELOPE, status=status, reason="r", path=""))
    assert (ended.status.value, ended.reason) == (status, "r")


def test_the_error_for_a_stale_command_counts_from_what_was_seen(driver, every_kind):
    state = driver(every_kind).go("success").state
    for seen in range(state.version):
        error = stale(state, seen)
        assert error.extra["current_version"] == state.version
        assert [each["seq"] for each in error.extra["events_since"]] == list(range(seen + 1, state.version + 1))
        assert error.hint


def test_who_asks_is_the_last_who_decided_then_worked_then_started():
    state = replace(running(), started_by="sam")
    assert state.requester == "sam"
    state = replace(state, worked_by="wes")
    assert state.requester == "wes"
    state = replace(state, decided_by="dora")
    assert state.requester == "dora"
