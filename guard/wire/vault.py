"""Wire models of the vault room: fields, blind indexes, keys, re-encryption and census.

The items of batches are typed dictionaries: a batch of 400 is read and answered without a model object per item.
"""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from guard.wire.model import MAX_INTEGER, FieldName, Identifier, Model, Name

MAX_ITEMS = 1000
Base64 = Annotated[str, Field(max_length=1_400_000, description="Standard base64, padded; at most 1 MiB decoded.")]
Sealed = Annotated[
    str,
    Field(
        max_length=1_400_000, description="A sealed value: gd1. and unpadded base64url, or one that keeps its format."
    ),
]
Purpose = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="A purpose that the field's policy names.")
]
ContextValue = str | int | dict[str, str]
CellContext = Annotated[
    dict[str, ContextValue],
    Field(max_length=2, description='What the field is bound to: {"row": "17"} or {"subject": "u-17"}.'),
]
_STRICT = ConfigDict(extra="forbid", strict=True)


class EncryptItem(TypedDict):
    """One value to seal."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    field: FieldName
    context: CellContext
    plaintext: Base64


class OpenItem(TypedDict):
    """One sealed value to open."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    field: FieldName
    context: CellContext
    ciphertext: Sealed
    key_version: NotRequired[
        Annotated[int, Field(ge=1, le=MAX_INTEGER, description="Of a value that keeps its format.")]
    ]


class ItemProblem(TypedDict):
    """Why one item of a batch failed."""

    code: str
    title: str
    detail: str


class RowTokens(TypedDict):
    """What a row carries in one index: all tokens, with their version; in a unique one under each live version."""

    index: str
    kind: str
    version: int
    tokens: list[str]


class EncryptedItem(TypedDict):
    """A sealed value and the key version that sealed it, or the problem; *indexes* where they were asked for."""

    ciphertext: NotRequired[str]
    key_version: NotRequired[int]
    indexes: NotRequired[list[RowTokens]]
    missing: NotRequired[list[str]]
    problem: NotRequired[ItemProblem]


class DecryptedItem(TypedDict):
    """A value in base64, or the problem."""

    plaintext: NotRequired[str]
    problem: NotRequired[ItemProblem]


class MaskedItem(TypedDict):
    """A value as the field's policy shows it, or the problem."""

    masked: NotRequired[str]
    problem: NotRequired[ItemProblem]


class Encrypt(Model):
    """Values to seal, 1 to 1000; answered in order, with *indexes* together with their index tokens."""

    items: Annotated[list[EncryptItem], Field(min_length=1, max_length=MAX_ITEMS)]
    indexes: bool = False


class Encrypted(Model):
    """Sealed values in the order of the request."""

    results: list[EncryptedItem]


class Decrypt(Model):
    """Sealed values to open for one purpose, 1 to 1000; answered in order."""

    purpose: Purpose
    items: Annotated[list[OpenItem], Field(min_length=1, max_length=MAX_ITEMS)]


class Decrypted(Model):
    """Values in the order of the request."""

    results: list[DecryptedItem]


class Mask(Decrypt):
    """Sealed values to show masked, 1 to 1000; answered in order."""


class Masked(Model):
    """Masked values in the order of the request."""

    results: list[MaskedItem]


