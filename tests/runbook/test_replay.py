"""Whatever is sent, in whatever order and wherever the process dies, the events tell the same story."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import Conflict, Denied, InvalidRequest
from guard.runbook import commands as cmd
from guard.runbook import events as ev
from guard.runbook.effects import Action, effects, idem_key, recovery
from guard.runbook.events import GENESIS, from_json, row, verify_chain
from guard.runbook.machine import apply, draft, fold, next_due
from guard.runbook.states import RUN_TRANSITIONS, STEP_TRANSITIONS, RunStatus, StepState

PATHS = ("work", "by_hand", "choose", "sign", "shoot", "rotate", "cool_down", "done", "nothing")
PEOPLE = ("ana", "bo", "dora", "eve")
ROLES = (frozenset({"sme"}), frozenset({"commander", "deputy"}), frozenset({"legal", "deputy", "sme", "commander"}))

actions = st.tuples(
    st.sampled_from(
        [
            "answer",
            "give_up",
            "decide",
            "approve",
            "refuse",
            "intend",
            "dispatch",
            "complete",
            "fail",
            "mark",
            "resolve",
            "skip",
            "pause",
            "resume",
            "resume",
            "abort",
            "fire",
            "fire_any",
            "follow",
            "follow",
            "follow",
            "follow",
        ]
    ),
    st.sampled_from(PATHS),
    st.sampled_from(PEOPLE),
    st.sampled_from(ROLES),
    st.integers(0, 3),
)


def act(run, action):
    """Send one command, sensible or not."""
    name, path, person, roles, number = action
    step = run.state.steps.get(path)
    one = {"path": path, "person": person, "roles": roles}
    key = idem_key(run.state.run_id, path, 0, step.attempt if step else 1)
    fenced = {"path": path, "fence": (step.fence if step else 0) + number - 1, "idem_key": key}
    subject = step.subject_hash if step and number else "0" * 64
    run.now_us += number * 400_000_000
    match name:
        case "follow":
            current = opened(run)
            if current and run.state.status is RunStatus.RUNNING:
                labels = run.plan.steps[current].next
                run.follow(current, sorted(labels)[number % len(labels)])
        case "answer":
            run.send(cmd.Answer, **one, answer={"note": "x"} if number else {"other": 1})
        case "give_up":
            run.send(cmd.GiveUp, **one, reason="x")
        case "decide":
            run.send(cmd.Decide, **one, option=("act", "leave", "other", "act")[number])
        case "approve":
            run.send(cmd.Approve, **one, subject_hash=subject)
        case "refuse":
            run.send(cmd.Refuse, **one, subject_hash=subject, reason="x")
        case "intend":
            run.send(cmd.Intend, path=path)
        case "dispatch":
            run.send(cmd.Dispatch, **fenced)
        case "complete":
            run.send(cmd.Complete, **fenced, result={"n": number})
        case "fail":
            run.send(cmd.Fail, **fenced, reason="x", timed_out=number == 3)
        case "mark":
            run.send(cmd.MarkUnknown, **fenced, reason="x")
        case "resolve":
            verdict = (cmd.Verdict.DONE, cmd.Verdict.FAILED, cmd.Verdict.RETRY, cmd.Verdict.RETRY)[number]
            run.send(cmd.ResolveUnknown, path=path, verdict=verdict, reason="x", person=person)
        case "skip":
            run.send(cmd.Skip, path=path, reason="x")
        case "pause":
            run.send(cmd.Pause, reason="x")
        case "resume":
            run.send(cmd.Resume)
        case "abort":
            if number == 3:
                run.send(cmd.Abort, reason="x")
        case "fire":
            if next_due(run.state):
                run.fire()
        case "fire_any":
            run.send(cmd.TimerFired, path=path, kind=("wait", "deadline", "rung:1", "rung:2")[number])


def opened(run):
    waiting = {StepState.WAITING_HUMAN, StepState.WAITING_APPROVAL, StepState.WAITING_TIMER, StepState.READY}
    return next((path for path, step in run.state.steps.items() if step.state in waiting), None)


@given(st.lists(actions, max_size=30))
@settings(max_examples=250, deadline=None)
def test_any_sequence_of_commands_keeps_every_law(driver, every_kind, sequence):
    run = driver(every_kind)
    run.begin()
    for action in sequence:
        before, written = run.state, len(run.log)
        try:
            act(run, action)
        except (Conflict, Denied, InvalidRequest):
            if action[0] != "follow":  # which sends several commands
                assert run.state is before
                assert len(run.log) == written
    assert_lawful(run, every_kind)


def assert_lawful(run, plan):
    """Every law of a run, checked on nothing but its events."""
    assert [event.seq for event in run.log] == list(range(1, len(run.log) + 1))
    stored = [json.loads(json.dumps(event.to_json())) for event in run.log]
    replayed = [from_json(each) for each in stored]
    assert replayed == run.log
    assert fold(draft("run_1", plan.sha256), replayed) == run.state
    dispatched = set()
    state = draft("run_1", plan.sha256)
    for event in replayed:
        new = apply(state, event)
        assert_step_moved_lawfully(state, new, event)
        if isinstance(event, ev.ApprovalGiven):
            assert event.person not in {state.requester, *state.steps[event.path].approvals}
        if isinstance(event, ev.EffectDispatched):
            key = new.steps[event.path].idem_key
            assert key not in dispatched
            dispatched.add(key)
        if isinstance(event, ev.EffectRedispatched):
            assert state.steps[event.path].idempotent
        if isinstance(event, ev.StepReady) and event.source == "sign" and event.label == "success":
            assert len(set(state.steps["sign"].approvals)) == plan.steps["sign"].quorum
        state = new
    rows = chained(replayed)
    assert verify_chain(rows) == rows[-1].hash


def assert_step_moved_lawfully(old, new, event):
    assert new.status is old.status or new.status in RUN_TRANSITIONS[old.status]
    for path, step in new.steps.items():
        met = old.steps[path].state if path in old.steps else StepState.PENDING
        assert step.state is met or step.state in STEP_TRANSITIONS[met]
        assert step.state is met or path == event.path


def chained(log):
    rows, head = [], GENESIS
    for number, event in enumerate(log):
        rows.append(row("run_1", f"ev_{number}", event, event.at_us, head))
        head = rows[-1].hash
    return rows


class Crash(Exception):
    """The process died."""


class World:
    """Where effects happen: each call with its key. `ticks` counts commits and calls; at `die_at` the process dies."""

    def __init__(self, die_at=()):
        self.calls = []
        self.ticks = 0
        self.die_at = set(die_at)

    def tick(self):
        self.ticks += 1
        if self.ticks in self.die_at:
            raise Crash

    def perform(self, key):
        self.calls.append(key)
        self.tick()


def work(run, world):
    """One node: settles whatever is open, step by step, until the run is over. Each `tick` is a point of death."""
    while run.state.status is RunStatus.RUNNING:
        for effect in effects(run.state, run.plan):
            execute(run, world, effect)
        for path, step in run.state.steps.items():
            if step.state is StepState.UNKNOWN:
                done = step.idem_key in world.calls
                verdict = cmd.Verdict.DONE if done else cmd.Verdict.RETRY
                run.send(cmd.ResolveUnknown, path=path, verdict=verdict, reason="looked", person="dora")
                world.tick()
                break
        current = opened(run)
        if current and run.state.steps[current].state is not StepState.READY:
            human(run, current)
            world.tick()


def human(run, path):
    """One command of one person or of the clock."""
    match path:
        case "sign":
            given_so_far = len(run.state.steps[path].approvals)
            subject = run.state.steps[path].subject_hash
            run.send(cmd.Approve, path=path, person=f"p{given_so_far}", roles=ROLES[2], subject_hash=subject)
        case "choose":
            run.follow(path, "act")
        case _:
            run.follow(path, "success")


def execute(run, world, effect):
    if effect.state is StepState.READY:
        run.send(cmd.Intend, path=effect.path)
        world.tick()
    if effect.state in {StepState.READY, StepState.INTENDED}:
        run.take(run.fenced(cmd.Dispatch, effect.path, fence=effect.fence + 1))
        world.tick()
        world.perform(effect.idem_key)
        run.complete(effect.path)
        world.tick()
        return
    (todo,) = recovery(run.state)
    if todo.action is Action.RETRY:
        run.take(run.fenced(cmd.Dispatch, todo.path, fence=todo.fence + 1))
        world.tick()
        world.perform(todo.idem_key)
        run.complete(todo.path)
    else:
        run.take(run.fenced(cmd.MarkUnknown, todo.path, reason="the executor is gone"))
    world.tick()


def live(driver, plan, world):
    """Run to the end over any number of deaths; after each a new node reads the events back."""
    run = driver(plan)
    run.begin()
    while True:
        try:
            work(run, world)
        except Crash:
            reborn = driver(plan)
            reborn.log = [from_json(event.to_json()) for event in run.log]
            reborn.state = fold(reborn.state, reborn.log)
            reborn.now_us, reborn.sent = run.now_us, run.sent
            run = reborn
        else:
            return run


def assert_effects(run, world):
    assert run.state.status is RunStatus.COMPLETED
    shots = [idem_key("run_1", "shoot", 0, attempt) for attempt in range(1, 9)]
    assert sum(key in shots for key in world.calls) == 1, "an effect that must not be repeated happened twice or never"
    turns = {key for key in world.calls if key not in shots}
    assert turns == {idem_key("run_1", "rotate", 0, 1)}, "a retry went out under another key"


def ticks_of_an_undisturbed_run(driver, plan):
    world = World()
    assert_effects(live(driver, plan, world), world)
    return world.ticks


def test_every_point_of_death(driver, every_kind):
    """Dies after each commit and after each call, before the next; the effect happens once in every case."""
    count = ticks_of_an_undisturbed_run(driver, every_kind)
    assert count >= 13
    for point in range(1, count + 1):
        world = World({point})
        run = live(driver, every_kind, world)
        assert_effects(run, world)
        assert_lawful(run, every_kind)


@given(st.sets(st.integers(1, 25), max_size=8))
@settings(max_examples=60, deadline=None)
def test_many_deaths_in_one_run(driver, every_kind, points):
    world = World(points)
    run = live(driver, every_kind, world)
    assert_effects(run, world)
    assert_lawful(run, every_kind)


def test_every_prefix_of_the_events_is_a_legal_state(driver, every_kind):
    run = driver(every_kind).go("success", "act", "success", "success", "success", "success")
    for length in range(len(run.log) + 1):
        state = fold(draft("run_1", every_kind.sha256), run.log[:length])
        assert state.version == length
        for todo in recovery(state):
            assert todo.action is (Action.RETRY if todo.path == "rotate" else Action.UNKNOWN)


@pytest.mark.parametrize("change", ["drop", "double", "swap"])
def test_a_log_that_was_tampered_with_does_not_replay(driver, every_kind, change):
    run = driver(every_kind).go("success", "act")
    for index in range(len(run.log) - 1):
        log = list(run.log)
        if change == "drop":
            del log[index]
        elif change == "double":
            log.insert(index, log[index])
        else:
            log[index], log[index + 1] = log[index + 1], log[index]
        with pytest.raises(Conflict):
            fold(draft("run_1", every_kind.sha256), log)
