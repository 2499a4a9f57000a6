"""Automatic steps: an effect is intended, then dispatched, then has a result, and each is written before the next.

Law: at most once. After `dispatched` the effect may have happened; without a result only an idempotent one is tried
again, under the same key, and every other becomes unknown until a person says what became of it. Only the holder of the
newest fence may report; the report of an earlier one is kept and changes nothing. Pure.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guard.errors import Conflict, InvalidRequest
from guard.runbook import events as ev
from guard.runbook.canonical import canonical
from guard.runbook.commands import (
    Complete,
    Dispatch,
    Fail,
    FencedCommand,
    Intend,
    MarkUnknown,
    ResolveUnknown,
    Verdict,
)
from guard.runbook.plan import GuardStep, Plan
from guard.runbook.run import RunState, StepRun
from guard.runbook.states import ENDED, RunStatus, StepState
from guard.runbook.turn import Turn
from guard.runbook.variables import render

MAX_RESULT_BYTES: Final = 16_384
"""A result is ids and counts; what is larger is evidence and stored apart."""


class Action(StrEnum):
    """What to do about an effect without a result."""

    RETRY = "retry"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Recovery:
    """A dispatched effect whose executor is gone: retry it under `idem_key` and a new fence, or mark it unknown."""

    path: str
    iteration: int
    attempt: int
    action: Action
    idem_key: str
    fence: int


@dataclass(frozen=True, slots=True)
class Effect:
    """An automatic step that an executor has to carry on from `state`, with its arguments filled in."""

    path: str
    iteration: int
    attempt: int
    state: StepState
    operation: str
    arguments: dict[str, object]
    idem_key: str
    idempotent: bool
    fence: int


def idem_key(run_id: str, path: str, iteration: int, attempt: int) -> str:
    """The key of one attempt: SHA-256 in hexadecimal over the four, separated by `|`, which none of them holds."""
    return hashlib.sha256(f"{run_id}|{path}|{iteration}|{attempt}".encode()).hexdigest()


def recovery(state: RunState) -> tuple[Recovery, ...]:
    """What to do about each dispatched effect, for the sweeper that finds its lease expired.

    In a run that has ended nothing is tried again, idempotent or not: nobody wants the effect any more.
    """
    return tuple(
        Recovery(path, step.iteration, step.attempt, _action(state, step), step.idem_key, step.fence)
        for path, step in state.steps.items()
        if step.state is StepState.DISPATCHED
    )


def effects(state: RunState, plan: Plan) -> tuple[Effect, ...]:
    """The automatic steps of a running run that are ready, intended or dispatched; empty for any other run."""
    if state.status is not RunStatus.RUNNING:
        return ()
    open_states = {StepState.READY, StepState.INTENDED, StepState.DISPATCHED}
    return tuple(
        _effect(state, path, run, step)
        for path, run in state.steps.items()
        if run.state in open_states and isinstance(step := plan.steps[path], GuardStep)
    )


def _effect(state: RunState, path: str, run: StepRun, step: GuardStep) -> Effect:
    return Effect(
        path=path,
        iteration=run.iteration,
        attempt=run.attempt,
        state=run.state,
        operation=step.operation,
        arguments={key: render(value, state.inputs) for key, value in step.arguments.items()},
        idem_key=idem_key(state.run_id, path, run.iteration, run.attempt),
        idempotent=step.idempotent,
        fence=run.fence,
    )


def _action(state: RunState, step: StepRun) -> Action:
    return Action.RETRY if step.idempotent and state.status not in ENDED else Action.UNKNOWN


# commands


def intend(turn: Turn, command: Intend) -> None:
    """Write down that the effect is wanted."""
    turn.running()
    turn.addressed(command, StepState.READY)
    write_intent(turn, command.path)


def write_intent(turn: Turn, path: str) -> None:
    """Emit the intent of the ready automatic step at *path*.

    Raises:
        Conflict: the step is not automatic.
    """
    step, run = turn.step(path), turn.state.steps[path]
    if not isinstance(step, GuardStep):
        raise Conflict(f"The step '{path}' is not automatic.", path=path)
    key = idem_key(turn.state.run_id, path, run.iteration, run.attempt)
    turn.emit_step(ev.EffectIntended, path, operation=step.operation, idem_key=key, idempotent=step.idempotent)


def dispatch(turn: Turn, command: Dispatch) -> None:
    """Write down that the effect begins; a second time only for an idempotent one, by a newer fence."""
    turn.running()
    step = turn.addressed(command, StepState.INTENDED, StepState.DISPATCHED)
    _same_key(step, command)
    if command.fence <= step.fence:
        raise Conflict(
            "Another executor has taken this step since; take a new lease.", path=command.path, fence=step.fence
        )
    if step.state is StepState.INTENDED:
        turn.emit_step(ev.EffectDispatched, command.path, fence=command.fence)
    elif step.idempotent:
        turn.emit_step(ev.EffectRedispatched, command.path, fence=command.fence)
    else:
        raise Conflict("This effect may have happened and is not repeated; mark it unknown.", path=command.path)


def complete(turn: Turn, command: Complete) -> None:
    """Keep the result and go on."""
    if len(canonical(command.result)) > MAX_RESULT_BYTES:
        raise InvalidRequest(
            f"A result has at most {MAX_RESULT_BYTES} bytes; store larger ones as evidence.", errors=[]
        )
    if _current(turn, command):
        result = dict(command.result)
        turn.emit_step(ev.EffectSucceeded, command.path, fence=command.fence, result=result)
        turn.leave(command.path, "success")
    else:
        _late(turn, command, "succeeded")


def fail(turn: Turn, command: Fail) -> None:
    """Keep the failure and take its edge."""
    if not _current(turn, command):
        _late(turn, command, "timed_out" if command.timed_out else "failed")
    elif command.timed_out:
        turn.emit_step(ev.StepTimedOut, command.path, due_us=turn.now_us)
        turn.leave(command.path, "timeout")
    else:
        turn.emit_step(ev.StepFailed, command.path, reason=command.reason)
        turn.leave(command.path, "failure")


def mark_unknown(turn: Turn, command: MarkUnknown) -> None:
    """Hand an effect without a result to a person."""
    if not _current(turn, command):
        raise Conflict("Another executor has taken this step since; its report counts.", path=command.path)
    turn.emit_step(ev.EffectUnknown, command.path, reason=command.reason)


def resolve_unknown(turn: Turn, command: ResolveUnknown) -> None:
    """Take a person's word for what became of the effect."""
    turn.addressed(command, StepState.UNKNOWN)
    over = turn.state.status in ENDED
    if over and command.verdict is Verdict.RETRY:
        raise Conflict("The run is over; an effect of it can be found done or failed, but not be tried again.")
    verdict = command.verdict.value
    turn.emit_step(ev.UnknownResolved, command.path, verdict=verdict, reason=command.reason, person=command.person)
    match command.verdict:
        case Verdict.DONE:
            turn.leave(command.path, "success")
        case Verdict.FAILED:
            turn.leave(command.path, "failure")
        case Verdict.RETRY:
            turn.enter(command.path)


def _current(turn: Turn, command: FencedCommand) -> bool:
    """Whether the report comes from whom the step was last given to; False for a report that is only evidence.

    Raises:
        Conflict: the step was never given to this sender, or has its result already.
    """
    turn.step(command.path)
    step = turn.state.steps.get(command.path)
    if step is None or command.attempt > step.attempt or command.fence > step.fence:
        raise Conflict(f"The step '{command.path}' was not given to this executor.", path=command.path)
    if (command.iteration, command.attempt) == (step.iteration, step.attempt):
        _same_key(step, command)
        if command.fence == step.fence and step.state is not StepState.UNKNOWN:
            turn.addressed(command, StepState.DISPATCHED)
            return True
    return False


def _late(turn: Turn, command: Complete | Fail, outcome: str) -> None:
    turn.emit(
        ev.LateResult,
        path=command.path,
        iteration=command.iteration,
        attempt=command.attempt,
        fence=command.fence,
        outcome=outcome,
    )


def _same_key(step: StepRun, command: FencedCommand) -> None:
    if command.idem_key != step.idem_key:
        raise Conflict(f"The idempotency key is not that of this attempt of '{command.path}'.", path=command.path)
