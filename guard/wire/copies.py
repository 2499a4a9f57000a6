"""Wire models of the copies of the log in a bucket with Object Lock."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.audit import Index
from guard.wire.model import Model


class CopyFiles(Model):
    """Copy the next finished bundles and tiles."""


class Copied(Model):
    """Up to which record the bucket has the log, and whether there is more to copy. `alarm` names what is wrong."""

    size: int
    more: bool
    alarm: str = ""


class LookAtCopies(Model):
    """Look at the next hundred names in the bucket."""


class Looked(Model):
    """How many objects were looked at, and what was done to some."""

    objects: int
    faults: list[str]
    alarm: str = ""


class CopyReport(Model):
    """The bucket is lost or reached again, or an object in it is not what was put there."""

    state: Literal["unreachable", "reached", "other bytes", "missing", "deleted", "overwritten"]
    size: Index
    name: Annotated[str, Field(max_length=1024, description="Name of the object.")] = ""
