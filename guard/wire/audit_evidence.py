"""Wire models of evidence bundles."""

from typing import Annotated

from pydantic import Field

from guard.wire.audit import Index, RecordFilter
from guard.wire.model import AnyTenant, Identifier, Model

MAX_RECORDS = 1000

Matter = Annotated[Identifier, Field(description="The case that the bundle is for; its id, no prose.")]


class CreateEvidence(Model):
    """Put records of a tenant, with their proofs, into a bundle: those of `indexes`, and those that `search` finds."""

    matter: Matter
    tenant: AnyTenant = "~"
    indexes: Annotated[list[Index], Field(max_length=MAX_RECORDS)] = Field(default_factory=list)
    search: RecordFilter | None = None
    open: Annotated[bool, Field(description="Open the records' sealed values too; needs records.reveal.")] = False


class EvidenceView(Model):
    """A finished bundle; `root` is the root hash in base64, `custody` the records about the matter itself."""

    id: str
    matter: str
    tenant: str
    size: int
    root: str
    records: int
    custody: int
    sha256: str
    created_by: str
    created_us: int


class DownloadEvidence(Model):
    """The bundle to download, as a zip archive."""

    matter: Matter
    evidence: Identifier
    tenant: AnyTenant = "~"
