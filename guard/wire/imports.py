"""Wire models of keys that come from other systems and of exports.

Law: key material stands in two places, `material` of an import and `keyset` of an approved export; neither is shown
by `repr`, and neither is in a record. Ciphertexts are in the format of the system that the key came from.
"""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from guard.wire.model import MAX_INTEGER, FieldName, Identifier, Model, Name
from guard.wire.vault import _STRICT, MAX_ITEMS, Base64, CellContext, EncryptedItem, ItemProblem

MAX_MATERIAL = 16 << 20
Material = Annotated[
    str,
    Field(min_length=1, max_length=MAX_MATERIAL, repr=False, description="The keyset or backup, as it was exported."),
]
Form = Annotated[Literal["tink", "openbao"], Field(description="Where the key comes from; openbao is Vault too.")]
Kek = Annotated[
    Name | Literal[""], Field(description="An imported keyset under which this one is encrypted; empty: in clear.")
]
Ciphertext = Annotated[
    str, Field(max_length=1_400_000, description="Base64 of a Tink ciphertext, or vault:v1: and base64.")
]
Use = Annotated[
    Literal["values", "keysets"],
    Field(description="What the key serves: values of the other system, or keysets as their KEK; never both."),
]
Count = Annotated[int, Field(ge=0, le=1 << 32)]


class ImportKey(Model):
    """A key of another system under the name `key`. In clear it waits for a second person."""

    key: Name
    format: Form
    material: Material
    kek: Kek = ""
    use: Use = "values"
    sealed_before: Count = 0


class AskedKey(Model):
    """What was asked for: `state` is asked, live or removing."""

    key: str
    format: str
    request: str
    state: Literal["asked", "live", "removing"]
    asked_by: str
    approved_by: str | None


class ApproveRequest(Model):
    """Approve what another person asked for."""

    key: Name
    request: Identifier


class ImportedKeyName(Model):
    """An imported key by name."""

    key: Name


class ListImportedKeys(Model):
    """The imported keys of the tenant."""


class ImportedVersion(Model):
    """One key of a keyset, or one version of a Transit key; `sealed` counts messages where a limit holds."""

    id: int
    kind: str
    state: str
    sealed: int


class ImportedKeyView(AskedKey):
    """An imported key, what it serves and what it consists of."""

    use: Use
    versions: list[ImportedVersion]


class ImportedKeyList(Model):
    """Imported keys by name."""

    data: list[ImportedKeyView]


class ListKeyRequests(Model):
    """Imports, exports and removals that wait for a second person."""


class KeyRequestView(Model):
    """A request; an export that is approved waits for the one who asked."""

    key: str
    action: Literal["import", "export", "remove"]
    format: str
    kek: str
    request: str
    asked_by: str
    asked_us: Annotated[int, Field(ge=0, le=MAX_INTEGER)]
    approved_by: str | None


class KeyRequestList(Model):
    """Requests by key."""

    data: list[KeyRequestView]


class ExportKey(Model):
    """Ask for a key's export, or collect it when a second person has approved it."""

    key: Name
    format: Literal["tink"] = "tink"
    kek: Kek = ""


class ExportedKey(Model):
    """`state` is asked, approved or exported; only then `keyset` holds the keys, this once."""

    key: str
    format: str
    kek: str
    request: str
    state: Literal["asked", "approved", "exported"]
    keyset: Annotated[str | None, Field(repr=False)] = None


class SealItem(TypedDict):
    """A value to seal in the format of the key's own system."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    plaintext: Base64
    associated_data: NotRequired[Base64]


class OpenForeignItem(TypedDict):
    """A ciphertext of the key's own system; `derivation_context` is what Transit calls context."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    ciphertext: Ciphertext
    associated_data: NotRequired[Base64]
    derivation_context: NotRequired[Base64]


class ConvertItem(OpenForeignItem):
    """A ciphertext of the key's own system, and the cell of the field that its value goes to."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    field: FieldName
    context: CellContext


class SealedItem(TypedDict):
    """A ciphertext and the id of the key that sealed it, or the problem."""

    ciphertext: NotRequired[str]
    key_id: NotRequired[int]
    problem: NotRequired[ItemProblem]


class OpenedItem(TypedDict):
    """A value in base64, or the problem."""

    plaintext: NotRequired[str]
    problem: NotRequired[ItemProblem]


class EncryptForeign(Model):
    """Values to seal under an imported keyset, 1 to 1000; answered in order."""

    key: Name
    items: Annotated[list[SealItem], Field(min_length=1, max_length=MAX_ITEMS)]


class EncryptedForeign(Model):
    """Ciphertexts in the order of the request."""

    results: list[SealedItem]


class DecryptForeign(Model):
    """Ciphertexts to open under an imported key, 1 to 1000; answered in order."""

    key: Name
    items: Annotated[list[OpenForeignItem], Field(min_length=1, max_length=MAX_ITEMS)]


class DecryptedForeign(Model):
    """Values in the order of the request."""

    results: list[OpenedItem]


class Convert(Model):
    """Ciphertexts of an imported key whose values are sealed for fields, 1 to 1000; answered in order."""

    key: Name
    items: Annotated[list[ConvertItem], Field(min_length=1, max_length=MAX_ITEMS)]


class Converted(Model):
    """Values sealed in guard's own format, in the order of the request."""

    results: list[EncryptedItem]
