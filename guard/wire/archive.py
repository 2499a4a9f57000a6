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
