"""Wire models of sinks: what is sent on, how far, and how late."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.audit import Index
from guard.wire.model import Model

SinkName = Annotated[str, Field(max_length=63, description="Name of a sink in guard.toml.")]


class ListSinks(Model):
    """The sinks that guard.toml declares, or once declared."""


class SinkView(Model):
    """How far a sink is. It has all records from `first` up to but not including `next`; `behind` more are to come.

    `delivered` counts what it acknowledged and `repeated` what of that was sent once more, so that `delivered` less
    `repeated` is `next` less `first`; `complete` says whether it is.
    """

    name: str
    plugin: str
    state: str
    behind: int
    lag_seconds: int
    alarm: bool
    first: int
    next: int
    delivered: int
    repeated: int
    complete: bool
    acked_us: int | None
    failures: int
    last_error: str
    target: str
    acknowledged: str


class SinkList(Model):
    """Sinks by name; `size` is the size of the log."""

    data: list[SinkView]
    size: int


class DeclareSinks(Model):
    """Take over the sinks of guard.toml."""


class DeclaredSinks(Model):
    """What changed."""

    added: list[str]
    removed: list[str]


class PullRecords(Model):
    """The records that a sink is to have next; `first` is None for those after its cursor."""

    sink: SinkName
    first: Index | None = None


class PulledRecords(Model):
    """Entries from `first` on, in order, and whether more are waiting."""

    first: int
    entries: list[str]
    more: bool
    now_us: int


class MoveSink(Model):
    """A sink acknowledged `count` records from `first` up to `next`, and goes on at `back`."""

    sink: SinkName
    first: Index
    next: Index
    back: Index
    count: Index


class ReportSink(Model):
    """A sink was reached or lost."""

    sink: SinkName
    state: Literal["connected", "lost"]
    next: Index
    failures: Index
    error: Annotated[str, Field(max_length=64)] = ""


class WatchSinks(Model):
    """Look for sinks that are late."""


class WatchedSinks(Model):
    """Names of those."""

    late: list[str]
