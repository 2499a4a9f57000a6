"""The heart of a run: `decide` turns a command into events, `apply` turns events into the next state.

Law: no I/O and no clock; what a command leads to depends on the state, the plan, the command and the given time alone.
A command that does not fit leaves no event. Kinds that a plan may get later (branches in parallel, loops, sub-plans)
bring their own events and addresses; the tables in `states` and `run` are where they are allowed or not. Pure.
"""

from typing import Final, assert_never

from guard.errors import Conflict, Denied
from guard.runbook import approval, commands, effects, form
from guard.runbook import events as ev
from guard.runbook.commands import (
    Abort,
    Answer,
    AnyCommand,
    Approve,
    Complete,
    Decide,
    Dispatch,
    Fail,
    GiveUp,
    Intend,
    MarkUnknown,
    Pause,
    PersonCommand,
    Refuse,
    ResolveUnknown,
    Resume,
    Skip,
    Start,
    TimerFired,
)
from guard.runbook.effects import Action, Effect, Recovery, recovery
from guard.runbook.plan import ApprovalStep, DecisionStep, GuardStep, Plan, TaskStep, WaitStep
from guard.runbook.run import Due, RunState, StepRun, apply, draft, fold, next_due, stale
from guard.runbook.states import RunStatus, StepState
from guard.runbook.turn import Turn, edge
from guard.runbook.variables import bind

__all__ = [
    "Action",
    "Due",
    "Effect",
    "Recovery",
    "RunState",
    "StepRun",
    "apply",
    "decide",
    "draft",
    "fold",
    "next_due",
    "recovery",
]

_WITHOUT_EDGE: Final = {StepState.FAILED: "failure", StepState.TIMED_OUT: "timeout"}


def decide(state: RunState, plan: Plan, command: AnyCommand, now_us: int) -> tuple[ev.AnyEvent, ...]:
    """The events of *command*, at least one, in order, each of which `apply` takes.

    *plan* is the pinned one and has passed `lint`. Permission to send the command is the gate's matter; here count
    the role of the step, the second person and the state.

    Raises:
        InvalidRequest: a member of the command, an input or an answer has not the right form.
        Denied: the person lacks the role of the step, or approves what he himself asks for.
        Conflict: another version, another plan, or nothing that can be done to the run or step as it stands; `extra`
            says what stands in the way, for a stale version with `events_since`.
    """
    commands.check(command)
    if plan.sha256 != state.plan_sha256:
        raise Conflict("The run has pinned another version of its plan.", plan_sha256=state.plan_sha256)
    if command.expected_version != state.version:
        raise stale(state, command.expected_version)
    turn = Turn(state, plan, command, now_us)
    _carry_out(turn, command)
    return tuple(turn.events)


def _carry_out(turn: Turn, command: AnyCommand) -> None:
    match command:
        case Start():
            _start(turn, command)
        case Answer():
            _answer(turn, command)
        case Decide():
            _decide(turn, command)
        case Approve():
            _approve(turn, command)
        case Refuse():
            _refuse(turn, command)
        case GiveUp():
            _give_up(turn, command)
        case Skip():
            _skip(turn, command)
        case TimerFired():
            _timer_fired(turn, command)
        case Pause() | Resume() | Abort():
            _steer(turn, command)
        case _:
            _effect(turn, command)


def _effect(turn: Turn, command: Intend | Dispatch | Complete | Fail | MarkUnknown | ResolveUnknown) -> None:
    match command:
        case Intend():
            effects.intend(turn, command)
        case Dispatch():
            effects.dispatch(turn, command)
        case Complete():
            effects.complete(turn, command)
        case Fail():
            effects.fail(turn, command)
        case MarkUnknown():
            effects.mark_unknown(turn, command)
        case ResolveUnknown():
            effects.resolve_unknown(turn, command)
        case _:
            assert_never(command)


# the run


def _start(turn: Turn, command: Start) -> None:
    if turn.state.status is not RunStatus.DRAFT:
        raise Conflict("The run has been started already.", status=turn.state.status.value, by=turn.state.started_by)
    turn.emit(
        ev.RunStarted,
        plan_sha256=turn.plan.sha256,
        mode=command.mode.value,
        inputs=bind(turn.plan.inputs, command.inputs),
        person=command.person,
    )
    turn.enter(turn.plan.start)


def _steer(turn: Turn, command: Pause | Resume | Abort) -> None:
    match command:
        case Pause():
            turn.running()
            turn.emit(ev.RunPaused, reason=command.reason, path="")
        case Resume():
            turn.emit(ev.RunResumed)
            for path in list(turn.state.steps):
                _go_on(turn, path)
        case Abort():
            turn.emit(ev.RunEnded, status=RunStatus.ABORTED.value, reason=command.reason, path="")


def _go_on(turn: Turn, path: str) -> None:
    """After a pause: open what became ready meanwhile, and try again what failed without a way on."""
    step, run = turn.step(path), turn.state.steps[path]
    label = _WITHOUT_EDGE.get(run.state)
    if label is not None and edge(step, label) is None:
        turn.enter(path)
    elif run.state is StepState.READY:
        turn.open(step)


