"""Wire models of leases: data keys with which a client seals and opens by itself, for a while."""

from typing import Annotated

from pydantic import Field

from guard.wire.model import FieldName, Identifier, Limit, Model
from guard.wire.vault import MAX_ITEMS, EncryptItem, Purpose

Fields = Annotated[list[FieldName], Field(min_length=1, max_length=16, description="1 to 16 fields.")]
Uses = Annotated[int, Field(ge=0, le=1 << 20)]
LeaseId = Annotated[str, Field(pattern=r"^lse_[0-9a-f-]{36}$", description="The id of a lease.")]


class CreateLease(Model):
    """A fresh key for fields, or, with `start`, the key of a value that was sealed under a lease before.

    `purpose` is store, to seal, or one that the fields' policies name, to open. A fresh key always needs the right to
    store: whoever holds one can seal with it. `start` is the first 136 bytes of the value and takes one field.
    """

    fields: Fields
    purpose: Purpose
    ttl_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    max_uses: Annotated[int, Field(ge=1, le=1 << 20)] = 10_000
    subject: Annotated[str, Field(max_length=200, description="For fields that are keyed by person: whom.")] = ""
    start: Annotated[str, Field(pattern=r"^([A-Za-z0-9+/=]{184})?$", description="Standard base64 of 136 bytes.")] = ""


class LeasedField(Model):
    """How values of one field are sealed under the key; `start` is what an unpadded one begins with, in base64."""

    field: str
    table: str
    column: str
    bind: list[str]
    pad_step: int
    start: str


class LeaseGiven(Model):
    """A lease and its key, in base64; the key is given this once and is stored nowhere."""

    lease_id: str
    tenant: str
    key: Annotated[str, Field(repr=False, description="32 bytes in standard base64.")]
    purpose: str
    opens: bool
    ttl_seconds: int
    max_uses: int
    fields: list[LeasedField]


class RenewLease(Model):
    """Report uses, and ask for another time; `ttl_seconds` 0 gives the lease back.

    `fields`, `purpose` and `opens` are those of the lease: the right to them is asked for again.
    """

    lease: LeaseId
    fields: Fields
    purpose: Purpose
    opens: bool = False
    used: Uses
    ttl_seconds: Annotated[int, Field(ge=0, le=3600)] = 300


class LeaseState(Model):
    """How long the lease lasts from now on; 0 where its uses are over or it was given back."""

    lease_id: str
    ttl_seconds: int
    used: int
    max_uses: int


class RevokeLeases(Model):
    """One lease, or all of a field."""

    lease: Annotated[str, Field(pattern=r"^(lse_[0-9a-f-]{36})?$")] = ""
    field: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62})?$")] = ""


class Revoked(Model):
    """How many leases ended. `until_us`: a client that is offline may use its key until then, and no longer."""

    revoked: int
    until_us: int | None


class ListLeases(Model):
    """Leases whose time is not over, newest first."""

    limit: Limit = 100


class LeaseView(Model):
    """A lease, without its key."""

    lease_id: str
    holder: Identifier
    fields: list[str]
    purpose: str
    opens: bool
    state: str
    created_us: int
    expires_us: int
    used: int
    max_uses: int


class LeaseList(Model):
    """Leases."""

    data: list[LeaseView]


class EncryptForLease(Model):
    """Values for the holder of a lease, 1 to 1000; answered in order."""

    lease: LeaseId
    items: Annotated[list[EncryptItem], Field(min_length=1, max_length=MAX_ITEMS)]
