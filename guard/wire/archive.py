"""Wire models of the log on files: archiving, scrubbing and pruning."""

from typing import Annotated

from pydantic import Field

from guard.wire.audit import Index
from guard.wire.model import Model

MIN_KEEP_DAYS = 180  # of the Cybersecurity Law's article 21 (six months); no setting and no request lowers it


class ArchiveLog(Model):
    """Move the next complete bundles of the log from the database into files."""


class Archived(Model):
    """How many records are in files."""

    size: int


class Rebuilt(Model):
    """What a rebuild found: records in all, under the latest checkpoint and in files, and the tiles that it mended."""

    size: int
    signed: int
    archived: int
    tenants: int
    mended: list[str]


class ReadPruning(Model):
    """Where the log begins."""


class RequestPrune(Model):
    """Remove records older than `keep_days` days, 180 at least."""

    keep_days: Annotated[int, Field(ge=MIN_KEEP_DAYS, le=36_500)]


class ApprovePrune(Model):
    """Approve the request to prune up to `to`, as `prunes.read` shows it."""

    to: Index


class PruningView(Model):
    """The first record that is kept, how far the files reach, and a request that waits for a second person."""

    min_index: int
    archived: int
    requested_to: int | None
    requested_by: str | None
    requested_us: int | None


class SweepPruned(Model):
    """Remove the next part of what was pruned."""


class Removed(Model):
    """Below which index nothing is left but hashes."""

    removed: int


class RunScrub(Model):
    """Check `blocks` blocks of 256 records from the one that holds `start`."""

    start: Index = 0
    blocks: Annotated[int, Field(ge=1, le=64)] = 16


class StepScrub(Model):
    """Check the next block."""


class Fault(Model):
    """Damage, and the index of the first record that it touches."""

    index: int
    what: str


class Scrubbed(Model):
    """What a check found; `next` is where it goes on, null at the end of the log."""

    size: int
    next: int | None
    faults: list[Fault]


class ScrubReport(Model):
    """Damage at `index`, or the end of a pass over `size` records; `faults` counts those of the pass so far."""

    index: Index | None = None
    size: Index
    faults: Index
