"""What the catalogue lists of values in the formats of other systems: opened, sealed, and moved into guard's own.

Law: one bad item never spoils its neighbours; what does not open has one answer. Who moves values into fields needs no
right to read them and gets none in clear. A message under AES-GCM is counted in the transaction that its answer waits
for; at 2^31 the keyset gets a new primary key by itself, and at 2^32 nothing is sealed any more.
"""

from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import Any

from guard.catalogue import Context, Effect, operation
from guard.errors import GuardError, InvalidRequest
from guard.vault import batches
from guard.vault.gcm96 import ROTATE_AT, Block
from guard.vault.imported import Imported, Use
from guard.vault.imported_keys import approved, replaced, reserve, serving
from guard.vault.imported_store import ImportedRow
from guard.vault.tink import Kind
from guard.wire import imports as wire

NOT_BASE64 = "Expected standard padded base64, got another form; encode it again."
_SEALED = "ARN4c2lnbmVk"


@operation(
    "imported_keys.decrypt",
    "POST /api/v1/imported_keys/{key}/decrypt",
    takes=wire.DecryptForeign,
    gives=wire.DecryptedForeign,
    effect=Effect.READ,
    resource="imported_keys/{key}",
    audit=("key",),
    example={"items": [{"ciphertext": _SEALED}]},
)
def decrypt_foreign(ctx: Context, request: wire.DecryptForeign) -> wire.DecryptedForeign:
    """Open ciphertexts of another system in clear, under a key that was imported from it."""
    imported = serving(ctx, approved(ctx, request.key), Use.VALUES)
    results = [_answered(lambda one: {"plaintext": _plain(imported, one)}, item) for item in request.items]
    ctx.note(**batches.summary(results))
    return wire.DecryptedForeign.model_validate({"results": results})


@operation(
    "imported_keys.encrypt",
    "POST /api/v1/imported_keys/{key}/encrypt",
    takes=wire.EncryptForeign,
    gives=wire.EncryptedForeign,
    effect=Effect.WRITE,
    resource="imported_keys/{key}",
    audit=("key",),
    example={"items": [{"plaintext": "YW5hQGV4YW1wbGUub3Jn", "associated_data": "cm93IDE3"}]},
)
def encrypt_foreign(ctx: Context, request: wire.EncryptForeign) -> wire.EncryptedForeign:
    """Seal values so that Tink opens them, under a keyset that was imported from it."""
    row = approved(ctx, request.key)
    imported = serving(ctx, row, Use.VALUES)
    key = imported.keyset.primary
    blocks: list[Block] = []  # only AES-GCM takes numbers; one block has one for each item
    if key.kind is Kind.AES256_GCM:
        blocks.append(reserve(ctx, key, len(request.items)))
        if blocks[0].end >= ROTATE_AT:
            _rotate(ctx, row, imported)
    seal = imported.sealer(blocks.pop, ctx.random)

    def sealed(item: Mapping[str, Any]) -> dict[str, Any]:
        body = seal(_bytes(item.get("associated_data", "")), _bytes(item["plaintext"]))
        return {"ciphertext": batches.encoded(body), "key_id": key.key_id}

    results = [_answered(sealed, item) for item in request.items]
    ctx.note(**batches.summary(results), version=key.key_id)
    return wire.EncryptedForeign.model_validate({"results": results})


@operation(
    "imported_keys.convert",
    "POST /api/v1/imported_keys/{key}/convert",
    takes=wire.Convert,
    gives=wire.Converted,
    effect=Effect.READ,
    resource="imported_keys/{key}",
    audit=("key",),
    example={"items": [{"ciphertext": _SEALED, "field": "customers.email", "context": {"row": "17"}}]},
)
def convert(ctx: Context, request: wire.Convert) -> wire.Converted:
    """Seal for fields what is sealed under an imported key, without a value in clear on the way."""
    imported = serving(ctx, approved(ctx, request.key), Use.VALUES)

    def ready_item(item: Mapping[str, Any]) -> dict[str, Any]:
        return {"field": item["field"], "context": item["context"], "plaintext": _plain(imported, item)}

    results = [_answered(ready_item, item) for item in request.items]
    ready = [place for place, result in enumerate(results) if "problem" not in result]
    if ready:
        # Through the gate: the right to store in each field is asked for there, and recorded.
        sealed = ctx.call("fields.encrypt", {"items": [results[place] for place in ready]})["results"]
        for place, answer in zip(ready, sealed, strict=True):
            results[place] = answer
    ctx.note(**batches.summary(results))
    return wire.Converted.model_validate({"results": results})


def _rotate(ctx: Context, row: ImportedRow, imported: Imported) -> None:
    rotated = imported.rotated(ctx.random)
    replaced(ctx, row, rotated)
    ctx.note(rotated_to=rotated.keyset.primary.key_id)


def _plain(imported: Imported, item: Mapping[str, Any]) -> str:
    associated, derivation = _bytes(item.get("associated_data", "")), _bytes(item.get("derivation_context", ""))
    return batches.encoded(imported.open(item["ciphertext"], associated, derivation))


def _bytes(text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error, and text that is not ASCII
        raise InvalidRequest(NOT_BASE64) from None


def _answered(act: Callable[[Mapping[str, Any]], dict[str, Any]], item: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return act(item)
    except GuardError as error:
        return {"problem": batches.problem(error)}
