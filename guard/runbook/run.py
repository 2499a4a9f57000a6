"""The state of a run, as the fold of its events.

Law: `apply` is the only way to a new state, takes events in dense order, and allows each kind of event only from the
states that its row in MOVES names; so replaying the stored events gives the stored state, or says which event is wrong.
Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Final, NamedTuple

from guard.errors import Conflict
from guard.runbook import events as ev
from guard.runbook.commands import Mode
from guard.runbook.states import (
    WAITING,
    RunStatus,
    StepState,
    run_moves,
    step_moves,
)
from guard.runbook.variables import Scalar

MAX_RECENT: Final = 20
"""Events that a stale command is told about; who is further behind reads the timeline."""

_S = StepState
_ANY: Final = frozenset(StepState)
MOVES: Final[Mapping[type[ev.StepEvent], tuple[frozenset[StepState], StepState | None]]] = {
    ev.StepReady: (frozenset({_S.PENDING, _S.FAILED, _S.TIMED_OUT, _S.UNKNOWN}), _S.READY),
    ev.TaskAnswered: (frozenset({_S.WAITING_HUMAN}), _S.SUCCEEDED),
    ev.OptionChosen: (frozenset({_S.WAITING_HUMAN}), _S.SUCCEEDED),
    ev.ApprovalRefused: (frozenset({_S.WAITING_APPROVAL}), _S.FAILED),
    ev.StepFailed: (frozenset({_S.WAITING_HUMAN, _S.DISPATCHED}), _S.FAILED),
    ev.StepSkipped: (frozenset({_S.WAITING_HUMAN, _S.WAITING_TIMER, _S.INTENDED}), _S.SKIPPED),
    ev.EffectIntended: (frozenset({_S.READY}), _S.INTENDED),
    ev.EffectDispatched: (frozenset({_S.INTENDED}), _S.DISPATCHED),
    ev.EffectRedispatched: (frozenset({_S.DISPATCHED}), None),
    ev.EffectSucceeded: (frozenset({_S.DISPATCHED}), _S.SUCCEEDED),
    ev.EffectUnknown: (frozenset({_S.DISPATCHED}), _S.UNKNOWN),
    ev.WaitElapsed: (frozenset({_S.WAITING_TIMER}), _S.SUCCEEDED),
    ev.StepTimedOut: (frozenset({_S.WAITING_HUMAN, _S.WAITING_APPROVAL, _S.DISPATCHED}), _S.TIMED_OUT),
    ev.DeadlinePassed: (frozenset({_S.WAITING_HUMAN}), None),
    ev.StepEscalated: (frozenset({_S.WAITING_HUMAN, _S.WAITING_APPROVAL}), None),
    ev.LateResult: (_ANY - {_S.PENDING}, None),
    # Where these lead depends on what they say; see _target.
    ev.StepWaiting: (frozenset({_S.READY}), None),
    ev.ApprovalGiven: (frozenset({_S.WAITING_APPROVAL}), None),
    ev.UnknownResolved: (frozenset({_S.UNKNOWN}), None),
}
"""For each kind of step event: the states that it may meet and the state that it leads to, None if it does not move."""


class Timer(NamedTuple):
    """An armed timer of a step: `kind` is wait, deadline or rung:1 and so on; `to` is whom a rung calls."""

    due_us: int
    kind: str
    to: str


class Due(NamedTuple):
    """The next timer of a run."""

    due_us: int
    path: str
    kind: str


class Change(NamedTuple):
    """One event in a few words, for a sender who has not seen it."""

    seq: int
    type: str
    actor: str
    at_us: int
    path: str


@dataclass(frozen=True, slots=True)
class StepRun:
    """The current attempt of one step; `since_us` is when its state began and `by` whose command led to it."""

    state: StepState
    iteration: int
    attempt: int
    since_us: int
    by: str
    timers: tuple[Timer, ...] = ()
    overdue: bool = False
    subject_hash: str = ""
    approvals: tuple[str, ...] = ()
    operation: str = ""
    idem_key: str = ""
    idempotent: bool = False
    fence: int = 0
    option: str = ""


@dataclass(frozen=True, slots=True)
class RunState:
    """All that deciding needs. `version` is the number of events; steps that have not begun are absent."""

    run_id: str
    plan_sha256: str
    status: RunStatus = RunStatus.DRAFT
    version: int = 0
    mode: Mode = Mode.LIVE
    inputs: Mapping[str, Scalar] = field(default_factory=dict)
    steps: Mapping[str, StepRun] = field(default_factory=dict)
    steps_used: int = 0
    started_by: str = ""
    worked_by: str = ""
    decided_by: str = ""
    paused_at_us: int = 0
    reason: str = ""
    recent: tuple[Change, ...] = ()

    @property
    def requester(self) -> str:
        """The person who asks in an approval: who last decided, else who last worked, else who started the run."""
        return self.decided_by or self.worked_by or self.started_by


def draft(run_id: str, plan_sha256: str) -> RunState:
    """A run before its first event.

    Raises:
        Conflict: the id holds `|`, which separates the parts of an idempotency key.
    """
    if not run_id or "|" in run_id:
        raise Conflict("A run's id is not empty and holds no '|'.")
    return RunState(run_id, plan_sha256)


def fold(state: RunState, events: Iterable[ev.AnyEvent]) -> RunState:
    """*state* after all *events*, in order.

    Raises:
        Conflict: as `apply`.
    """
    return reduce(apply, events, state)


def apply(state: RunState, event: ev.AnyEvent) -> RunState:
    """*state* after *event*.

    Raises:
        Conflict: the event is not the next one, is of another attempt, or is not allowed in the state of its step.
    """
    if event.seq != state.version + 1:
        raise Conflict(f"Event {state.version + 1} comes next; {event.seq} came.", current_version=state.version)
    changed = _apply_to_step(state, event) if isinstance(event, ev.StepEvent) else _apply_to_run(state, event)
    change = Change(event.seq, event.type, event.actor, event.at_us, getattr(event, "path", ""))
    return replace(changed, version=event.seq, recent=(*state.recent, change)[-MAX_RECENT:])


def stale(state: RunState, expected_version: int) -> Conflict:
    """The error for a command whose sender saw another version; `extra["events_since"]` says who did what meanwhile."""
    since = [change._asdict() for change in state.recent if change.seq > expected_version]
    return Conflict(
        f"The run is at version {state.version}; the command was made for version {expected_version}.",
        hint="Look at what happened since, then send the command again under a new command_id if it is still right.",
        current_version=state.version,
        events_since=since,
    )


def next_due(state: RunState) -> Due | None:
    """The timer that is due first, or None; a run that is not running has none.

    Overdue ones come first in the order in which they were due, each until the event of its firing is applied.
    """
    if state.status is not RunStatus.RUNNING:
        return None
    timers = (Due(timer.due_us, path, timer.kind) for path, step in state.steps.items() for timer in step.timers)
    return min(timers, default=None)


def _apply_to_run(state: RunState, event: ev.Event) -> RunState:
    match event:
        case ev.RunStarted():
            return replace(
                state,
                status=run_moves(state.status, RunStatus.RUNNING),
                plan_sha256=event.plan_sha256,
                mode=Mode(event.mode),
                inputs=event.inputs,
                started_by=event.person,
            )
        case ev.RunPaused():
            paused = run_moves(state.status, RunStatus.PAUSED)
            return replace(state, status=paused, paused_at_us=event.at_us, reason=event.reason)
        case ev.RunResumed():
            return _resumed(state, event)
        case ev.RunEnded():
            ended = RunStatus(event.status)
            return replace(state, status=run_moves(state.status, ended), reason=event.reason)
        case _:
            raise Conflict(f"An event of type '{event.type}' is no event of a run.")


def _resumed(state: RunState, event: ev.RunResumed) -> RunState:
    """A pause stops the clock of every open step, so nobody is late for the time in which he could not act."""
    if state.status is not RunStatus.PAUSED:
        raise Conflict(f"The run is {state.status.value} and cannot be resumed.", status=state.status.value)
    length_us = max(0, event.at_us - state.paused_at_us)
    steps = {
        path: replace(step, timers=tuple(timer._replace(due_us=timer.due_us + length_us) for timer in step.timers))
        for path, step in state.steps.items()
    }
    return replace(state, status=run_moves(state.status, RunStatus.RUNNING), steps=steps, paused_at_us=0, reason="")


def _apply_to_step(state: RunState, event: ev.StepEvent) -> RunState:
    old = state.steps.get(event.path)
    met = old.state if old else StepState.PENDING
    allowed, _ = MOVES[type(event)]
    if met not in allowed:
        raise Conflict(f"The step '{event.path}' is {met.value}; '{event.type}' cannot happen to it.", path=event.path)
    new = _begun(event, old) if isinstance(event, ev.StepReady) else _changed(event, old)
    target = _target(event)
    if target is not None:
        step_moves(event.path, met, target)
        new = replace(new, state=target, since_us=event.at_us, by=event.actor)
        if target not in WAITING:
            new = replace(new, timers=())
    people = {}
    if isinstance(event, ev.TaskAnswered):
        people["worked_by"] = event.person
    elif isinstance(event, ev.OptionChosen):
        people["decided_by"] = event.person
    used = state.steps_used + isinstance(event, ev.StepReady)
    return replace(state, steps={**state.steps, event.path: new}, steps_used=used, **people)  # type: ignore[arg-type]  # two text fields


def _begun(event: ev.StepReady, old: StepRun | None) -> StepRun:
    attempt = old.attempt + 1 if old else 1
    if event.attempt != attempt:
        raise Conflict(f"Attempt {attempt} of '{event.path}' comes next; {event.attempt} came.", path=event.path)
    # The fence goes on rising over attempts, so that an executor of an earlier one can never pass for the current.
    return StepRun(StepState.READY, event.iteration, attempt, event.at_us, event.actor, fence=old.fence if old else 0)


def _changed(event: ev.StepEvent, old: StepRun | None) -> StepRun:
    """What an event changes beside the state."""
    if old is None:
        raise Conflict(f"The step '{event.path}' has not begun.", path=event.path)
    if not isinstance(event, ev.LateResult) and (event.iteration, event.attempt) != (old.iteration, old.attempt):
        raise Conflict(
            f"The step '{event.path}' is at attempt {old.attempt}; an event of another came.", path=event.path
        )
    match event:
        case ev.StepWaiting():
            timers = tuple(Timer(*timer) for timer in event.timers)
            return replace(old, timers=timers, subject_hash=event.subject_hash)
        case ev.ApprovalGiven():
            return replace(old, approvals=(*old.approvals, event.person))
        case ev.OptionChosen():
            return replace(old, option=event.option)
        case ev.EffectIntended():
            return replace(old, operation=event.operation, idem_key=event.idem_key, idempotent=event.idempotent)
        case ev.EffectDispatched() | ev.EffectRedispatched():
            return replace(old, fence=event.fence)
        case ev.StepEscalated():
            return replace(old, timers=tuple(timer for timer in old.timers if timer.kind != event.kind))
        case ev.DeadlinePassed():
            return replace(old, timers=tuple(timer for timer in old.timers if timer.kind != "deadline"), overdue=True)
        case _:
            return old


def _target(event: ev.StepEvent) -> StepState | None:
    match event:
        case ev.StepWaiting():
            return StepState(event.state)
        case ev.ApprovalGiven():
            return StepState.SUCCEEDED if event.complete else None
        case ev.UnknownResolved():
            return {"done": StepState.SUCCEEDED, "failed": StepState.FAILED}.get(event.verdict)
        case _:
            return MOVES[type(event)][1]
