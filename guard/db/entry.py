"""What the commit pipeline writes into the log: a record, and the values that its body only commits to. No I/O."""

from dataclasses import dataclass
from dataclasses import field as member  # a record's own fields bear that name
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Personal:
    """A personal value of a record: nonce and canonical JSON, to be sealed for *subject* (empty: nobody is known)."""

    field: str
    tenant: str
    subject: str = member(repr=False)
    value: bytes = member(repr=False)


class Entry(NamedTuple):
    """One audit record: its canonical body, the columns it is found by, and values that its body only commits to."""

    body: bytes
    id: str
    tenant: str
    time_us: int
    phase: str
    intent: str | None
    actor: str
    action: str
    resource: str
    allowed: bool
    status: str
    code: str | None
    personal: tuple[Personal, ...] = ()
