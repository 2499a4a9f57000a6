"""Wire models of rewrapping: a tenant's keys under another KEK."""

from typing import Annotated

from pydantic import Field

from guard.wire.model import Model


class RewrapKeys(Model):
    """Put the next keys of the caller's tenant under its newest KEK; *fresh* makes a new KEK first."""

    fresh: bool = False
    rows: Annotated[int, Field(ge=1, le=5000)] = 1000


class RewrapCount(Model):
    """How many wraps of one kind are under one version of the KEK."""

    what: str
    kek_version: int
    count: int


class RewrapView(Model):
    """What was moved now, and what is left to move; `ended` are the KEKs under which nothing was left.

    Retired bucket keys are not moved: they go with the backups that need them, and their KEK after them.
    """

    kek_version: int
    moved: int
    left: int
    ended: list[int]
    counts: list[RewrapCount]
