"""Wire models of the log as c2sp.org/tlog-tiles serves it: a checkpoint, hash tiles, entry bundles.

Law: answers are the bytes of that standard and nothing of guard's own, so that any of its readers can use them.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from guard.wire.model import Content, Model

LogName = Annotated[str, Field(max_length=256, description="The last part of the log's origin.")]
TilePath = Annotated[str, Field(max_length=64, description="Number of a tile, such as x001/x234/067.p/112.")]


class ReadHead(Model):
    """Read the latest checkpoint of the log."""

    log: LogName


class ReadTile(Model):
    """Read a tile of hashes of a level from 0 to 7."""

    log: LogName
    level: Annotated[str, Field(max_length=64, description="Level of the tile, 0 to 7.")]
    tile: TilePath


class ReadBundle(Model):
    """Read a bundle of at most 256 entries."""

    log: LogName
    tile: TilePath


class SignedNote(Content):
    """A signed checkpoint."""

    documented: ClassVar[str] = "text/plain"


class TileBytes(Content):
    """A tile or a bundle."""