# people


def _in_role(role: str, command: PersonCommand) -> None:
    if role not in command.roles:
        raise Denied(
            f"The step '{command.path}' is for the role '{role}', which you do not hold in this incident.",
            hint="Have the role assigned to you, or ask somebody who holds it.",
            roles=[role],
        )


def _answer(turn: Turn, command: Answer) -> None:
    step = _task(turn, command)
    answer = form.check(step.form, command.answer)
    turn.emit_step(ev.TaskAnswered, step.id, answer=answer, person=command.person)
    turn.leave(step.id, "success")


def _give_up(turn: Turn, command: GiveUp) -> None:
    step = _task(turn, command)
    turn.emit_step(ev.StepFailed, step.id, reason=command.reason)
    turn.leave(step.id, "failure")


def _task(turn: Turn, command: Answer | GiveUp) -> TaskStep:
    turn.running()
    turn.addressed(command, StepState.WAITING_HUMAN)
    step = turn.step(command.path)
    if not isinstance(step, TaskStep):
        raise Conflict(f"The step '{step.id}' is no task; choose one of its options.", path=step.id)
    _in_role(step.role, command)
    return step


def _decide(turn: Turn, command: Decide) -> None:
    turn.running()
    turn.addressed(command, StepState.WAITING_HUMAN)
    step = turn.step(command.path)
    if not isinstance(step, DecisionStep):
        raise Conflict(f"The step '{step.id}' is no decision; answer it.", path=step.id)
    _in_role(step.role, command)
    if command.option not in step.options:
        raise Conflict(f"'{step.id}' has no such option; choose one of {', '.join(step.options)}.", path=step.id)
    members = {"option": command.option, "reason": command.reason, "person": command.person}
    turn.emit_step(ev.OptionChosen, step.id, **members)
    turn.leave(step.id, command.option)


def _approve(turn: Turn, command: Approve) -> None:
    step, waiting = _vote(turn, command)
    full = len(waiting.approvals) + 1 >= step.quorum
    members = {"person": command.person, "subject_hash": command.subject_hash, "complete": full}
    turn.emit_step(ev.ApprovalGiven, step.id, **members)
    if full:
        turn.leave(step.id, "success")


def _refuse(turn: Turn, command: Refuse) -> None:
    step, _ = _vote(turn, command)
    members = {"person": command.person, "subject_hash": command.subject_hash, "reason": command.reason}
    turn.emit_step(ev.ApprovalRefused, step.id, **members)
    turn.leave(step.id, "failure")


def _vote(turn: Turn, command: Approve | Refuse) -> tuple[ApprovalStep, StepRun]:
    turn.running()
    waiting = turn.addressed(command, StepState.WAITING_APPROVAL)
    step = turn.step(command.path)
    if not isinstance(step, ApprovalStep):
        raise Conflict(f"The step '{step.id}' is no approval.", path=step.id)
    approval.check_vote(turn.state, step, waiting, command)
    return step, waiting


def _skip(turn: Turn, command: Skip) -> None:
    turn.running()
    step = turn.step(command.path)
    if isinstance(step, DecisionStep | ApprovalStep):
        raise Conflict(
            f"'{step.id}' is no step to skip: somebody has to decide. Abort the run if nobody can.", path=step.id
        )
    ready = StepState.READY if isinstance(step, GuardStep) else StepState.WAITING_HUMAN
    found = turn.addressed(command, ready, StepState.INTENDED, StepState.WAITING_TIMER)
    if found.state is StepState.READY:
        effects.write_intent(turn, step.id)  # so that the record shows which effect was left out
    turn.emit_step(ev.StepSkipped, step.id, reason=command.reason)
    turn.leave(step.id, "success")


# time


def _timer_fired(turn: Turn, command: TimerFired) -> None:
    turn.running()
    waiting = turn.addressed(command, StepState.WAITING_HUMAN, StepState.WAITING_APPROVAL, StepState.WAITING_TIMER)
    timer = next((timer for timer in waiting.timers if timer.kind == command.kind), None)
    if timer is None:
        raise Conflict(f"The step '{command.path}' has no such timer armed; it has fired already.", path=command.path)
    if turn.now_us < timer.due_us:
        raise Conflict("This timer is not due yet; a clock of this installation is wrong.", due_us=timer.due_us)
    step = turn.step(command.path)
    if timer.to:
        turn.emit_step(ev.StepEscalated, step.id, due_us=timer.due_us, kind=timer.kind, to=timer.to)
    elif isinstance(step, WaitStep):
        turn.emit_step(ev.WaitElapsed, step.id, due_us=timer.due_us)
        turn.leave(step.id, "success")
    elif edge(step, "timeout") == "timeout" or isinstance(step, ApprovalStep):
        turn.emit_step(ev.StepTimedOut, step.id, due_us=timer.due_us)
        turn.leave(step.id, "timeout")
    else:
        turn.emit_step(ev.DeadlinePassed, step.id, due_us=timer.due_us)
