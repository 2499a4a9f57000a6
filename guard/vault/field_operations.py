"""What the catalogue lists of fields beyond sealing and opening one: sealing anew, item by item, and search.

Law: who seals anew sees no value; who searches gets forms of a value that he has, and each asking is on record, since
the answer could serve as a dictionary.
"""

from typing import Any

from guard.catalogue import Context, Effect, operation
from guard.errors import GuardError, InvalidRequest
from guard.vault import batches, renewing
from guard.vault.policy import FieldPolicy
from guard.vault.variants import variants
from guard.vault.vault import Vault
from guard.wire import vault as wire

STORE = "store"
_SEALED = {"items": [{"field": "customers.email", "context": {"row": "17"}, "ciphertext": "gd1.RwEB"}]}


def _anew(request: wire.Reencrypt) -> tuple[str, ...]:
    return tuple(f"fields/{field}/store" for field in batches.fields_of(request.items))


def _sought(request: wire.Search) -> tuple[str, ...]:
    return tuple(f"fields/{field}/{request.purpose}" for field in batches.fields_of(request.items))


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


@operation(
    "fields.search",
    "POST /api/v1/fields/search",
    takes=wire.Search,
    gives=wire.Found,
    effect=Effect.NONE,
    resource=_sought,
    audit=("purpose",),
    example={"purpose": "support", "items": [{"field": "customers.email", "index": "exact", "value": "a@example.org"}]},
)
def search(ctx: Context, request: wire.Search) -> dict[str, Any]:
    """Answer what a value looks like in a column, under every live version: index tokens, or deterministic texts."""
    vault = ctx.part(Vault)
    results: batches.Results = []
    for item in request.items:
        asked = request.purpose != STORE  # who stores a unique value looks for it first
        policy = vault.policy_for(item["field"], request.purpose) if asked else vault.policy(item["field"])
        try:
            results.append(_forms(ctx, policy, item))
        except GuardError as error:
            results.append({"problem": batches.problem(error)})
    ctx.note(**batches.summary(results))
    return {"results": results}


def _forms(ctx: Context, policy: FieldPolicy, item: wire.SearchItem) -> dict[str, Any]:
    vault, name = ctx.part(Vault), item.get("index", "")
    if not name and policy.deterministic:
        found = variants(vault.keyring, ctx.tenant, policy, item["value"].encode())
        return {"sealed": [{"version": version, "text": text} for version, text in found]}
    index = next((one for one in policy.indexes if name in {"", one.name}), None)
    if index is None:
        raise InvalidRequest(f"Expected an index of {policy.name}, got {name or 'none'}; see guard fields list.")
    tokens = index.tokens(vault.keyring.index_keys(ctx.tenant, index.key_name), item["value"])
    return {"index": index.name, "tokens": [{"version": version, "token": token.hex()} for version, token in tokens]}
