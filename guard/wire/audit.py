"""Wire models of the audit room: records, proofs and checkpoints."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.model import MAX_INTEGER, AnyTenant, Limit, Model

Index = Annotated[int, Field(ge=0, le=MAX_INTEGER, description="Position of a record in the log, from 0.")]


class RecordFilter(Model):
    """Which records to look for; what is empty or null is any.

    `resource` may end in `*`: whatever begins so. `from_us` is the first microsecond, `to_us` the first one after.
    """

    # What is looked for stands in the record of the search in clear, so it is the name of an operation or nothing.
    action: Annotated[str, Field(max_length=128, pattern=r"^([a-z_]+\.[a-z_]+)?$")] = ""
    actor: Annotated[str, Field(max_length=160)] = ""
    resource: Annotated[str, Field(max_length=512)] = ""
    outcome: Literal["", "ok", "refused", "unknown"] = ""
    allowed: bool | None = None
    from_us: Index | None = None
    to_us: Index | None = None


class ListRecords(RecordFilter):
    """Records of a tenant, newest first; `before` is the cursor of the page before.

    With `proof` each hit comes with its exact entry and its inclusion proof, at most 100 a page.
    """

    tenant: AnyTenant = "~"
    before: Index | None = None
    limit: Limit = 50
    proof: bool = False


class RecordEvidence(Model):
    """A hit's exact entry, and its proof under the latest checkpoint; null where that does not cover it yet."""

    entry: str
    proof: str | None


class RecordView(Model):
    """What the search index knows of a record; the record itself comes with its proof."""

    index: int
    id: str
    n: int
    time_us: int
    phase: str
    actor: str
    action: str
    resource: str
    allowed: bool
    status: str
    code: str | None
    evidence: RecordEvidence | None = None


class RecordList(Model):
    """A page of records; `next` is the `before` of the next page, null at the end."""

    data: list[RecordView]
    next: int | None


class ProveRecord(Model):
    """The record to prove."""

    index: Index
    tenant: AnyTenant = "~"


class RecordProof(Model):
    """The exact entry and its inclusion proof in the form c2sp.org/tlog-proof@v1, checkpoint included."""

    index: int
    entry: str
    proof: str


class ReadCheckpoint(Model):
    """The latest checkpoint, or with `witnessed` the latest that enough witnesses cosigned."""

    witnessed: bool = False


class PublishCheckpoint(Model):
    """Sign a checkpoint over everything committed so far."""


class RereadLog(Model):
    """Read the new part of the log back from storage."""


class RereadSize(Model):
    """How many records have been read back."""

    size: int


class CheckpointView(Model):
    """A signed checkpoint (c2sp.org/tlog-checkpoint) and the key that verifies it."""

    size: int
    root: str
    time_us: int
    note: str
    vkey: str


class ProveConsistency(Model):
    """Two published sizes."""

    first: Index
    second: Index


class ConsistencyProof(Model):
    """Base64 hashes that prove the first tree a prefix of the second."""

    first: int
    second: int
    hashes: list[str]


class VerifyReceipt(Model):
    """The value of a `Guard-Audit-Receipt` header."""

    receipt: Annotated[str, Field(min_length=1, max_length=1024)]


class VerifiedReceipt(Model):
    """The promised record is in the log: its index, its leaf hash in base64, and the key that signed the receipt.

    `proof` has the form c2sp.org/tlog-proof@v1; it is null until a checkpoint covers the record, about a second later.
    """

    id: str
    index: int
    leaf: str
    promise_by_us: int
    vkey: str
    proof: str | None


class SweepIntents(Model):
    """Close intents whose process ended before their outcome."""


class SweptIntents(Model):
    """How many intents became `unknown`."""

    unknown: int


class StartService(Model):
    """A process begins to serve; `fresh` says that it made the store."""

    version: str
    fresh: bool
