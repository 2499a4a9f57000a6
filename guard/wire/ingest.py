"""Wire models of write-only ingestion: public keys of fields, and values that were sealed under them."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.model import FieldName, Model
from guard.wire.vault import MAX_ITEMS, EncryptedItem, OpenItem


class ReadIngestKey(Model):
    """The field to seal values for."""

    field: FieldName


class IngestKeyView(Model):
    """What a service needs to seal values of one field that it cannot read back. None of it is secret.

    The context of a value names `tenant`, `table`, `column` and what `bind` lists, under the 16 bytes of `header`.
    """

    field: str
    tenant: str
    table: str
    column: str
    bind: list[str]
    kem: Literal["x25519", "mlkem768_x25519"]
    key_version: int
    header: Annotated[str, Field(description="16 bytes in hex: the header of an unpadded value.")]
    public_key: Annotated[str, Field(description="Standard base64: 32 bytes, or the 1184 of ML-KEM-768 and 32.")]
    pad_step: int


class Ingest(Model):
    """Values that were sealed under ingest keys, 1 to 1000; answered in order."""

    items: Annotated[list[OpenItem], Field(min_length=1, max_length=MAX_ITEMS)]


class Ingested(Model):
    """The values under their fields' own keys, to be stored in place of what came."""

    results: list[EncryptedItem]
