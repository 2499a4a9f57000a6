"""Wire models of what keeps checkpoints honest: the clock, the keys of the log, witnesses, and old notes."""

from typing import Annotated

from pydantic import Field

from guard.wire.audit import Index
from guard.wire.model import MAX_INTEGER, Identifier, Model, Text

WitnessName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of a witness.")]
Days = Annotated[int, Field(ge=1, le=366, description="For how many days the old keys sign too.")]


class TellRegression(Model):
    """The clock is behind the last checkpoint."""

    behind_us: Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class Alarm(Model):
    """What a loop tells the operator; empty where there is nothing to tell."""

    alarm: str = ""


class AcceptClock(Model):
    """Ask, with a reason, to sign on although the clock is behind; or accept another person's request by its id."""

    reason: Text = ""
    request: Identifier | None = None


class ClockView(Model):
    """A request to accept the clock, and who accepted it."""

    request: str
    state: str
    behind_us: int
    asked_by: str
    accepted_by: str | None


class TidyNotes(Model):
    """Drop signed notes of old checkpoints that nobody cosigned."""


class TidiedNotes(Model):
    """How many notes were dropped; size and time of their checkpoints stay."""

    dropped: int


class RotateLogKey(Model):
    """New keys for the log; the old ones sign beside them for some days."""

    overlap_days: Days = 30


class TellKeys(Model):
    """The keys that begin to sign, as vkeys, from this size of the log on."""

    vkeys: Annotated[list[str], Field(max_length=8)]
    from_size: Index


class LogKey(Model):
    """A key of the log: the sizes of checkpoints that it signs, when it ends, and since when others may have it."""

    vkey: str
    from_size: int
    to_size: int | None
    until_us: int | None
    stolen_us: int | None = None


class LogKeyList(Model):
    """Every key that the log ever had, oldest first."""

    data: list[LogKey]


class ListLogKeys(Model):
    """The keys of the log."""


class AskWitness(Model):
    """Send the latest checkpoint to a witness of the configuration."""

    witness: WitnessName


class TellWitness(Model):
    """What a witness holds against this log; `proven` where it showed a note that the log's own key signed."""

    witness: WitnessName
    finding: str
    size: Index
    witness_size: Index
    proven: bool


class ListWitnesses(Model):
    """The witnesses of the configuration."""


class WitnessView(Model):
    """A witness: the size that it last cosigned, how many records have come since, and what it last said."""

    name: str
    vkey: str
    size: int
    lag: int
    status: str
    time_us: int
    cosigned_us: int | None


class WitnessList(Model):
    """Witnesses; `witnessed` is the largest size that `quorum` of them cosigned. `remark` says what that is worth."""

    data: list[WitnessView]
    quorum: int
    witnessed: int
    size: int
    remark: str
