"""One turn of a run: the events that a single command leads to, each applied before the next is chosen.

Law: a turn emits only what `apply` takes, and follows edges until something has to be waited for. The plan must have
passed `lint` without error. Pure.
"""

from typing import Any, Final

from guard.errors import Conflict
from guard.runbook import events as ev
from guard.runbook.approval import subject_hash
from guard.runbook.commands import Command, StepCommand
from guard.runbook.plan import (
    MAX_STEPS,
    AnyStep,
    ApprovalStep,
    Deadline,
    DecisionStep,
    EndStep,
    GuardStep,
    Outcome,
    Plan,
    TaskStep,
    WaitStep,
)
from guard.runbook.run import RunState, StepRun, apply
from guard.runbook.states import ENDED, UNDER_WAY, RunStatus, StepState

NO_WAY_ON: Final = "no_way_on"
"""Reason of a pause: a step failed and the plan has no edge for that."""
STEP_LIMIT: Final = "step_limit"
"""Reason of a failed run: it used all the steps that a run may take."""


class Turn:
    """Collects the events of *command* at *now_us*; `state` is always that after the last of them."""

    def __init__(self, state: RunState, plan: Plan, command: Command, now_us: int) -> None:
        self.state = state
        self.plan = plan
        self.command = command
        self.now_us = now_us
        self.events: list[ev.AnyEvent] = []

    def emit(self, event_class: type[Any], /, **members: object) -> None:
        """Append an event of the class and apply it."""
        event: ev.AnyEvent = event_class(
            seq=self.state.version + 1,
            at_us=self.now_us,
            actor=self.command.actor,
            command_id=self.command.command_id,
            **members,
        )
        self.state = apply(self.state, event)
        self.events.append(event)

    def emit_step(self, event_class: type[Any], path: str, /, **members: object) -> None:
        """As `emit`, for the current attempt of the step at *path*."""
        step = self.state.steps[path]
        self.emit(event_class, path=path, iteration=step.iteration, attempt=step.attempt, **members)

    # what a command may assume

    def running(self) -> None:
        """Refuse the command unless the run is running."""
        if self.state.status is not RunStatus.RUNNING:
            status = self.state.status.value
            raise Conflict(f"The run is {status}; this needs a running one.", status=status)

    def step(self, path: str) -> AnyStep:
        """The step of the plan at *path*."""
        step = self.plan.steps.get(path)
        if step is None:
            raise Conflict("The plan of this run has no such step; look at the run again.")
        return step

    def addressed(self, command: StepCommand, *states: StepState) -> StepRun:
        """The attempt that *command* names, which must be the current one and in one of *states*."""
        self.step(command.path)
        found = self.state.steps.get(command.path)
        if found is None:
            raise Conflict(f"The step '{command.path}' has not begun; answer it when it waits.", path=command.path)
        if (command.iteration, command.attempt) != (found.iteration, found.attempt):
            message = f"The step '{command.path}' is at attempt {found.attempt}; the command names another."
            raise Conflict(message, path=command.path, iteration=found.iteration, attempt=found.attempt)
        if found.state not in states:
            message = f"The step '{command.path}' is {found.state.value}; this cannot be done to it now."
            if found.state not in UNDER_WAY:
                message = (
                    f"The step '{command.path}' was settled by {found.by} ({found.state.value}); "
                    "the run's timeline shows how."
                )
            raise Conflict(message, path=command.path, state=found.state.value, by=found.by, since_us=found.since_us)
        return found

    # how a run moves

    def enter(self, path: str, source: str = "", label: str = "") -> None:
        """Begin the step at *path*, or end the run there."""
        step = self.step(path)
        if isinstance(step, EndStep):
            status = RunStatus.COMPLETED if step.outcome is Outcome.SUCCESS else RunStatus.FAILED
            self.emit(ev.RunEnded, status=status.value, reason="", path=path)
        elif self.state.steps_used >= MAX_STEPS:
            self.emit(ev.RunEnded, status=RunStatus.FAILED.value, reason=STEP_LIMIT, path=path)
        else:
            old = self.state.steps.get(path)
            attempt = old.attempt + 1 if old else 1
            self.emit(ev.StepReady, path=path, iteration=0, attempt=attempt, source=source, label=label)
            if self.state.status is RunStatus.RUNNING:
                self.open(step)

    def open(self, step: AnyStep) -> None:
        """Let a ready step wait for what it needs; an automatic one stays ready until an executor takes it."""
        match step:
            case TaskStep() | DecisionStep():
                self._wait(step.id, StepState.WAITING_HUMAN, _timers(step.deadline, self.now_us))
            case ApprovalStep():
                subject = subject_hash(self.state, step.id, self.state.steps[step.id].iteration)
                self._wait(step.id, StepState.WAITING_APPROVAL, _timers(step.deadline, self.now_us), subject)
            case WaitStep():
                self._wait(step.id, StepState.WAITING_TIMER, ((self.now_us + step.for_us, "wait", ""),))
            case GuardStep() | EndStep():
                pass

    def leave(self, path: str, label: str) -> None:
        """Follow the edge *label* of a settled step. Without such an edge the run pauses for the commander."""
        if self.state.status in ENDED:
            return  # the result of an effect that was under way when the run ended is kept, and leads nowhere
        step = self.step(path)
        taken = edge(step, label)
        if taken is not None:
            self.enter(step.next[taken], path, taken)
        elif self.state.status is RunStatus.RUNNING:
            self.emit(ev.RunPaused, reason=NO_WAY_ON, path=path)

    def _wait(self, path: str, state: StepState, timers: tuple[tuple[int, str, str], ...], subject: str = "") -> None:
        self.emit_step(ev.StepWaiting, path, state=state.value, timers=timers, subject_hash=subject)


def edge(step: AnyStep, label: str) -> str | None:
    """The label that is followed for *label*: running out of time is a failure where the plan says nothing else."""
    if label in step.next:
        return label
    return "failure" if label == "timeout" and "failure" in step.next else None


def _timers(deadline: Deadline | None, now_us: int) -> tuple[tuple[int, str, str], ...]:
    """The rungs of the ladder stand evenly before the deadline, so that help comes while there is still time."""
    if deadline is None:
        return ()
    parts = len(deadline.ladder) + 1
    rungs = ((now_us + deadline.after_us * n // parts, f"rung:{n}", to) for n, to in enumerate(deadline.ladder, 1))
    return (*rungs, (now_us + deadline.after_us, "deadline", ""))
