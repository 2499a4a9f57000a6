"""Carries a run on: load its events, decide, append, and do what is due. All of it in the caller's transaction.

Law: an automatic step of guard's own is done in the transaction of its step, so its effect, its records and its
`succeeded` commit together: exactly once, through any crash. A refused operation is a failed step, not a failed run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from guard.catalogue import Actor, Context
from guard.errors import Conflict, GuardError, NotFound, VerificationFailed
from guard.runbook import commands, effects, machine, store
from guard.runbook import events as ev
from guard.runbook.commands import AnyCommand, Mode
from guard.runbook.desk import Desk
from guard.runbook.plan import Plan
from guard.runbook.run import RunState
from guard.wire.runbook import RunSummary

RUNBOOK = "system:runbook"
OWN = "guard/"  # begins the ids of guard's own commands; no caller can send a slash in one, which would block the step
MAX_TEXT = 128  # characters of an id or a state
AT_ONCE_US = 0  # not the present time: a clock that is set back would hold the step up
MAX_PER_BEAT = 50  # automatic steps and timers of one run in one transaction; the next beat goes on


@dataclass(frozen=True, slots=True)
class Loaded:
    """A run as stored: its row, its pinned plan, its events and the state they fold to."""

    summary: RunSummary
    plan: Plan
    rows: Sequence[ev.EventRow]
    state: RunState


def load(ctx: Context, run: str) -> Loaded:
    """A run of the caller's tenant.

    Raises:
        NotFound: there is none. VerificationFailed: its events were changed.
    """
    found = store.find_run(ctx.tx, ctx.tenant, run)
    if found is None:
        raise NotFound(f"Expected the id of a run, got {run}; see guard run list.")
    summary, sha256 = found
    plan = ctx.part(Desk).pinned(ctx.tx, sha256)
    rows = store.read_events(ctx.tx, run)
    state = machine.fold(machine.draft(run, sha256), [row.event() for row in rows])
    if state.version != summary.version:  # rows cut off at the end do not show in the chain
        raise VerificationFailed(
            f"Expected {summary.version} events of this run, got {state.version}; restore the last backup.",
            seq=state.version + 1,
        )
    return Loaded(summary, plan, rows, state)


def carry_out(ctx: Context, run: Loaded, command: AnyCommand) -> Loaded:
    """Decide *command* and append its events; a command that was carried out before changes nothing.

    Raises:
        Conflict, Denied, InvalidRequest: as `machine.decide`.
    """
    known = store.find_command(ctx.tx, run.summary.run, command.command_id)
    if known is not None:
        commands.repeated(command, known, [row.event() for row in run.rows])
        return run
    decided = machine.decide(run.state, run.plan, command, ctx.now_us)
    ids = [ctx.new_id("evt") for _ in decided]
    store.append_events(ctx.tx, run.summary.run, decided, ids, ctx.now_us)
    store.keep_command(ctx.tx, run.summary.run, command.command_id, commands.body_sha256(command))
    state = machine.fold(run.state, decided)
    due_us = due(state, run.plan)
    if not store.save_run(
        ctx.tx, run.summary.run, run.state.version, state.version, state.status.value, due_us, ctx.now_us
    ):
        raise Conflict("Somebody else moved this run on meanwhile; look at it again.")
    desk, tenant = ctx.part(Desk), ctx.tenant
    ctx.after_commit(lambda: desk.follow(tenant, run.summary.run, due_us))
    moved = {"version": state.version, "state": state.status.value, "changed_us": ctx.now_us}
    return replace(run, summary=run.summary.model_copy(update=moved), rows=(), state=state)


def due(state: RunState, plan: Plan) -> int | None:
    """When the worker has something to do: at once for an automatic step, else the next timer; None for neither."""
    if effects.effects(state, plan):
        return AT_ONCE_US
    timer = machine.next_due(state)
    return None if timer is None else timer.due_us


def advance(ctx: Context, run: Loaded) -> Loaded:
    """Do every automatic step and fire every timer that is due."""
    for _ in range(MAX_PER_BEAT):
        waiting = effects.effects(run.state, run.plan)
        timer = machine.next_due(run.state)
        if waiting:
            run = _act(ctx, run, waiting[0])
        elif timer is not None and timer.due_us <= ctx.now_us:
            step = run.state.steps[timer.path]
            fired = commands.TimerFired(
                **_envelope(run, f"timer-{timer.path}-{step.attempt}-{timer.kind}"),
                path=timer.path,
                iteration=step.iteration,
                attempt=step.attempt,
                kind=timer.kind,
            )
            run = carry_out(ctx, run, fired)
        else:
            break
    return run


def _act(ctx: Context, run: Loaded, effect: effects.Effect) -> Loaded:
    """Intend, dispatch, call the operation through the gate, and keep its result: one transaction."""
    where: dict[str, Any] = {"path": effect.path, "iteration": effect.iteration, "attempt": effect.attempt}
    name = f"{effect.path}-{effect.attempt}"
    if effect.state.value == "ready":
        run = carry_out(ctx, run, commands.Intend(**_envelope(run, f"intend-{name}"), **where))
    fence = effect.fence + 1
    lease: dict[str, Any] = {**where, "fence": fence, "idem_key": effect.idem_key}
    run = carry_out(ctx, run, commands.Dispatch(**_envelope(run, f"dispatch-{name}-{fence}"), **lease))
    try:
        answer = _effect(ctx, run, effect)
    except GuardError as error:
        failed = commands.Fail(**_envelope(run, f"fail-{name}-{fence}"), **lease, reason=f"{error.code}: {error.title}")
        return carry_out(ctx, run, failed)
    result = commands.Complete(**_envelope(run, f"complete-{name}-{fence}"), **lease, result=_facts(answer))
    return carry_out(ctx, run, result)


def _effect(ctx: Context, run: Loaded, effect: effects.Effect) -> Any:
    """The operation's answer; a drill and a simulation touch nothing and take every effect for done."""
    if run.state.mode is not Mode.LIVE:
        return {"simulated": True}
    return ctx.call(effect.operation, effect.arguments, Actor(RUNBOOK, ctx.tenant, "system"))


def _envelope(run: Loaded, command_id: str) -> dict[str, Any]:
    return {"command_id": OWN + command_id, "actor": RUNBOOK, "expected_version": run.state.version}


def _facts(answer: Any) -> dict[str, object]:
    """Ids, names and numbers of an answer; what is nested or long stays where it belongs."""
    members = answer.model_dump() if hasattr(answer, "model_dump") else dict(answer)
    return {
        name: value
        for name, value in members.items()
        if isinstance(value, int) or (isinstance(value, str) and len(value) <= MAX_TEXT)
    }
