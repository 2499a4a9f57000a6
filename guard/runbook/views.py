"""Plans and runs as callers see them: whose turn it is, what may be chosen, and what happened so far."""

from typing import Any

from guard.catalogue import Context
from guard.runbook import store
from guard.runbook.machine import StepRun
from guard.runbook.plan import AnyStep, ApprovalStep, DecisionStep, Plan, Step, TaskStep, rendered
from guard.runbook.runner import Loaded
from guard.runbook.states import StepState
from guard.wire import runbook as wire

OPEN = {StepState.WAITING_HUMAN, StepState.WAITING_APPROVAL}


def kind_of(step: Step) -> str:
    """The kind as the plan names it."""
    return type(step).__name__.removesuffix("Step").lower()


def plan_view(plan: Plan) -> wire.PlanView:
    """A plan in one line."""
    return wire.PlanView(**_plan(plan))


def plan_detail(plan: Plan) -> wire.PlanDetail:
    """A plan with its steps."""
    details = [
        wire.StepView(
            step=step.id,
            kind=kind_of(step),
            text=dict(step.text),
            role=getattr(step, "role", None),
            next=dict(step.next),
        )
        for step in plan.steps.values()
    ]
    return wire.PlanDetail(**_plan(plan), start=plan.start, details=details)


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "plan": plan.id,
        "title": dict(plan.title),
        "group": plan.group,
        "review_due": plan.review_due.isoformat(),
        "steps": len(plan.steps),
        "sha256": plan.sha256,
    }


def run_view(ctx: Context, run: Loaded) -> wire.RunView:
    """A run with its steps in the order in which they began, and its timeline."""
    rows = run.rows or store.read_events(ctx.tx, run.summary.run)
    return wire.RunView(
        **run.summary.model_dump(),
        plan_sha256=run.plan.sha256,
        reason=run.state.reason,
        steps=[_step(run, path, step) for path, step in run.state.steps.items()],
        timeline=[
            wire.TimelineEvent(
                seq=row.seq,
                type=row.type,
                actor=row.actor,
                at_us=row.at_us,
                step=str(row.payload.get("path", "")),
                hash=row.hash,
            )
            for row in rows
        ],
    )


def _step(run: Loaded, path: str, now: StepRun) -> wire.RunStepView:
    step = run.plan.steps[path]
    is_open = now.state in OPEN
    return wire.RunStepView(
        step=path,
        kind=kind_of(step),
        text={locale: _rendered(run, step, locale) for locale in step.text},
        state=now.state.value,
        iteration=now.iteration,
        attempt=now.attempt,
        since_us=now.since_us,
        by=now.by,
        waits_for=list(_turn(step)) if is_open else [],
        options={name: dict(text) for name, text in step.options.items()} if isinstance(step, DecisionStep) else {},
        form=dict(step.form or {}) if isinstance(step, TaskStep) else {},
        subject_hash=now.subject_hash if is_open else "",
        due_us=min((timer.due_us for timer in now.timers), default=None),
        overdue=now.overdue,
    )


def _turn(step: AnyStep) -> tuple[str, ...]:
    if isinstance(step, ApprovalStep):
        return step.roles
    role = getattr(step, "role", "")
    return (role,) if role else ()


def _rendered(run: Loaded, step: AnyStep, locale: str) -> str:
    return rendered(step.text, locale, run.state.inputs)
