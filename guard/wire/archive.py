"""Wire models of the log on files: archiving, scrubbing and pruning."""

from guard.wire.model import Model


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
