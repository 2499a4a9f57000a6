"""guard's own plan format: a plan is a graph of steps with labelled edges, read once and never changed.

Law: a plan is named by its hash, SHA-256 over the RFC 8785 form of the whole document, so a run that pins the hash runs
exactly what was reviewed. Parsing checks shape; whether the plan can be carried out is `lint`'s question. Pure.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final

from guard.runbook import variables
from guard.runbook.canonical import sha256_of
from guard.runbook.duration import duration_us
from guard.runbook.finding import Code, Path, invalid
from guard.runbook.reader import Node, nearest, quoted
from guard.runbook.text import Document, load
from guard.runbook.variables import Input, Scalar

FORMAT: Final = "1"
"""The value of `guard_plan` that this reader understands."""
MAX_STEPS: Final = 10_000
"""Steps that one run executes at most, attempts included; a plan of more could never be walked to its end."""
MAX_ROLES: Final = 50
"""Nobody staffs more in one incident; bounds the work of the approval check."""
MAX_INPUTS: Final = 50
"""People type them at night when the run starts."""
MAX_OPTIONS: Final = 20
"""A decision with more is several decisions."""
MAX_TAGS: Final = 50
"""Framework references; more would not be read."""
MAX_QUORUM: Final = 20
"""More signatures than this are a vote, not an approval."""
MAX_RUNGS: Final = 10
"""An escalation that ten people ignored needs another plan."""

TASK_LABELS: Final = ("success", "failure", "timeout")
RESERVED: Final = frozenset(TASK_LABELS)
"""Labels that the machine gives; no option may bear one, or its edge would be ambiguous."""

NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
"""ASCII only, so that no two step names look alike and none holds the `|` that separates an idempotency key."""
_OPERATION: Final = re.compile(r"[a-z][a-z0-9_]{0,39}\.[a-z][a-z0-9_]{0,39}", re.ASCII)
_TAG: Final = re.compile(r"[a-z0-9-]{1,32}:[A-Za-z0-9_.-]{1,64}", re.ASCII)
_RUNG: Final = re.compile(r"role:[a-z][a-z0-9_-]{0,63}", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_ANY: Final = re.compile(r".{1,4000}", re.DOTALL)
_A_NAME: Final = "a name of lower-case letters, digits, - and _ (at most 64, first a letter)"


class Outcome(StrEnum):
    """What reaching an end means for the run."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the incident, held by `holders` people at most, None for any number; `training` names a record."""

    name: str
    holders: int | None
    training: str


@dataclass(frozen=True, slots=True)
class Deadline:
    """Time a human step has, counted from when it begins to wait, and whom to call meanwhile, first rung first."""

    after_us: int
    ladder: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What all kinds share: `next` maps an edge's label to the id of the step that it leads to."""

    id: str
    text: Mapping[str, str]
    next: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStep(Step):
    """Work of a person in `role`, answered by a form (a JSON Schema object) where there is one."""

    role: str
    form: Mapping[str, object] | None
    deadline: Deadline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionStep(Step):
    """A choice by a person in `role`; each option is an edge."""

    role: str
    options: Mapping[str, Mapping[str, str]]
    deadline: Deadline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardStep(Step):
    """One operation of the catalogue, with arguments that may refer to inputs."""

    operation: str
    arguments: Mapping[str, object]
    idempotent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalStep(Step):
    """`quorum` different people out of `roles`, never the one who asks; silence refuses."""

    roles: tuple[str, ...]
    quorum: int
    deadline: Deadline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitStep(Step):
    """Nothing happens for `for_us` microseconds."""

    for_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStep(Step):
    """The run is over."""

    outcome: Outcome


