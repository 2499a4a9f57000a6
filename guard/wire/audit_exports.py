"""Wire models of exports: what is asked for, where a job stands, and its files."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.audit import Index
from guard.wire.model import MAX_INTEGER, AnyTenant, Identifier, Model

Format = Literal["tiles", "jsonl", "csv", "parquet", "ocsf", "cef", "rfc5424"]
State = Literal["frozen", "running", "ready", "failed", "cancelled"]
MicroSeconds = Annotated[int, Field(ge=0, le=MAX_INTEGER, description="Microseconds UTC.")]


class ExportFilter(Model):
    """Which records; all conditions hold together. A trailing `*` in `action` and `resource` stands for any rest.

    `from_us` and `first` are inclusive, `to_us` and `last` exclusive. A tenant's own auditor sees that tenant only.
    """

    tenant: AnyTenant | None = None
    actor: Annotated[str, Field(min_length=1, max_length=160)] | None = None
    action: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    resource: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    outcome: Literal["ok", "refused", "unknown"] | None = None
    from_us: MicroSeconds | None = None
    to_us: MicroSeconds | None = None
    first: Index | None = None
    last: Index | None = None


class CreateExport(Model):
    """Export the log up to the latest checkpoint.

    `tiles` is the whole log in the layout of c2sp.org/tlog-tiles, for the platform's auditors; the other formats take a
    filter and come with the leaf hashes of all records, so that the signed root can be made again. `prove` names
    records whose inclusion proofs are put beside it as files. `purpose` stands in the signed manifest.
    """

    format: Format = "tiles"
    filter: ExportFilter = ExportFilter()
    prove: list[Index] = Field(default_factory=list, max_length=1000)
    purpose: Annotated[str, Field(max_length=500, description="Why; stands in the manifest.")] = ""


class ExportView(Model):
    """Where an export stands; `root` is the root hash in base64, `manifest` the SHA-256 of `manifest.json`.

    `sha256` is that of the whole archive, which there is where the log was small enough to be exported at once. `done`
    of `parts` are written; `detail` says why it failed.
    """

    id: str
    format: Format
    filter: ExportFilter
    purpose: str
    state: State
    size: int
    root: str
    parts: int
    done: int
    matched: int
    detail: str
    manifest: str | None
    sha256: str | None
    created_by: str
    created_us: int
    changed_us: int


class ListExports(Model):
    """Exports of the caller's tenant."""


class ExportList(Model):
    """Exports, newest first."""

    data: list[ExportView]


class ExportId(Model):
    """One export."""

    export: Identifier


class StepExport(Model):
    """The export whose next part is due."""

    export: Identifier


class ExportPart(Model):
    """One part of an export, from 0."""

    export: Identifier
    n: Annotated[int, Field(ge=0, le=MAX_INTEGER, description="Number of the part, from 0.")]


class ExportManifest(Model):
    """The exact text of `manifest.json`, and the note that signs its SHA-256 with the log's key."""

    manifest: str
    note: str
