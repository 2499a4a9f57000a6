"""What can happen to a run: one frozen class per kind of event, its JSON form, and the hash chain of stored events.

Law: an event says what happened, by whom and when, and is never changed; the state of a run is the fold of its events.
Names of types and of members are append-only, since old runs are read by new programs. Each stored row carries the hash
of the row before it, so that a changed, lost or inserted row shows (hash = SHA-256 over the RFC 8785 form). Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final

from guard.errors import StoreDamaged, VerificationFailed
from guard.runbook.canonical import sha256_of
from guard.runbook.variables import Scalar

GENESIS: Final = "0" * 64
"""`prev_hash` of the first row."""

ENVELOPE: Final = ("seq", "at_us", "actor", "command_id")
"""Members that stand beside the payload in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Envelope: `seq` counts from 1 without gaps; `at_us` is UTC in microseconds since 1970."""

    type: ClassVar[str] = ""
    seq: int
    at_us: int
    actor: str
    command_id: str

    def payload(self) -> dict[str, object]:
        """The members beside the envelope, as JSON values."""
        names = [item.name for item in fields(self) if item.name not in ENVELOPE]
        return {name: _plain(getattr(self, name)) for name in names}

    def to_json(self) -> dict[str, object]:
        """Members `type`, the envelope and `payload`; `from_json` reads them back."""
        return {"type": self.type, **{name: getattr(self, name) for name in ENVELOPE}, "payload": self.payload()}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent(Event):
    """An event of one attempt of one step; `path` is the step's id, `iteration` 0 outside loops, `attempt` from 1."""

    path: str
    iteration: int
    attempt: int


# The run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The run pinned its plan and took its inputs; `person` is who stands behind the actor, empty for a service."""

    type: ClassVar[str] = "run_started"
    plan_sha256: str
    mode: str
    inputs: Mapping[str, Scalar]
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Event):
    """No step begins and no timer fires until the run is resumed; `path` names the step that has no way on, if one."""

    type: ClassVar[str] = "run_paused"
    reason: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """The run goes on; open timers move by the length of the pause."""

    type: ClassVar[str] = "run_resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The run took its last step; `status` is completed, failed or aborted, `path` the end step, if one."""

    type: ClassVar[str] = "run_ended"
    status: str
    reason: str
    path: str


# A step begins


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReady(StepEvent):
    """A new attempt; `source` and `label` name the edge that led here, both empty at the start and on a retry."""

    type: ClassVar[str] = "step_ready"
    source: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWaiting(StepEvent):
    """The step waits for `state`'s reason; each timer is (due_us, kind, whom to call).

    `subject_hash` binds an approval to the plan, the place and the inputs.
    """

    type: ClassVar[str] = "step_waiting"
    state: str
    timers: tuple[tuple[int, str, str], ...]
    subject_hash: str


# People


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAnswered(StepEvent):
    """The work is done."""

    type: ClassVar[str] = "task_answered"
    answer: Mapping[str, object]
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionChosen(StepEvent):
    """The decision fell."""

    type: ClassVar[str] = "option_chosen"
    option: str
    reason: str
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGiven(StepEvent):
    """One person agrees; `complete` when this was the last signature that the quorum needed."""

    type: ClassVar[str] = "approval_given"
    person: str
    subject_hash: str
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRefused(StepEvent):
    """One person refuses, which decides."""

    type: ClassVar[str] = "approval_refused"
    person: str
    subject_hash: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(StepEvent):
    """A person or an executor says that it did not work."""

    type: ClassVar[str] = "step_failed"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped(StepEvent):
    """The step was left out on purpose."""

    type: ClassVar[str] = "step_skipped"
    reason: str


# Effects


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectIntended(StepEvent):
    """Written before anything is done; `idem_key` goes along with every try of this attempt."""

    type: ClassVar[str] = "effect_intended"
    operation: str
    idem_key: str
    idempotent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectDispatched(StepEvent):
    """From here on the effect may have happened; only the holder of `fence` may report."""

    type: ClassVar[str] = "effect_dispatched"
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRedispatched(StepEvent):
    """An idempotent effect is tried once more under the same key by the holder of a newer fence."""

    type: ClassVar[str] = "effect_redispatched"
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectSucceeded(StepEvent):
    """The effect happened; `result` holds ids and counts only."""

    type: ClassVar[str] = "effect_succeeded"
    fence: int
    result: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectUnknown(StepEvent):
    """Nobody can tell whether the effect happened; a person decides."""

    type: ClassVar[str] = "effect_unknown"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownResolved(StepEvent):
    """A person said what became of an unknown effect: done, failed or retry."""

    type: ClassVar[str] = "unknown_resolved"
    verdict: str
    reason: str
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LateResult(StepEvent):
    """The report of an executor that had been replaced; kept as evidence, changes nothing."""

    type: ClassVar[str] = "late_result"
    fence: int
    outcome: str


