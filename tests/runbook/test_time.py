"""Waits, deadlines and ladders: each timer fires once, late or not."""

import pytest

from guard.errors import Conflict
from guard.runbook import commands as cmd
from guard.runbook.machine import next_due
from guard.runbook.states import RunStatus, StepState

MINUTE = 60_000_000


@pytest.fixture
def run(driver, every_kind):
    """A run that waits for `work`: 30 minutes, with two rungs before."""
    run = driver(every_kind)
    run.begin()
    return run


def fire(run, kind, path=None):
    return run.send(cmd.TimerFired, path=path or run.open_step(), kind=kind)


def test_the_rungs_stand_evenly_before_the_deadline(run):
    began = run.now_us
    due = []
    while (timer := next_due(run.state)) and timer.path == "work":
        due.append((timer.kind, (timer.due_us - began) // MINUTE))
        run.fire()
    assert due == [("rung:1", 10), ("rung:2", 20), ("deadline", 30)]
    calls = [event.to for event in run.log if event.type == "step_escalated"]
    assert calls == ["role:deputy", "role:commander"]
    assert run.open_step() == "by_hand"


@pytest.mark.parametrize("kind", ["rung:1", "rung:2", "deadline"])
def test_a_timer_does_not_fire_early(run, kind):
    with pytest.raises(Conflict, match="not due yet"):
        fire(run, kind)
    run.now_us += 9 * MINUTE
    with pytest.raises(Conflict, match="not due yet"):
        fire(run, kind)


def test_a_timer_fires_once(run):
    run.fire()
    with pytest.raises(Conflict, match="no such timer"):
        fire(run, "rung:1")


def test_two_nodes_that_fire_one_timer_make_one_event(run):
    run.now_us += 10 * MINUTE
    both = [run.command(cmd.TimerFired, path="work", kind="rung:1") for _ in range(2)]
    run.take(both[0])
    with pytest.raises(Conflict, match="at version"):
        run.take(both[1])


@pytest.mark.parametrize("kind", ["wait", "rung:3", "", "rung"])
def test_a_timer_that_was_never_armed_does_not_fire(run, kind):
    run.now_us += 600 * MINUTE
    with pytest.raises(Conflict, match="no such timer"):
        fire(run, kind)


def test_after_downtime_all_overdue_timers_fire_in_order_and_late(run):
    began = run.now_us
    run.now_us += 300 * MINUTE
    fired = []
    while (timer := next_due(run.state)) and timer.due_us <= run.now_us:
        fired.append(timer.kind)
        run.fire()
    assert fired == ["rung:1", "rung:2", "deadline"]
    late = next(event for event in run.log if event.type == "step_timed_out")
    assert (late.due_us - began, late.at_us - began) == (30 * MINUTE, 300 * MINUTE)


def test_an_answer_disarms(run):
    run.follow("work", "success")
    assert run.state.steps["work"].timers == ()
    run.now_us += 600 * MINUTE
    with pytest.raises(Conflict):
        fire(run, "deadline", "work")


def test_without_an_edge_for_it_an_overdue_step_stays_open(run):
    run.follow("work", "success")
    assert run.open_step() == "choose"
    run.fire()
    events = run.fire()
    assert [event.type for event in events] == ["deadline_passed"]
    step = run.state.steps["choose"]
    assert (step.state, step.overdue, step.timers) == (StepState.WAITING_HUMAN, True, ())
    assert next_due(run.state) is None
    run.follow("choose", "leave")
    assert run.state.status is RunStatus.COMPLETED


def test_a_wait_ends_by_its_timer_alone(run):
    run.go("success", "act", "success", "success", "success")
    assert run.open_step() == "cool_down"
    due = next_due(run.state)
    assert (due.kind, due.due_us - run.now_us) == ("wait", 60 * MINUTE)
    with pytest.raises(Conflict):
        run.send(cmd.Answer, path="cool_down", answer={})
    with pytest.raises(Conflict, match="not due yet"):
        fire(run, "wait")
    run.fire()
    assert run.state.status is RunStatus.COMPLETED


def test_a_pause_stops_the_clock(run):
    due = next_due(run.state).due_us
    run.now_us += 5 * MINUTE
    run.send(cmd.Pause, reason="x")
    assert next_due(run.state) is None
    run.now_us += 120 * MINUTE
    run.send(cmd.Resume)
    assert next_due(run.state).due_us == due + 120 * MINUTE
    with pytest.raises(Conflict, match="not due yet"):
        fire(run, "rung:1")


def test_a_clock_that_went_back_during_a_pause_brings_no_timer_forward(run):
    due = next_due(run.state)
    run.send(cmd.Pause, reason="x")
    run.now_us -= 50 * MINUTE
    run.send(cmd.Resume)
    assert next_due(run.state) == due


def test_a_run_that_is_over_has_no_timers(run):
    run.send(cmd.Abort, reason="x")
    assert next_due(run.state) is None


def test_a_retried_step_has_its_whole_time_again(driver, every_kind):
    run = driver(every_kind).go("failure", "failure")
    run.now_us += 600 * MINUTE
    run.send(cmd.Resume)
    run.follow("by_hand", "success")
    assert next_due(run.state).due_us == run.now_us + 5 * MINUTE
