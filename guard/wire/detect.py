"""Wire models of the detect room: log lines in, alerts and decisions out."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.model import MAX_INTEGER, Identifier, Limit, Model, Name, Text

MAX_DATA = 2_900_000  # base64 characters: about 2 MB of log lines, 10,000 of them
Data = Annotated[str, Field(max_length=MAX_DATA, description="Whole lines, each ending in LF, in standard base64.")]
Fingerprint = Annotated[
    str, Field(pattern=r"^(?:[0-9a-f]{2}){8,32}$", description="Hash of the file's beginning, in hex, 8 to 32 bytes.")
]
Format = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="A format plugin, such as combined.")]
Subject = Annotated[str, Field(min_length=1, max_length=128, description="An address, a network or an account.")]


class TryLog(Model):
    """Lines to parse without keeping anything."""

    format: Format = "combined"
    data: Data


class RejectedLine(Model):
    """A line that is no event: its number from 1, the reason, and its beginning with control characters shown."""

    line: int
    reason: str
    beginning: str


class TriedLog(Model):
    """What became of the lines: `lines` = `strict` + `lenient` + `rejected`."""

    lines: int
    strict: int
    lenient: int
    rejected: int
    first_us: int | None
    last_us: int | None
    samples: list[RejectedLine]


class PushEvents(Model):
    """A piece of a log. The same piece again changes nothing; `end` settles the stream as finished."""

    stream: Name
    format: Format = "combined"
    fingerprint: Fingerprint
    offset: Annotated[int, Field(ge=0, le=MAX_INTEGER, description="Byte offset of the first line in its file.")]
    data: Data = ""
    end: bool = False


class PushedEvents(Model):
    """What the piece led to; counts of lines, and of alerts and decisions that are new."""

    lines: int
    strict: int
    lenient: int
    rejected: int
    matched: int
    repeated: int
    late: int
    alerts: int
    decisions: int
    spared: int
    incidents: int


class StreamView(Model):
    """All that was read of a stream."""

    stream: str
    lines: int
    strict: int
    lenient: int
    rejected: int
    matched: int
    repeated: int
    first_us: int | None
    last_us: int | None


class ListStreams(Model):
    """The tenant's streams."""


class StreamList(Model):
    """Streams by name."""

    data: list[StreamView]


class ListRejects(Model):
    """Kept lines of a stream that did not parse."""

    stream: Name
    limit: Limit = 20


class RejectView(Model):
    """A kept line: where it stands, why it is no event, and its beginning with control characters shown."""

    position: str
    reason: str
    beginning: str


class RejectList(Model):
    """Kept lines."""

    data: list[RejectView]


class ListAlerts(Model):
    """Alerts, newest first."""

    limit: Limit = 100


class AlertView(Model):
    """An alert; `key` names what fired, `outcome` what was decided."""

    id: str
    stream: str
    rule: str
    level: str
    key: str
    t0_us: int
    t1_us: int
    peak: int
    phase: str
    exact: bool
    outcome: str


class AlertList(Model):
    """Alerts."""

    data: list[AlertView]


class ListDecisions(Model):
    """Decisions, newest first; `active` leaves out what is over or revoked."""

    active: bool = False
    limit: Limit = 100


class DecisionView(Model):
    """A decision on an address, network or account, with its end."""

    id: str
    scope: str
    value: str
    type: str
    rule: str
    origin: str
    step: int
    shadow: bool
    from_us: int
    until_us: int
    alert: str | None
    state: str
    created_by: str
    reason: str


class DecisionList(Model):
    """Decisions."""

    data: list[DecisionView]


class CreateDecision(Model):
    """A decision by hand."""

    value: Subject
    scope: Literal["Ip", "Range", "User"] = "Ip"
    type: Literal["ban", "captcha", "throttle", "step_up"] = "ban"
    seconds: Annotated[int, Field(ge=60, le=30 * 86400)] = 3600
    reason: Text = ""


class RevokeDecision(Model):
    """The decision to lift."""

    decision: Identifier
    reason: Text = ""


class CheckAddress(Model):
    """Is anything in force against this address or account?"""

    value: Subject


class AddressAnswer(Model):
    """`none`, or the strongest decision in force and when it ends."""

    action: str
    until_us: int | None
    decision: str | None


class ListRules(Model):
    """The loaded rules."""


class RuleView(Model):
    """A detection rule."""

    name: str
    title: str
    level: str
    action: str
    shadow: str
    runbook: str | None
    file: str
    hash: str


class RuleList(Model):
    """Rules by name."""

    data: list[RuleView]