class IndexItem(TypedDict):
    """A value to search for, or to store the tokens of."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    field: FieldName
    index: Name
    value: Annotated[str, Field(max_length=4096)]


class IndexToken(TypedDict):
    """A blind-index token in hex under one version of the index key."""

    version: int
    token: str


class IndexedItem(TypedDict):
    """Tokens, the newest version first, or the problem."""

    tokens: NotRequired[list[IndexToken]]
    problem: NotRequired[ItemProblem]


class ComputeIndexes(Model):
    """Values whose blind-index tokens are wanted, for one purpose."""

    purpose: Purpose
    items: Annotated[list[IndexItem], Field(min_length=1, max_length=MAX_ITEMS)]


class ComputedIndexes(Model):
    """Tokens in the order of the request."""

    results: list[IndexedItem]


class Reencrypt(Model):
    """Sealed values to seal anew under the newest key version, 1 to 1000; answered in order."""

    items: Annotated[list[OpenItem], Field(min_length=1, max_length=MAX_ITEMS)]


class ListFields(Model):
    """The field policies."""


class FieldView(Model):
    """How one field is handled."""

    name: str
    data_class: str
    key: str
    suite: str
    bind: list[str]
    mask: str
    purposes: list[str]
    indexes: list[str]


class FieldList(Model):
    """Field policies by name."""

    data: list[FieldView]


class KeyName(Model):
    """A key by name."""

    key: Name


class VersionView(Model):
    """One version of a key; `key_id` is the id that ciphertext headers carry."""

    version: int
    key_id: str
    state: str
    suite: str
    compromised: bool
    created_us: int
    changed_us: int
    sealed: int = 0
    opened_us: int | None = None
    asked_by: str | None = None
    approved_by: str | None = None
    destroy_us: int | None = None


class KeyView(Model):
    """A key and its versions, newest first."""

    key: str
    versions: list[VersionView]


class ListKeys(Model):
    """All keys of the tenant."""


class KeyList(Model):
    """Keys by name."""

    data: list[KeyView]


class VersionList(Model):
    """Versions of one key, newest first."""

    data: list[VersionView]


class CreateKey(Model):
    """A key of a new name; *suite* is what it seals with, unless the field policy declares another."""

    key: Name
    suite: Literal["cbl256", "xaes", "siv"] = "cbl256"


class RotateKey(Model):
    """A new version of a key; without *activate* it waits for its activation."""

    key: Name
    activate: bool = True


class KeyVersion(Model):
    """One version of a key."""

    key: Name
    version: Annotated[int, Field(ge=1, le=MAX_INTEGER)]


class DestroyVersion(KeyVersion):
    """The retired version to destroy, and the days within which that can be taken back after its approval."""

    days: Annotated[int, Field(ge=7, le=30)] = 30


class StoreUses(Model):
    """Store what was counted of the uses of key versions."""


class OpenCompromised(Model):
    """Values under a compromised version of this key are about to be opened."""

    key: Name


class Done(Model):
    """It was done."""


class CreateKeyring(Model):
    """Keys for every field of the field policy that has none yet, in the caller's tenant."""


class KeyringView(Model):
    """What was made."""

    keys: int
    index_keys: int


class CreateReencryption(Model):
    """Re-encrypt one field of a configured source under the newest key version.

    A *dry_run* opens and seals every value and changes none. Jobs of one table run one after the other, those of a
    higher *priority* first. With *in_clear*, values that stand in clear are sealed as well; what is sealed begins with
    `gd1.`, and readers tell the two apart by that as long as the job runs.
    """

    source: Name
    field: FieldName
    rows_per_second: Annotated[int, Field(ge=0, le=1_000_000, description="0: as fast as it goes.")] = 0
    dry_run: bool = False
    in_clear: bool = False
    priority: Annotated[int, Field(ge=0, le=9)] = 0


class ReencryptionId(Model):
    """A re-encryption job."""

    job: Identifier


class StepReencryption(Model):
    """Do the next batches of a job, each in a transaction of its own."""

    job: Identifier
    rows: Annotated[int, Field(ge=1, le=5000)] = 500
    batches: Annotated[int, Field(ge=1, le=64)] = 1


class ReencryptionView(Model):
    """A job. Counts are rows; those examined, skipped and failed are of the last pass, those changed of all."""

    job: str
    source: str
    field: str
    state: Literal["planned", "running", "paused", "verifying", "done", "failed", "cancelled"]
    examined: int
    changed: int
    skipped: int
    failed: int
    total: int
    priority: int
    rows_per_second: int
    dry_run: bool
    in_clear: bool = False
    passes: int
    detail: str
    created_by: str
    created_us: int
    changed_us: int


class ListReencryptions(Model):
    """Jobs of the tenant."""


class ReencryptionList(Model):
    """Jobs, newest first."""

    data: list[ReencryptionView]


class RunCensus(Model):
    """Count sealed values by key version in the tenant's sources."""

    field: FieldName | Literal[""] = ""
    unowned: bool = False


class CensusRow(Model):
    """How many values of a column one key version holds; version 0 counts values that are not sealed."""

    source: str
    table: str
    column: str
    field: str
    key_id: str
    version: int
    state: str
    count: int


class Census(Model):
    """The census over all registered columns."""

    data: list[CensusRow]
    unowned: list[CensusRow] = Field(default_factory=list)
