"""Wire models of vaulted tokens: issuing, revealing, revoking, and the second person's approval.

A token or a value stands in no path and no query: both come in bodies only.
"""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from guard.wire.model import MAX_INTEGER, FieldName, Identifier, Limit, Model
from guard.wire.vault import ItemProblem, Purpose

MAX_TOKENS = 200
"""A record names every token that it is about, some 40 bytes each, and holds at most 32 KiB."""
MAX_TTL_SECONDS = 315_360_000
Domain = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="What the token is for: a domain of the field's policy.")
]
Subject = Annotated[str, Field(min_length=1, max_length=200, description="The person whom the value is about.")]
Value = Annotated[str, Field(min_length=1, max_length=4096, description="The value, as text.")]
TokenText = Annotated[str, Field(min_length=2, max_length=256, description="A token, as issuing gave it.")]
State = Literal["live", "expired", "used", "revoked", "forgotten"]
_STRICT = ConfigDict(extra="forbid", strict=True)


class IssueItem(TypedDict):
    """One value that a token shall stand in for; a time to live only ever shortens what the domain declares."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    field: FieldName
    domain: Domain
    subject: Subject
    value: Value
    ttl_seconds: NotRequired[Annotated[int, Field(ge=1, le=MAX_TTL_SECONDS)]]
    single_use: NotRequired[bool]


class IssuedItem(TypedDict):
    """A token, or the problem."""

    token: NotRequired[str]
    expires_us: NotRequired[int | None]
    single_use: NotRequired[bool]
    problem: NotRequired[ItemProblem]


class IssueTokens(Model):
    """Values that tokens shall stand in for, 1 to 200; answered in order."""

    items: Annotated[list[IssueItem], Field(min_length=1, max_length=MAX_TOKENS)]


class IssuedTokens(Model):
    """Tokens in the order of the request."""

    results: list[IssuedItem]


class TokenItem(TypedDict):
    """One token of a field."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    field: FieldName
    token: TokenText


class RevealTokens(Model):
    """Tokens whose values are wanted for one purpose, 1 to 200; what is shown of each, the field's policy says."""

    purpose: Purpose
    items: Annotated[list[TokenItem], Field(min_length=1, max_length=MAX_TOKENS)]


class RevealedItem(TypedDict):
    """A value as the policy shows it to the caller's roles, or the problem; `request` is what waits for approval."""

    value: NotRequired[str]
    mask: NotRequired[str]
    problem: NotRequired[ItemProblem]
    request: NotRequired[str]


class RevealedTokens(Model):
    """Values in the order of the request."""

    results: list[RevealedItem]


class RevokeTokens(Model):
    """Tokens that shall give nothing any more, 1 to 200."""

    items: Annotated[list[TokenItem], Field(min_length=1, max_length=MAX_TOKENS)]


class RevokedItem(TypedDict):
    """How the token stands now, or the problem."""

    state: NotRequired[State]
    problem: NotRequired[ItemProblem]


class RevokedTokens(Model):
    """Answers in the order of the request."""

    results: list[RevokedItem]


class ListIssued(Model):
    """Tokens of one field, newest first; neither tokens nor values are shown."""

    field: FieldName | Literal[""] = ""
    limit: Limit = 50


class IssuedView(Model):
    """What is known of a token without opening it."""

    id: str
    field: str
    domain: str
    state: State
    single_use: bool
    issued_by: str
    issued_us: int
    expires_us: int | None
    reveals: int
    used_us: int | None


class IssuedList(Model):
    """Tokens, newest first."""

    data: list[IssuedView]


class ApproveReveal(Model):
    """Approve what somebody else asked to reveal; field and purpose are repeated, since they decide who may."""

    request: Identifier
    field: FieldName
    purpose: Purpose


class ListReveals(Model):
    """Reveals that wait for a second person."""

    limit: Limit = 50


class RevealRequest(Model):
    """A reveal that needs a second person: how many tokens, for what, by whom."""

    id: str
    field: str
    purpose: str
    tokens: Annotated[int, Field(le=MAX_INTEGER)]
    asked_by: str
    asked_us: int
    expires_us: int
    approved_by: str | None


class RevealRequests(Model):
    """Reveals that wait, newest first."""

    data: list[RevealRequest]


class SweepTokens(Model):
    """Take the values of tokens that are over out of the store."""


class SweptTokens(Model):
    """How many were."""

    tokens: int
