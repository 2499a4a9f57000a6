"""Anchors, time-stamps, copies, and the first record of a log, as operations take and give them."""

from typing import Annotated

from pydantic import Field

from guard.wire.audit import Index
from guard.wire.model import Model

Reason = Annotated[str, Field(max_length=500, description="Why; stands in the log for ever.")]
Person = Annotated[str, Field(max_length=128, description="Subject of a person.")]


class Watch(Model):
    """Look at the files in use and at the disk."""


class Watched(Model):
    """How the service stands, and how much room the disk has."""

    state: str
    free_bytes: int


class Resume(Model):
    """Go on after the disk had no room."""


class Resumed(Model):
    """How many operations were refused meanwhile."""

    refused: int


class CreateLog(Model):
    """Begin a log; with a reason and two persons, the next incarnation of this one.

    With the vkey of a stolen key and the time since when others may have it, the next one has new keys.
    """

    reason: Reason = ""
    second: Person = ""
    stolen: Annotated[str, Field(max_length=4096, description="vkey of the stolen key.")] = ""
    since_us: Index | None = None


class LogCreated(Model):
    """The origin of the log that begins."""

    origin: str
    follows: str = ""


class StageCheckpoint(Model):
    """Sign what was committed so far, and move the anchor."""


class PublishStaged(Model):
    """Publish what was signed and anchored."""


class Staged(Model):
    """Whether there was something new."""

    changed: bool


class StampCheckpoint(Model):
    """Have an authority date the latest checkpoint."""

    authority: Annotated[str, Field(max_length=31)]


class CopyCheckpoint(Model):
    """Put the latest checkpoint into the bucket."""


class Outside(Model):
    """What was sent outside."""

    size: int
    time_us: int
    alarm: str = ""


class ListAnchors(Model):
    """List the anchors."""


class AnchorView(Model):
    """One anchor. `counts` says whether a rollback of the database is found by it."""

    kind: str
    place: str
    size: int | None = None
    origin: str = ""
    time_us: int | None = None
    counts: bool
    remark: str = ""


class AnchorList(Model):
    """All anchors that the settings name, and what each holds."""

    data: list[AnchorView]
