"""Wire models of custody: the slots that hold the seal secret, and the seal itself.

Law: `secrets` (a passphrase, shares) are in requests only and in no record; shares of a new slot in one answer only.
"""

from typing import Annotated

from pydantic import Field

from guard.wire.model import MAX_INTEGER, Model, Name

Options = Annotated[
    dict[Name, Annotated[str, Field(max_length=1024)]],
    Field(max_length=12, description="Where the key of the slot is; never a secret."),
]
Secrets = Annotated[
    dict[Name, Annotated[str, Field(max_length=16_384)]],
    Field(max_length=2, description="What people hold: passphrase, or shares on lines of their own."),
]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class ReadCustody(Model):
    """Show the slots."""


class AddSlot(Model):
    """Ask for a slot of the kind `plugin` beside those there are."""

    plugin: Name
    options: Options = Field(default_factory=dict)
    secrets: Secrets = Field(default_factory=dict)


class MoveSlot(Model):
    """Ask for a slot of the kind `plugin` in place of `slot`."""

    slot: Name
    plugin: Name
    options: Options = Field(default_factory=dict)
    secrets: Secrets = Field(default_factory=dict)


class AskedSlot(Model):
    """A slot that waits for a second person. `shares` are shown this once: give each to its holder."""

    slot: str
    plugin: str
    replaces: str | None
    shares: list[str]


class ApproveSlot(Model):
    """Approve the slot that another person asked for."""

    slot: Name


class RemoveSlot(Model):
    """Remove a slot, or withdraw one that waits."""

    slot: Name


class SealService(Model):
    """Seal the service."""


class UnsealService(Model):
    """Open the seal. Without secrets the slots that open by themselves are tried."""

    slot: Name | Annotated[str, Field(max_length=0)] = ""
    secrets: Secrets = Field(default_factory=dict)


class UnsealView(Model):
    """The state, and how many shares of a slot have come."""

    state: str
    slot: str
    have: int
    need: int


class OpenCustody(Model):
    """Record which slot opened the seal, and how often something wrong was given before."""

    slot: Name
    plugin: Name
    failures: Count


class SlotView(Model):
    """A slot. `need` says how many shares or passphrases open it; 0 means that it opens by itself."""

    slot: str
    plugin: str
    automatic: bool
    need: int
    have: int
    options: dict[str, str]
    created_us: int


class RequestView(Model):
    """A slot that waits for a second person."""

    slot: str
    plugin: str
    replaces: str | None
    asked_by: str
    asked_us: int


class CustodyView(Model):
    """The state of the seal, its slots, and what it waits for."""

    state: str
    slots: list[SlotView]
    requests: list[RequestView]
    waiting: list[str]
    failures: int
