"""What the catalogue lists of search: what to look for, what to store beside a row, and what a plan comes to.

Law: who searches gets forms of a value that he has, and each asking is counted and on record, since the answer could
serve as a dictionary. The record says which indexes were asked how often, never a value, a token or a hash of one.
"""

from collections.abc import Callable, Sequence
from typing import Any

from guard.catalogue import Context, Effect, operation
from guard.errors import GuardError, InvalidRequest
from guard.vault import batches, planning, policy, searching
from guard.vault.index import Definition
from guard.vault.normalisers import NORMALISERS
from guard.vault.policy import FieldPolicy
from guard.vault.searching import STORE, Charged
from guard.vault.variants import variants
from guard.vault.vault import Vault
from guard.wire import search as wire

FORMS = "forms"  # under which name look-ups of deterministic forms are counted


def _sought(request: wire.Search) -> tuple[str, ...]:
    return tuple(f"fields/{field}/{request.purpose}" for field in batches.fields_of(request.items))


def _kept(request: wire.IndexTokens) -> tuple[str, ...]:
    return tuple(f"fields/{field}/{STORE}" for field in batches.fields_of(request.items))


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
    """Answer what to look for in a column, under every live version: index tokens, or deterministic texts."""
    charged = Charged(storing=request.purpose == STORE)
    policies = {name: searching.allowed(ctx, name, request.purpose) for name in batches.fields_of(request.items)}
    made = [_each(_prepared, ctx, policies[item["field"]], item, request.purpose, charged) for item in request.items]
    charged.settle(ctx)
    results: batches.Results = [one if isinstance(one, dict) else _each(one) for one in made]
    ctx.note(**batches.summary(results), look_ups=charged.counts())
    return {"results": results}


@operation(
    "fields.index_tokens",
    "POST /api/v1/fields/index_tokens",
    takes=wire.IndexTokens,
    gives=wire.StoredTokens,
    effect=Effect.NONE,
    resource=_kept,
    example={"items": [{"field": "customers.email", "row": "17", "value": "ana@example.org"}]},
)
def index_tokens(ctx: Context, request: wire.IndexTokens) -> dict[str, Any]:
    """Compute the tokens that a row carries in all declared indexes of a field, to be stored beside it."""
    vault, charged = ctx.part(Vault), Charged(storing=True)
    policies = {name: vault.policy(name) for name in batches.fields_of(request.items)}
    for item in request.items:
        for one in policies[item["field"]].indexes:
            charged.add(one)
    charged.settle(ctx)
    results = [_each(_tokens, ctx, policies[item["field"]], item) for item in request.items]
    ctx.note(**batches.summary(results), tokens_of=charged.counts())
    return {"results": results}


@operation(
    "fields.plan",
    "POST /api/v1/fields/plan",
    takes=wire.PlanFields,
    gives=wire.FieldsPlan,
    effect=Effect.NONE,
    resource="fields/all",
    example={},
)
def plan_fields(ctx: Context, request: wire.PlanFields) -> wire.FieldsPlan:
    """Say what indexes would store and what they show: of the loaded policies, or of one that is sent."""
    sent = policy.parse(request.policy, request.file) if request.policy else None
    return wire.FieldsPlan(data=planning.planned(ctx.part(Vault).policies.values() if sent is None else sent))


def _each(make: Callable[..., Any], *given: Any) -> Any:
    """What *make* makes, or the problem in its place."""
    try:
        return make(*given)
    except GuardError as error:
        return {"problem": batches.problem(error)}


def _prepared(
    ctx: Context, field: FieldPolicy, item: wire.SearchItem, purpose: str, charged: Charged
) -> Callable[[], dict[str, Any]]:
    """What answers an item once all are paid for."""
    wanted = searching.query(ctx, field, item, purpose)
    if field.deterministic and not item.keys() & {"index", "kind"}:
        if "value" not in item or item.keys() & {"values", "low", "high"}:
            raise InvalidRequest(f"Expected a value for the deterministic field {field.name}, got something else.")
        charged.add(_forms(field))
        return lambda: _sealed(ctx, field, item.get("value", ""))
    one = searching.chosen(field, item)
    found = searching.look_up(ctx, one, wanted)  # before it is paid for: what does not fit costs nothing
    charged.add(one)
    return lambda: searching.answer(one, found)


def _sealed(ctx: Context, field: FieldPolicy, value: str) -> dict[str, Any]:
    found = variants(ctx.part(Vault).keyring, ctx.tenant, field, value.encode())
    return {"sealed": [{"version": version, "text": text} for version, text in found]}


def _forms(field: FieldPolicy) -> Definition:
    """Stands for the forms of a deterministic column where they are counted."""
    return Definition(field.table, field.column, FORMS, "exact", NORMALISERS["trim", 1], 256)


def _tokens(ctx: Context, field: FieldPolicy, item: wire.StoreItem) -> dict[str, Any]:
    values = {**item.get("values", {}), field.column: item["value"]}
    missing = [one.name for one in field.indexes if any(column not in values for column, _ in one.parts)]
    return {
        "indexes": rows_of(ctx, [one for one in field.indexes if one.name not in missing], values, item.get("row", "")),
        **({"missing": missing} if missing else {}),
    }


def rows_of(ctx: Context, wanted: Sequence[Definition], values: dict[str, str], row: str) -> list[dict[str, Any]]:
    """What a row carries in each index, newest version; in a unique one under every live version."""
    if not wanted:
        raise InvalidRequest("Expected a field with an index, got one that declares none; see guard fields list.")
    found = []
    for one in wanted:
        live = searching.versions(ctx, one)
        for version in live if one.unique else live[:1]:
            tokens = [token.hex() for token in version.stored(values, row)]
            kind = version.definition.kind
            found.append({"index": one.name, "kind": kind, "version": version.key.version, "tokens": tokens})
    return found
