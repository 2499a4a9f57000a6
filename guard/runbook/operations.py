"""What the catalogue lists of plans and runs."""

from guard.catalogue import Context, Effect, operation
from guard.errors import NotFound
from guard.runbook import commands, runner, store, views
from guard.runbook.commands import Mode
from guard.runbook.desk import Desk
from guard.runbook.finding import Severity as FindingSeverity
from guard.runbook.lint import lint
from guard.runbook.plan import parse
from guard.runbook.sent import command_of
from guard.wire import runbook as wire


@operation(
    "plans.list",
    "GET /api/v1/plans",
    takes=wire.ListPlans,
    gives=wire.PlanList,
    effect=Effect.NONE,
    resource="plans/all",
)
def list_plans(ctx: Context, request: wire.ListPlans) -> wire.PlanList:
    """List the plan library."""
    del request
    return wire.PlanList(data=[views.plan_view(plan) for plan in ctx.part(Desk).plans])


@operation(
    "plans.read",
    "GET /api/v1/plans/{plan}",
    takes=wire.PlanName,
    gives=wire.PlanDetail,
    effect=Effect.NONE,
    resource="plans/{plan}",
    audit=("plan",),
)
def read_plan(ctx: Context, request: wire.PlanName) -> wire.PlanDetail:
    """Show a plan with its steps."""
    return views.plan_detail(ctx.part(Desk).plan(request.plan)[0])


@operation(
    "plans.lint",
    "POST /api/v1/plans/lint",
    takes=wire.LintPlan,
    gives=wire.LintedPlan,
    effect=Effect.NONE,
    resource="plans/all",
    example={"text": 'guard_plan: "1"'},
)
def lint_plan(ctx: Context, request: wire.LintPlan) -> wire.LintedPlan:
    """Check a plan's text; nothing is stored."""
    findings = lint(parse(request.text, request.file), ctx.part(Desk).operations)
    errors = sum(one.severity is FindingSeverity.ERROR for one in findings)
    ctx.note(findings=len(findings))
    return wire.LintedPlan(
        errors=errors,
        warnings=len(findings) - errors,
        findings=[
            wire.FindingView(code=one.code.value, severity=one.severity.value, place=one.place, message=one.message)
            for one in findings
        ],
    )


@operation(
    "runs.start",
    "POST /api/v1/runs",
    takes=wire.StartRun,
    gives=wire.RunView,
    effect=Effect.WRITE,
    resource="runs/all",
    audit=("plan", "incident", "mode"),
    example={"plan": "credential-stuffing", "mode": "drill", "inputs": {"__incident__": "practice"}},
    sealed=("inputs",),
)
def start_run(ctx: Context, request: wire.StartRun) -> wire.RunView:
    """Start a plan; the run pins the plan's present version."""
    desk = ctx.part(Desk)
    plan, text = desk.plan(request.plan)
    if request.incident and store.find_incident(ctx.tx, ctx.tenant, request.incident) is None:
        raise NotFound(f"Expected the id of an incident, got {request.incident}; see guard run incidents.")
    store.keep_plan(ctx.tx, plan.sha256, plan.id, text, ctx.now_us)
    run_id = ctx.new_id("run")
    summary = wire.RunSummary(
        run=run_id,
        plan=plan.id,
        incident=request.incident or None,
        mode=request.mode,
        state="draft",
        version=0,
        started_by=ctx.actor.subject,
        started_us=ctx.now_us,
        changed_us=ctx.now_us,
    )
    store.add_run(ctx.tx, ctx.tenant, summary, plan.sha256)
    start = commands.Start(
        command_id=f"{runner.OWN}start-{run_id}",
        actor=ctx.actor.subject,
        expected_version=0,
        inputs=request.inputs,
        person=_person(ctx),
        mode=Mode(request.mode),
    )
    ctx.note(run=run_id)
    return views.run_view(ctx, runner.carry_out(ctx, runner.load(ctx, run_id), start))


@operation(
    "runs.list",
    "GET /api/v1/runs",
    takes=wire.ListRuns,
    gives=wire.RunList,
    effect=Effect.READ,
    resource="runs/all",
)
def list_runs(ctx: Context, request: wire.ListRuns) -> wire.RunList:
    """List runs, newest first."""
    return wire.RunList(data=store.list_runs(ctx.tx, ctx.tenant, request.limit))


@operation(
    "runs.read",
    "GET /api/v1/runs/{run}",
    takes=wire.RunId,
    gives=wire.RunView,
    effect=Effect.READ,
    resource="runs/{run}",
    audit=("run",),
)
def read_run(ctx: Context, request: wire.RunId) -> wire.RunView:
    """Show where a run stands, whose turn it is, and its timeline."""
    return views.run_view(ctx, runner.load(ctx, request.run))


@operation(
    "runs.command",
    "POST /api/v1/runs/{run}/commands",
    takes=wire.RunCommand,
    gives=wire.RunView,
    effect=Effect.WRITE,
    resource="runs/{run}",
    audit=("run", "command_id", "type", "step", "option", "expected_version"),
    example={"command_id": "c-1", "expected_version": 4, "type": "decide", "step": "judge", "option": "contain"},
    sealed=("answer", "reason"),
)
def command_run(ctx: Context, request: wire.RunCommand) -> wire.RunView:
    """Answer, decide, approve, refuse or steer; a stale version is refused with what changed and by whom."""
    run = runner.load(ctx, request.run)
    return views.run_view(
        ctx, runner.carry_out(ctx, run, command_of(request, ctx.actor.subject, _person(ctx), _roles(ctx)))
    )


@operation(
    "runs.advance",
    None,
    takes=wire.AdvanceRun,
    gives=wire.RunSummary,
    effect=Effect.WRITE,
    resource="runs/{run}",
    audit=("run",),
)
def advance_run(ctx: Context, request: wire.AdvanceRun) -> wire.RunSummary:
    """Do the automatic steps of a run and fire its timers."""
    run = runner.advance(ctx, runner.load(ctx, request.run))
    if run.rows:  # nothing was due; the hint of the desk was old
        desk, tenant, due_us = ctx.part(Desk), ctx.tenant, runner.due(run.state, run.plan)
        ctx.after_commit(lambda: desk.follow(tenant, request.run, due_us))
    return run.summary


def _person(ctx: Context) -> str:
    subject = ctx.actor.subject
    return subject if subject.startswith("user:") else ""


def _roles(ctx: Context) -> frozenset[str]:
    held = ctx.call("actors.whoami", {}).roles
    return frozenset(role.removeprefix("role:") for role in held)
