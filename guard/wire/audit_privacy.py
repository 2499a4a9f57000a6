"""Wire models of personal values in the log: opening them, erasing a person, legal holds."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.audit import Index
from guard.wire.model import AnyTenant, Identifier, Limit, Model, Text

Subject = Annotated[str, Field(min_length=1, max_length=200, description="The id of a person, as operations name it.")]


class RevealRecord(Model):
    """The record whose sealed values are to be opened, and why."""

    index: Index
    tenant: AnyTenant = "~"
    reason: Text = ""


class Opening(Model):
    """A value with the nonce (base64url) that its commitment in the record is made with.

    `SHA-256(0x02 || nonce || JCS(value))` in base64url is what stands in the record under `sealed`.
    """

    field: str
    nonce: str
    value: str | int | bool


class RevealedRecord(Model):
    """The openings of one record; `subject` is the pseudonym of whom they are about."""

    index: int
    id: str
    subject: str
    openings: list[Opening]


class RequestErasure(Model):
    """Erase what the log holds about a subject; a second person has to approve."""

    subject: Subject
    tenant: AnyTenant = "~"
    reason: Text = ""


class ApproveErasure(Model):
    """The erasure to carry out."""

    erasure: Identifier
    tenant: AnyTenant = "~"


class ListErasures(Model):
    """Erasures of a tenant, newest first."""

    tenant: AnyTenant = "~"
    limit: Limit = 50


class StepErasure(Model):
    """The erasure to carry on."""

    erasure: Identifier


class ErasureView(Model):
    """An erasure: requested, executing or done. From its approval on `subject` is a pseudonym.

    `rows` counts the sealed values that were deleted.
    """

    id: str
    tenant: str
    subject: str
    state: str
    requested_by: str
    requested_us: int
    approved_by: str | None
    changed_us: int
    rows: int


class ErasureList(Model):
    """Erasures, newest first."""

    data: list[ErasureView]


class ExpireSealed(Model):
    """Delete sealed values whose time has come."""


class ExpiredSealed(Model):
    """How many values were deleted, and how many keys destroyed because nothing is left under them."""

    rows: int
    keys: int


Scope = Literal["tenant", "subject", "actor", "log", "matter"]


class PlaceHold(Model):
    """Forbid deletion: of a whole tenant, of a subject, of what an actor did, of a matter, or in the whole log.

    `subject` is given with the scope subject; `target` with actor (who acted) and matter (the id of an incident or of
    another resource). `matter` is the reference of the case.
    """

    scope: Scope
    matter: Identifier
    tenant: AnyTenant = "~"
    target: Annotated[str, Field(max_length=160)] = ""
    subject: Annotated[str, Field(max_length=200)] = ""
    reason: Text = ""


class ReleaseHold(Model):
    """Ask for the release of a hold or, as a second person, approve it."""

    hold: Identifier
    tenant: AnyTenant = "~"
    reason: Text = ""


class ListHolds(Model):
    """Holds of a tenant, newest first."""

    tenant: AnyTenant = "~"
    limit: Limit = 50


class HoldView(Model):
    """A hold: active, releasing (one person asked) or released. The target of a subject is its pseudonym."""

    id: str
    tenant: str
    scope: str
    target: str
    matter: str
    state: str
    placed_by: str
    placed_us: int
    release_asked_by: str | None
    released_by: str | None
    released_us: int | None


class HoldList(Model):
    """Holds, newest first."""

    data: list[HoldView]
