"""Wire models of the runbook room: plans, incidents and runs."""

from typing import Annotated, Any, Literal

from pydantic import Field

from guard.wire.model import MAX_INTEGER, Identifier, Limit, Model, Name, Text

Severity = Annotated[int, Field(ge=1, le=4, description="1 is the worst.")]
Whole = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Scalars = Annotated[dict[str, str | Whole | bool], Field(max_length=64)]
PlanText = Annotated[str, Field(max_length=262_144, description="A plan in guard's YAML.")]
Version = Annotated[int, Field(ge=0, le=MAX_INTEGER, description="The version of the run that the sender saw.")]


class ListPlans(Model):
    """The plan library."""


class PlanView(Model):
    """A plan: its titles by language and the hash that a run pins."""

    plan: str
    title: dict[str, str]
    group: str
    review_due: str
    steps: int
    sha256: str


class PlanList(Model):
    """Plans by name."""

    data: list[PlanView]


class PlanName(Model):
    """A plan by name."""

    plan: Name


class StepView(Model):
    """A step of a plan: kind, text by language, role where it has one, and where its edges lead."""

    step: str
    kind: str
    text: dict[str, str]
    role: str | None
    next: dict[str, str]


class PlanDetail(PlanView):
    """A plan and its steps in the order of its file."""

    start: str
    details: list[StepView]


class LintPlan(Model):
    """A plan to check; nothing is stored."""

    text: PlanText
    file: Annotated[str, Field(max_length=255)] = "plan.yaml"


class FindingView(Model):
    """One finding: stable code, severity, place and message."""

    code: str
    severity: str
    place: str
    message: str


class LintedPlan(Model):
    """Findings; a plan with an error cannot be run."""

    errors: int
    warnings: int
    findings: list[FindingView]


class OpenIncident(Model):
    """A new incident, or one more occurrence of an open one with the same rule and entity. `plan` starts a run."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    severity: Severity = 3
    kind: Literal["real", "drill"] = "real"
    rule: Annotated[str, Field(max_length=128)] = ""
    entity: Annotated[str, Field(max_length=128)] = ""
    plan: Name | Literal[""] = ""
    inputs: Scalars = Field(default_factory=dict)


class IncidentView(Model):
    """An incident and its runs."""

    id: str
    kind: str
    severity: int
    state: str
    title: str
    occurrences: int
    opened_by: str
    opened_us: int
    changed_us: int
    version: int
    runs: list[str]


class IncidentId(Model):
    """An incident."""

    incident: Identifier


class ListIncidents(Model):
    """Incidents, newest first."""

    limit: Limit = 100


class IncidentList(Model):
    """Incidents."""

    data: list[IncidentView]


class TransitionIncident(Model):
    """The state to move to."""

    incident: Identifier
    to: Name
    reason: Text = ""


class StartRun(Model):
    """A run of a plan, pinned to the plan's present version."""

    plan: Name
    incident: Identifier | Literal[""] = ""
    mode: Literal["live", "drill", "simulation"] = "live"
    inputs: Scalars = Field(default_factory=dict)


class RunId(Model):
    """A run."""

    run: Identifier


class ListRuns(Model):
    """Runs, newest first."""

    limit: Limit = 100


class RunStepView(Model):
    """Where a step stands; `waits_for` names the roles whose turn it is."""

    step: str
    kind: str
    text: dict[str, str]
    state: str
    iteration: int
    attempt: int
    since_us: int
    by: str
    waits_for: list[str]
    options: dict[str, dict[str, str]]
    form: dict[str, Any]
    subject_hash: str
    due_us: int | None
    overdue: bool


class TimelineEvent(Model):
    """One event of a run."""

    seq: int
    type: str
    actor: str
    at_us: int
    step: str
    hash: str


class RunSummary(Model):
    """A run in one line."""

    run: str
    plan: str
    incident: str | None
    mode: str
    state: str
    version: int
    started_by: str
    started_us: int
    changed_us: int


class RunList(Model):
    """Runs."""

    data: list[RunSummary]


class RunView(RunSummary):
    """A run: where each step stands, and its timeline."""

    plan_sha256: str
    reason: str
    steps: list[RunStepView]
    timeline: list[TimelineEvent]


class RunCommand(Model):
    """What a person does to a run. The same `command_id` again gets the first answer."""

    run: Identifier
    command_id: Identifier
    expected_version: Version
    type: Literal[
        "answer", "decide", "approve", "refuse", "give_up", "skip", "pause", "resume", "abort", "resolve_unknown"
    ]
    step: Annotated[str, Field(max_length=64)] = ""
    iteration: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = 0
    attempt: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 1
    answer: dict[str, Any] = Field(default_factory=dict)
    option: Annotated[str, Field(max_length=64)] = ""
    subject_hash: Annotated[str, Field(max_length=64)] = ""
    verdict: Literal["", "done", "failed", "retry"] = ""
    reason: Text = ""


class AdvanceRun(Model):
    """Do what is due in a run: automatic steps and timers."""

    run: Identifier