# Time


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitElapsed(StepEvent):
    """The waiting time is over; `at_us - due_us` is how late it was noticed."""

    type: ClassVar[str] = "wait_elapsed"
    due_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimedOut(StepEvent):
    """The time ran out and the step with it; for an effect, its executor gave up and knows that nothing happened."""

    type: ClassVar[str] = "step_timed_out"
    due_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed(StepEvent):
    """The time ran out, but the plan gives no other way, so the step stays open and is overdue."""

    type: ClassVar[str] = "deadline_passed"
    due_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEscalated(StepEvent):
    """The ladder calls the next role."""

    type: ClassVar[str] = "step_escalated"
    due_us: int
    kind: str
    to: str


AnyEvent = (
    RunStarted
    | RunPaused
    | RunResumed
    | RunEnded
    | StepReady
    | StepWaiting
    | TaskAnswered
    | OptionChosen
    | ApprovalGiven
    | ApprovalRefused
    | StepFailed
    | StepSkipped
    | EffectIntended
    | EffectDispatched
    | EffectRedispatched
    | EffectSucceeded
    | EffectUnknown
    | UnknownResolved
    | LateResult
    | WaitElapsed
    | StepTimedOut
    | DeadlinePassed
    | StepEscalated
)
_CLASSES: Final[Mapping[str, type[Any]]] = {each.type: each for each in AnyEvent.__args__}


def from_json(value: Mapping[str, object]) -> AnyEvent:
    """The event that `to_json` wrote.

    Raises:
        StoreDamaged: an unknown type, or a member is missing or unknown.
    """
    kind, payload = value.get("type"), value.get("payload")
    cls = _CLASSES.get(kind) if isinstance(kind, str) else None
    if cls is None or not isinstance(payload, Mapping):
        raise StoreDamaged("An event of this run is of a type that this version does not know; update guard.")
    members = {**{name: value.get(name) for name in ENVELOPE}, **payload}
    if "timers" in members and isinstance(members["timers"], list):
        members["timers"] = tuple(tuple(timer) for timer in members["timers"])
    if members.keys() != {item.name for item in fields(cls)}:
        raise StoreDamaged(f"An event '{kind}' has other members than its type; the store was changed by hand.")
    event: AnyEvent = cls(**members)
    return event


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


# The chain of stored rows


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event as it is stored. `at_us` is when it happened, `recorded_at_us` when it was entered (later for paper)."""

    run_id: str
    seq: int
    event_id: str
    type: str
    actor: str
    at_us: int
    recorded_at_us: int
    command_id: str
    payload: Mapping[str, object]
    prev_hash: str = ""
    hash: str = ""

    def event(self) -> AnyEvent:
        """The event in this row.

        Raises:
            StoreDamaged: as `from_json`.
        """
        return from_json(
            {**{name: getattr(self, name) for name in ENVELOPE}, "type": self.type, "payload": self.payload}
        )


def row(run_id: str, event_id: str, event: Event, recorded_at_us: int, prev_hash: str) -> EventRow:
    """The chained row of *event*; *prev_hash* is the hash of the row before it, or GENESIS."""
    unchained = EventRow(
        run_id=run_id,
        seq=event.seq,
        event_id=event_id,
        type=event.type,
        actor=event.actor,
        at_us=event.at_us,
        recorded_at_us=recorded_at_us,
        command_id=event.command_id,
        payload=event.payload(),
    )
    return replace(unchained, prev_hash=prev_hash, hash=chain(prev_hash, unchained))


def chain(prev_hash: str, event: EventRow) -> str:
    """The hash of *event* after the row with *prev_hash*, in lower-case hexadecimal; its own hashes are not looked at.

    Raises:
        InvalidRequest: the payload has no canonical form.
    """
    return sha256_of(
        {
            "run_id": event.run_id,
            "seq": event.seq,
            "event_id": event.event_id,
            "type": event.type,
            "actor": event.actor,
            "at": event.at_us,
            "recorded_at": event.recorded_at_us,
            "command_id": event.command_id,
            "payload": event.payload,
            "prev_hash": prev_hash,
        }
    )


def verify_chain(rows: Iterable[EventRow], prev_hash: str = GENESIS, first_seq: int = 1) -> str:
    """The hash of the last row, if *rows* of one run follow each other from *first_seq* on and none was changed.

    Rows cut off at the end cannot show here: compare the result with a head that is kept elsewhere.

    Raises:
        VerificationFailed: a row is missing, doubled, of another run, or changed; `extra["seq"]` is the first such.
    """
    run_id = ""
    for expected, each in enumerate(rows, first_seq):
        run_id = run_id or each.run_id
        if each.seq != expected:
            raise VerificationFailed(
                f"Event {expected} was expected and {each.seq} came; a row is missing.", seq=expected
            )
        if each.run_id != run_id:
            raise VerificationFailed(f"Event {each.seq} belongs to another run.", seq=each.seq)
        if each.prev_hash != prev_hash:
            raise VerificationFailed(f"Event {each.seq} does not follow the event before it.", seq=each.seq)
        if each.hash != chain(prev_hash, each):
            raise VerificationFailed(f"Event {each.seq} was changed after it was written.", seq=each.seq)
        prev_hash = each.hash
    return prev_hash