AnyStep = TaskStep | DecisionStep | GuardStep | ApprovalStep | WaitStep | EndStep
HumanStep = TaskStep | DecisionStep | ApprovalStep


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of a plan. `document` holds its lines for messages; two plans are equal when their content is."""

    id: str
    title: Mapping[str, str]
    group: str
    review_due: date
    tags: tuple[str, ...]
    roles: Mapping[str, Role]
    inputs: Mapping[str, Input]
    start: str
    steps: Mapping[str, AnyStep]
    sha256: str
    document: Document = field(repr=False, compare=False)


def parse(text: str, file_name: str) -> Plan:
    """Read a plan; *file_name* appears in messages and is not opened.

    Raises:
        InvalidPlan: the text is no strict YAML, or not of the shape of a plan; `extra["findings"]` lists the places.
    """
    document = load(text, file_name)
    root = Node.root(document)
    known = ("guard_plan", "id", "title", "group", "review_due", "tags", "roles", "inputs", "start", "steps")
    root.only(known, [key for key in known if key not in {"tags", "inputs"}])
    root.text("guard_plan", re.compile(FORMAT), f'The format version, "{FORMAT}" in quotes,')
    parts = {
        "id": root.text("id", NAME, _A_NAME),
        "title": root.locales("title"),
        "group": root.text("group", NAME, _A_NAME),
        "review_due": _date(root, "review_due"),
        "tags": root.names("tags", _TAG, "A tag such as 'csf:RS.MI'", MAX_TAGS),
        "roles": {name: _role(name, node) for name, node in root.child("roles").children(NAME, _A_NAME, MAX_ROLES)},
        "inputs": {name: _input(name, node) for name, node in _inputs(root)},
        "start": root.text("start", NAME, "The name of a step"),
        "steps": _steps(root.child("steps")),
    }
    if root.faults:
        raise invalid(root.faults)
    return Plan(**parts, sha256=sha256_of(document.value), document=document)  # type: ignore[arg-type]  # keys as above


def rendered(texts: Mapping[str, str], locale: str, values: Mapping[str, Scalar]) -> str:
    """A human text in *locale*, or English where that is missing, with the values of a run filled in."""
    return variables.fill(texts.get(locale) or texts.get("en", ""), values)


def _date(node: Node, key: str) -> date:
    text = node.text(key, _DATE, "A date such as '2027-03-31'", "0001-01-01")
    try:
        return date.fromisoformat(text)
    except ValueError:
        node.fault(Code.SHAPE, (*node.path, key), "A date of the calendar is expected here; no such day exists.")
        return date.min


def _role(name: str, node: Node) -> Role:
    node.only(("holders", "training"))
    # The commander decides alone: exactly one is active at a time, so nobody may plan with two.
    most = 1 if name == "commander" else 1000
    holders = node.whole("holders", 1, most, 1) if "holders" in node.content or name == "commander" else None
    return Role(name, holders, node.text("training", NAME, _A_NAME))


def _inputs(root: Node) -> list[tuple[str, Node]]:
    return list(root.child("inputs").children(variables.NAME, "variable such as '__host__'", MAX_INPUTS))


def _input(name: str, node: Node) -> Input:
    node.only(("type", "external", "value", "text"), ["type"])
    kind = node.text("type", _ANY, "A type", "string")
    if kind not in variables.TYPES:
        known = sorted(variables.TYPES)
        node.fault(Code.SHAPE, (*node.path, "type"), f"A type is one of {', '.join(known)}.{nearest(kind, known)}")
    external = node.flag("external")
    value = variables.typed(kind, node.content.get("value"))
    if external == ("value" in node.content):
        node.fault(Code.SHAPE, node.path, "An input is either 'external: true' or has a 'value'.")
    elif not external and value is None:
        node.fault(Code.SHAPE, (*node.path, "value"), f"A value of type {quoted(kind)} is expected here.")
    return Input(name, kind, external, value, node.locales("text"))


def _steps(node: Node) -> dict[str, AnyStep]:
    steps: dict[str, AnyStep] = {}
    for name, step in node.children(NAME, f"step name ({_A_NAME})"):
        kind = step.content.get("kind")
        if "kind" not in step.content:
            step.fault(Code.KEY_MISSING, step.path, f"A step has a 'kind', one of {', '.join(_KINDS)}.")
        elif not isinstance(kind, str) or kind not in _KINDS:
            came = quoted(kind) if isinstance(kind, str) else "no text"
            guess = nearest(kind, list(_KINDS)) if isinstance(kind, str) else ""
            message = f"A kind of step is one of {', '.join(_KINDS)}; {came} came.{guess}"
            step.fault(Code.KIND_UNKNOWN, (*step.path, "kind"), message)
        else:
            steps[name] = _KINDS[kind](name, step)
    return steps


def _task(name: str, node: Node) -> TaskStep:
    node.only(("kind", "role", "text", "form", "deadline", "next"), ["role", "next"])
    return TaskStep(
        id=name,
        text=node.locales("text"),
        role=node.text("role", NAME, "The name of a role"),
        form=node.child("form").content if "form" in node.content else None,
        deadline=_deadline(node),
        next=_edges(node, TASK_LABELS, ["success"]),
    )


def _decision(name: str, node: Node) -> DecisionStep:
    node.only(("kind", "role", "text", "options", "deadline", "next"), ["role", "options", "next"])
    options = node.child("options")
    for option in options.content:
        if option in RESERVED or not NAME.fullmatch(option):
            message = f"{quoted(option)} is no option; it is {_A_NAME}, and not {', '.join(TASK_LABELS)}."
            node.fault(Code.SHAPE, (*options.path, option), message)
    if not 2 <= len(options.content) <= MAX_OPTIONS:  # noqa: PLR2004 -- one option is no choice
        node.fault(Code.SHAPE, options.path, f"A decision has 2 to {MAX_OPTIONS} options; {len(options.content)} came.")
    return DecisionStep(
        id=name,
        text=node.locales("text"),
        role=node.text("role", NAME, "The name of a role"),
        options={option: options.locales(option) for option in options.content},
        deadline=_deadline(node),
        next=_edges(node, (*options.content, "timeout"), list(options.content)),
    )


def _guard(name: str, node: Node) -> GuardStep:
    node.only(("kind", "text", "operation", "with", "idempotent", "next"), ["operation", "next"])
    return GuardStep(
        id=name,
        text=node.locales("text"),
        operation=node.text("operation", _OPERATION, "An operation such as 'keys.rotate'"),
        arguments=node.child("with").content,
        idempotent=node.flag("idempotent"),
        next=_edges(node, TASK_LABELS, ["success"]),
    )


def _approval(name: str, node: Node) -> ApprovalStep:
    node.only(("kind", "text", "roles", "quorum", "deadline", "next"), ["roles", "next"])
    return ApprovalStep(
        id=name,
        text=node.locales("text"),
        roles=node.names("roles", NAME, "The name of a role", MAX_ROLES),
        quorum=node.whole("quorum", 1, MAX_QUORUM, 1),
        deadline=_deadline(node),
        next=_edges(node, TASK_LABELS, ["success", "failure"]),
    )


def _wait(name: str, node: Node) -> WaitStep:
    node.only(("kind", "text", "for", "next"), ["for", "next"])
    length = node.converted("for", duration_us, "a duration such as 'PT15M' or 'P1D', at most 366 days")
    return WaitStep(id=name, text=node.locales("text"), for_us=length, next=_edges(node, ("success",), ["success"]))


def _end(name: str, node: Node) -> EndStep:
    node.only(("kind", "text", "outcome"))
    word = node.text("outcome", re.compile("success|failure"), "'success' or 'failure'", "success")
    return EndStep(id=name, text=node.locales("text"), outcome=Outcome(word), next={})


def _deadline(node: Node) -> Deadline | None:
    if "deadline" not in node.content:
        if "timeout" in node.child("next").content:
            where: Path = (*node.path, "next", "timeout")
            node.fault(Code.SHAPE, where, "An edge 'timeout' is taken when a deadline passes; add 'deadline'.")
        return None
    child = node.child("deadline")
    child.only(("after", "ladder"), ["after"])
    after = child.converted("after", duration_us, "a duration such as 'PT15M' or 'P1D', at most 366 days")
    return Deadline(after, child.names("ladder", _RUNG, "A rung such as 'role:deputy'", MAX_RUNGS))


def _edges(node: Node, known: tuple[str, ...], required: list[str]) -> dict[str, str]:
    child = node.child("next")
    if "next" in node.content:
        child.only(known, required)
    return {label: child.text(label, NAME, "The name of a step") for label in child.content}


_KINDS: Final[Mapping[str, Callable[[str, Node], AnyStep]]] = {
    "task": _task,
    "decision": _decision,
    "guard": _guard,
    "approval": _approval,
    "wait": _wait,
    "end": _end,
}
KINDS: Final = tuple(_KINDS)
"""The kinds of step that this version carries out."""
