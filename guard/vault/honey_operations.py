"""What the catalogue lists of planted values: plant a token or a row, list, remove.

Law: who may plant is nobody who reads values; what is planted is told once, to whoever planted it.
"""

from guard.catalogue import Context, Effect, operation
from guard.errors import Conflict, InvalidRequest, NotFound
from guard.vault import batches, honey, honey_store, token_store
from guard.vault.honey import Honey
from guard.vault.token_vault import TokenVault
from guard.vault.vault import Vault
from guard.wire import honey as wire
from guard.wire.model import Nothing


@operation(
    "honey.plant_token",
    "POST /api/v1/honey/tokens",
    takes=wire.PlantToken,
    gives=wire.PlantedToken,
    effect=Effect.WRITE,
    resource="honey/all",
    audit=("field", "domain"),
    example={"field": "customers.email", "domain": "delivery", "subject": "nobody-1", "value": "eve@example.org"},
)
def plant_token(ctx: Context, request: wire.PlantToken) -> wire.PlantedToken:
    """Make a token that opens as every other does, and raises a finding when it is revealed."""
    # Under the planter's own name, the list of issued tokens would tell which of them are bait.
    issuer = token_store.last_issuer(ctx.tx, ctx.tenant, request.field, request.domain)
    row, issued = TokenVault(ctx, issuer).issue(request.model_dump())
    if row.issued_us != ctx.now_us:  # somebody has it, who would be found out for doing his work
        raise Conflict("Expected a made-up value of a made-up person, got one that has a token; make up another.")
    view = _plant(ctx, "token", request.field, row.id)
    return wire.PlantedToken(**view.model_dump(), token=issued["token"])


@operation(
    "honey.plant_row",
    "POST /api/v1/honey/rows",
    takes=wire.PlantRow,
    gives=wire.HoneyView,
    effect=Effect.WRITE,
    resource="honey/all",
    audit=("field",),
    example={"field": "customers.email", "context": {"row": "999"}},
)
def plant_row(ctx: Context, request: wire.PlantRow) -> wire.HoneyView:
    """Watch a row of an application's table: whoever opens a field of it raises a finding."""
    policy = ctx.part(Vault).policy(request.field)
    names = batches.binding(policy)
    if not names:
        raise InvalidRequest(f"Expected a field bound to row or subject, but {policy.name} is bound to neither.")
    bound = zip(names, batches.varying(names, request.context), strict=True)
    return _plant(ctx, "row", policy.name, *honey.row_parts(policy.table, bound))


@operation(
    "honey.list",
    "GET /api/v1/honey",
    takes=wire.ListHoney,
    gives=wire.HoneyList,
    effect=Effect.READ,
    resource="honey/all",
)
def list_honey(ctx: Context, request: wire.ListHoney) -> wire.HoneyList:
    """List what stands planted, newest first."""
    return wire.HoneyList(data=honey_store.listed(ctx.tx, ctx.tenant, request.limit))


@operation(
    "honey.remove",
    "POST /api/v1/honey/{honey}/remove",
    takes=wire.HoneyId,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="honey/all",
    audit=("honey",),
    example={},
)
def remove_honey(ctx: Context, request: wire.HoneyId) -> Nothing:
    """Watch something planted no more."""
    if not honey_store.remove(ctx.tx, ctx.tenant, request.honey, ctx.now_us):
        raise NotFound(f"Expected the id of something planted, got {request.honey}; see guard honey list.")
    _reload(ctx)
    return Nothing()


def _plant(ctx: Context, kind: str, field: str, *parts: str) -> wire.HoneyView:
    vault = ctx.part(Vault)
    key = vault.honey_key(ctx.tx, ctx.now_us)
    mark = honey.mark(key.expose(), ctx.tenant, kind, *parts)
    known = honey_store.find(ctx.tx, ctx.tenant, mark)
    if known is not None:
        return known
    view = wire.HoneyView.model_validate(
        {
            "id": ctx.new_id("hny"),
            "kind": kind,
            "field": field,
            "planted_by": ctx.actor.subject,
            "planted_us": ctx.now_us,
        }
    )
    honey_store.add(ctx.tx, ctx.tenant, view, mark)
    ctx.note(honey=view.id)
    _reload(ctx)
    return view


def _reload(ctx: Context) -> None:
    vault = ctx.part(Vault)
    made = Honey(vault.honey_key(ctx.tx, ctx.now_us), honey_store.marks(ctx.tx))
    ctx.after_commit(lambda: vault.watch(made))
