"""What the catalogue lists of fields beyond sealing and opening one: sealing anew, item by item.

Law: who seals anew sees no value.
"""

from typing import Any

from guard.catalogue import Context, Effect, operation
from guard.vault import batches, renewing
from guard.vault.vault import Vault
from guard.wire import vault as wire

_SEALED = {"items": [{"field": "customers.email", "context": {"row": "17"}, "ciphertext": "gd1.RwEB"}]}


def _anew(request: wire.Reencrypt) -> tuple[str, ...]:
    return tuple(f"fields/{field}/store" for field in batches.fields_of(request.items))


@operation(
    "fields.reencrypt",
    "POST /api/v1/fields/reencrypt",
    takes=wire.Reencrypt,
    gives=wire.Encrypted,
    effect=Effect.NONE,
    resource=_anew,
    example=_SEALED,
)
def reencrypt(ctx: Context, request: wire.Reencrypt) -> dict[str, Any]:
    """Seal values anew under the newest version and show none; each is opened again before it is answered."""
    results: batches.Results = [{}] * len(request.items)
    for field, places in batches.by_field(request.items).items():
        renewing.renew(ctx, ctx.part(Vault).policy(field), request.items, results, places)
    ctx.note(**batches.summary(results))
    return {"results": results}
