"""What may be asked of a run: one frozen class per command, and the rule for a command that comes twice.

Law: every command names the version that its sender saw; nobody acts on a run that he has not seen. A command repeated
under its id gives the first answer and no second event, so a double click and a retried request are safe. Pure.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from guard.errors import InvalidRequest
from guard.runbook.events import AnyEvent

MAX_ID_CHARACTERS: Final = 200
"""Ids are generated; longer ones would only fill the store."""
MAX_REASON_CHARACTERS: Final = 2000
"""A reason is a sentence or a paragraph; documents are evidence."""


class Mode(StrEnum):
    """A live run acts; a drill and a simulation do not leave the house."""

    LIVE = "live"
    DRILL = "drill"
    SIMULATION = "simulation"


class Verdict(StrEnum):
    """What a person found out about an unknown effect."""

    DONE = "done"
    FAILED = "failed"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`command_id` is chosen by the sender, once per act; `actor` is the credential's subject."""

    command_id: str
    actor: str
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCommand(Command):
    """A command to one attempt of one step, so that two waiting steps cannot get each other's answer."""

    path: str
    iteration: int = 0
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Command):
    """Begin; `person` is who stands behind the actor, empty for a service."""

    inputs: Mapping[str, object]
    person: str = ""
    mode: Mode = Mode.LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonCommand(StepCommand):
    """What a person does: `person` is the human behind every token of his, `roles` those he holds in the incident."""

    person: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(PersonCommand):
    """The work of a task is done."""

    answer: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide(PersonCommand):
    """One option of a decision."""

    option: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve(PersonCommand):
    """Agreement to exactly what `subject_hash` names."""

    subject_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(PersonCommand):
    """Refusal of what `subject_hash` names; one is enough."""

    subject_hash: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp(PersonCommand):
    """The work of a task could not be done."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intend(StepCommand):
    """An executor takes an automatic step on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FencedCommand(StepCommand):
    """From an executor: `fence` is the number of its lease, `idem_key` that of the attempt."""

    fence: int
    idem_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch(FencedCommand):
    """The effect begins now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(FencedCommand):
    """The effect happened; `result` holds ids and counts only."""

    result: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(FencedCommand):
    """The effect did not happen, for certain; `timed_out` if it was given up for lack of time."""

    reason: str
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkUnknown(FencedCommand):
    """Nobody can tell whether the effect happened."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveUnknown(StepCommand):
    """A person found out."""

    verdict: Verdict
    reason: str
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip(StepCommand):
    """Leave a step out; neither a decision nor an approval can be."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Command):
    """Begin no further step."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Command):
    """Go on; a step that failed without a way on is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort(Command):
    """End the run before its end."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(StepCommand):
    """A timer of this step is due; `kind` as `next_due` gave it."""

    kind: str


AnyCommand = (
    Start
    | Answer
    | Decide
    | Approve
    | Refuse
    | GiveUp
    | Intend
    | Dispatch
    | Complete
    | Fail
    | MarkUnknown
    | ResolveUnknown
    | Skip
    | Pause
    | Resume
    | Abort
    | TimerFired
)


def check(command: Command) -> None:
    """Check what all commands share.

    Raises:
        InvalidRequest: an id, a person or a reason is empty or too long; the field is named.
    """
    for name, limit in (("command_id", MAX_ID_CHARACTERS), ("actor", MAX_ID_CHARACTERS), ("path", MAX_ID_CHARACTERS)):
        _check_text(name, getattr(command, name, "x"), limit)
    if not isinstance(command, Start):
        _check_text("person", getattr(command, "person", "x"), MAX_ID_CHARACTERS)
    if not isinstance(command, Decide) or command.reason:
        _check_text("reason", getattr(command, "reason", "x"), MAX_REASON_CHARACTERS)


def _check_text(name: str, value: str, limit: int) -> None:
    if not value.strip() or len(value) > limit:
        raise InvalidRequest(
            f"'{name}' has 1 to {limit} characters, not all blank; {len(value)} came.",
            errors=[{"pointer": f"/{name}", "code": "length", "message": f"1 to {limit} characters"}],
        )


def body_sha256(command: Command) -> str:
    """A hash over all that *command* asks for; the version that its sender saw is no part of it."""
    members = {item.name: getattr(command, item.name) for item in fields(command) if item.name != "expected_version"}
    text = json.dumps([type(command).__name__, members], sort_keys=True, default=_listed)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def repeated(command: Command, stored_sha256: str, events: Iterable[AnyEvent]) -> tuple[AnyEvent, ...]:
    """The events that the first sending of *command* made; *stored_sha256* is the hash that was kept with its id.

    Raises:
        InvalidRequest: the id was used for another command.
    """
    if body_sha256(command) != stored_sha256:
        raise InvalidRequest(
            "This command_id was used for another command; choose a new one for each act.",
            errors=[{"pointer": "/command_id", "code": "reused", "message": "used for another command"}],
        )
    return tuple(event for event in events if event.command_id == command.command_id)


def _listed(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise InvalidRequest(f"A command holds JSON values; a {type(value).__name__} came.", errors=[])
