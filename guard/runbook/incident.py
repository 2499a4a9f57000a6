"""The life of an incident: its states, its severity, and how one detection with five hundred alerts stays one incident.

Law: the legal transitions stand in one table; severity changes with a reason; an incident that is over is reopened, not
forgotten, and what was merged lives on in the other. Source: the phases of NIST SP 800-61 revision 3. Pure.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Final

from guard.errors import Conflict
from guard.runbook.run import RunState
from guard.runbook.states import ENDED, StepState


class IncidentState(StrEnum):
    """Where an incident stands."""

    REPORTED = "reported"
    DECLARED = "declared"
    ACTIVE = "active"
    CONTAINED = "contained"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    CLOSED = "closed"
    DISMISSED = "dismissed"
    MERGED = "merged"


_I = IncidentState
INCIDENT_TRANSITIONS: Final[Mapping[IncidentState, frozenset[IncidentState]]] = {
    _I.REPORTED: frozenset({_I.DECLARED, _I.DISMISSED, _I.MERGED}),
    _I.DECLARED: frozenset({_I.ACTIVE, _I.DISMISSED, _I.MERGED}),
    _I.ACTIVE: frozenset({_I.CONTAINED, _I.MERGED}),
    # An attacker comes back: containment and recovery may fall back to active.
    _I.CONTAINED: frozenset({_I.RECOVERING, _I.ACTIVE, _I.MERGED}),
    _I.RECOVERING: frozenset({_I.RESOLVED, _I.ACTIVE, _I.MERGED}),
    _I.RESOLVED: frozenset({_I.CLOSED, _I.ACTIVE, _I.MERGED}),
    _I.CLOSED: frozenset({_I.ACTIVE}),
    _I.DISMISSED: frozenset({_I.REPORTED}),
    _I.MERGED: frozenset(),
}
OPEN: Final = frozenset(_I) - {_I.CLOSED, _I.DISMISSED, _I.MERGED}
"""States in which a further alert of the same kind belongs to the incident."""


class Severity(IntEnum):
    """SEV1 is the worst: people, the whole service or personal data of many are affected."""

    SEV1 = 1
    SEV2 = 2
    SEV3 = 3
    SEV4 = 4


class IncidentKind(StrEnum):
    """A drill has everything a real incident has, but nothing of it leaves the house."""

    REAL = "real"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident; `occurrences` counts the alerts that belong to it, `version` its changes."""

    id: str
    kind: IncidentKind
    severity: Severity
    state: IncidentState = IncidentState.REPORTED
    dedupe_key: str = ""
    occurrences: int = 1
    merged_into: str = ""
    version: int = 1


def dedupe_key(rule: str, entity: str) -> str:
    """The key of a detection: SHA-256 in hexadecimal over the rule's id and what it hit, each with its length.

    The hash keeps names and addresses out of the incident table; it is no secret, since addresses can be guessed.
    """
    parts = (part.encode("utf-8", "surrogatepass") for part in (rule, entity))
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).hexdigest()


def same(incidents: Iterable[Incident], key: str, kind: IncidentKind) -> Incident | None:
    """The open incident that an alert with *key* belongs to; a drill never takes in a real alert, nor the reverse."""
    return next(
        (each for each in incidents if key and each.dedupe_key == key and each.kind is kind and each.state in OPEN),
        None,
    )


def occurred(incident: Incident) -> Incident:
    """*incident* with one more alert.

    Raises:
        Conflict: it is over; open a new one.
    """
    if incident.state not in OPEN:
        raise Conflict(f"The incident is {incident.state.value}; open a new one.", state=incident.state.value)
    return replace(incident, occurrences=incident.occurrences + 1, version=incident.version + 1)


def transition(incident: Incident, to: IncidentState) -> Incident:
    """*incident* in the state *to*; merging has its own function, and closing asks `closing_obstacles` first.

    Raises:
        Conflict: the table has no such transition; `extra["allowed"]` lists those that it has.
    """
    allowed = INCIDENT_TRANSITIONS[incident.state] - {IncidentState.MERGED}
    if to not in allowed:
        message = f"The incident is {incident.state.value} and cannot become {to.value}."
        raise Conflict(message, state=incident.state.value, allowed=sorted(state.value for state in allowed))
    return replace(incident, state=to, version=incident.version + 1)


def reclassify(incident: Incident, severity: Severity) -> Incident:
    """*incident* with another severity; the reason belongs into its event.

    Raises:
        Conflict: it has that severity, or is closed, dismissed or merged.
    """
    if incident.state not in OPEN or incident.severity is severity:
        raise Conflict(
            f"The incident is {incident.state.value} with {incident.severity.name}; nothing to change.",
            state=incident.state.value,
        )
    return replace(incident, severity=severity, version=incident.version + 1)


def merge(incident: Incident, into: Incident) -> tuple[Incident, Incident]:
    """Both incidents after *incident* became part of *into*, which takes over its alerts and the worse severity.

    Raises:
        Conflict: they are the same, of different kinds, or one of them is over.
    """
    if incident.id == into.id or incident.kind is not into.kind:
        raise Conflict("Two different incidents of the same kind are merged; these are not.")
    if incident.state not in OPEN or into.state not in OPEN:
        raise Conflict("Only open incidents are merged.", state=incident.state.value, into_state=into.state.value)
    merged = replace(incident, state=IncidentState.MERGED, merged_into=into.id, version=incident.version + 1)
    taken = replace(
        into,
        occurrences=into.occurrences + incident.occurrences,
        severity=min(into.severity, incident.severity),
        version=into.version + 1,
    )
    return merged, taken


def closing_obstacles(runs: Iterable[RunState]) -> tuple[str, ...]:
    """What keeps an incident from being closed, as sentences: runs that go on and effects nobody has looked into."""
    obstacles: list[str] = []
    for run in runs:
        if run.status not in ENDED:
            obstacles.append(f"The run {run.run_id} is {run.status.value}; end it first.")
        obstacles += [
            f"The step '{path}' of run {run.run_id} is {step.state.value}; find out what became of it."
            for path, step in run.steps.items()
            if step.state in {StepState.UNKNOWN, StepState.DISPATCHED}
        ]
    return tuple(obstacles)
