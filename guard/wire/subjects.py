"""Wire models of persons: what is held on one, forgetting one, and the receipts of that."""

from typing import Annotated

from pydantic import Field

from guard.wire.audit_privacy import Subject
from guard.wire.model import AnyTenant, Identifier, Limit, Model, Nothing, Text


class ForgetSubject(Model):
    """Make what is sealed under a person's key unreadable, at once; for good after the days of grace.

    `at_once` ends the grace: it takes a second person, after somebody else asked.
    """

    subject: Subject
    tenant: AnyTenant = "~"
    at_once: bool = False
    reason: Text = ""


class RestoreSubject(Model):
    """Take a request to forget back, while its key is only revoked."""

    subject: Subject
    tenant: AnyTenant = "~"
    reason: Text = ""


class StepForget(Model):
    """The request to carry on."""

    forget: Identifier


class ForgetView(Model):
    """A request to forget: `stage` is revoked, restored, destroyed or unrecoverable.

    `subject` is the pseudonym, the random id of the person's key. `unrecoverable_us` is the day from which no backup
    can hold what opens it, if backups are deleted as the settings say.
    """

    id: str
    tenant: str
    subject: str
    stage: str
    requested_by: str
    requested_us: int
    approved_by: str | None
    due_us: int | None
    destroyed_us: int | None
    bucket: int
    bucket_version: int | None
    seq: int | None
    entry_hash: str | None
    rotated_us: int | None
    unrecoverable_us: int | None


class ListReceipts(Model):
    """Requests to forget, newest first, each as a signed receipt."""

    tenant: AnyTenant = "~"
    limit: Limit = 50


class ForgetReceipt(ForgetView):
    """A request and its receipt, a signed note by the log's key."""

    receipt: str


class ReceiptList(Model):
    """Receipts, newest first."""

    data: list[ForgetReceipt]


class RotateBucket(Model):
    """The bucket whose key is to be rotated, or to go on being; so many rows are moved at most."""

    bucket: Annotated[int, Field(ge=0, le=4095)]
    rows: Annotated[int, Field(ge=1, le=5000)] = 500


class RotatedBucket(Model):
    """What was done: version that wraps now, rows moved, and versions retired and destroyed."""

    bucket: int
    version: int
    moved: int
    retired: int
    destroyed: int


class TellReplay(Nothing):
    """Record what the start applied of the ledger."""


class Replayed(Model):
    """How many keys went."""

    keys: int


class ScrubStores(Nothing):
    """Empty the write-ahead logs and search the files."""


class ScrubbedStores(Model):
    """How many things were looked for in the files, and how often one is left."""

    marks: int
    remains: int


class AskSubject(Model):
    """The person asked about, and why."""

    subject: Subject
    tenant: AnyTenant = "~"
    reason: Text = ""


class ExportSubject(AskSubject):
    """The person whose values are opened; the next page begins after `cursor`."""

    limit: Annotated[int, Field(ge=1, le=5000)] = 1000
    cursor: Annotated[str, Field(max_length=500)] = ""


class HeldColumn(Model):
    """How many values of a column are sealed under the person's key."""

    source: str
    table: str
    column: str
    field: str
    data_class: str
    purposes: list[str]
    count: int


class SubjectReport(Model):
    """What is held on a person: live, held, revoked, or none where there is no key.

    `unattributed` names sealed columns whose values belong to rows, not persons.
    """

    state: str
    since_us: int | None
    hold: str | None
    data: list[HeldColumn]
    unattributed: list[str]


class HeldValue(Model):
    """A value of the person, in clear (base64), or why it does not open."""

    source: str
    table: str
    column: str
    field: str
    row: str
    plaintext: str | None = None
    problem: str | None = None


class SubjectExport(Model):
    """The person's values; where `cursor` is not empty there are more."""

    data: list[HeldValue]
    cursor: str
