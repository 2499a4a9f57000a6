"""Wire models of planted values."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.model import FieldName, Identifier, Limit, Model
from guard.wire.tokens import Domain, Subject, Value
from guard.wire.vault import CellContext


class PlantToken(Model):
    """A token for a made-up value of a made-up person, to be left where only a thief reads it."""

    field: FieldName
    domain: Domain
    subject: Subject
    value: Value


class PlantRow(Model):
    """A row of an application's table that stands for nobody: a field of it, and what that field is bound to."""

    field: FieldName
    context: Annotated[CellContext, Field(min_length=1)]


class HoneyView(Model):
    """Something planted; which token or row it is, is shown to nobody again."""

    id: str
    kind: Literal["token", "row"]
    field: str
    planted_by: str
    planted_us: int


class PlantedToken(HoneyView):
    """What was planted, with the token to leave somewhere."""

    token: str


class ListHoney(Model):
    """What stands planted."""

    limit: Limit = 50


class HoneyList(Model):
    """What stands planted, newest first."""

    data: list[HoneyView]


class HoneyId(Model):
    """Something planted."""

    honey: Identifier
