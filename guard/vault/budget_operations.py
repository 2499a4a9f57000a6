"""What the catalogue lists of search budgets: who used what, what follows when one is exceeded, how it is lifted."""

from guard.catalogue import Actor, Context, Effect, operation
from guard.errors import NotFound
from guard.vault import budget_store
from guard.vault.budgets import Budgets
from guard.wire import search as wire
from guard.wire.model import Nothing

RULE = "search-budget"
SHOWN = 500
FREEZE = "freeze"
MINOR, MAJOR = 3, 2  # severities of an incident


@operation(
    "budgets.list",
    "GET /api/v1/budgets",
    takes=wire.ListBudgets,
    gives=wire.BudgetList,
    effect=Effect.READ,
    resource="budgets/all",
)
def list_budgets(ctx: Context, request: wire.ListBudgets) -> wire.BudgetList:
    """Show what principals used of their search budgets, frozen ones first."""
    del request
    rows = budget_store.of_tenant(ctx.tx, ctx.tenant, SHOWN)
    return wire.BudgetList(
        data=[
            wire.BudgetView(
                principal=row.principal,
                index=row.index,
                minute=row.spent.minute,
                hour=row.spent.hour,
                day=row.spent.day,
                asked=row.spent.asked,
                frozen_us=row.spent.frozen_us,
            )
            for row in rows
        ]
    )


@operation(
    "budgets.thaw",
    "POST /api/v1/budgets/thaw",
    takes=wire.ThawBudget,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="budgets/all",
    audit=("principal", "index"),
    example={"principal": "svc:shop", "index": "customers.email.exact"},
)
def thaw_budget(ctx: Context, request: wire.ThawBudget) -> Nothing:
    """Let a principal search in an index again, with a whole budget; look at the incident first."""
    place, budgets = (ctx.tenant, request.principal, request.index), ctx.part(Budgets)
    # Memory first: a finding in the same commit would store the freeze again. A freeze may not be stored yet.
    held = budgets.thaw(place)
    if not budget_store.remove(ctx.tx, place) and not held:
        raise NotFound(f"Expected a principal that searched in {request.index}, got another; see guard budgets list.")

    def again() -> None:
        budgets.thaw(place)  # whoever asked meanwhile has read the row of before

    ctx.after_commit(again)
    return Nothing()


@operation(
    "budgets.exceeded",
    None,
    takes=wire.ExceededBudget,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="budgets/all",
    audit=("principal", "index", "window", "limit", "asked", "frozen"),
)
def exceeded_budget(ctx: Context, request: wire.ExceededBudget) -> Nothing:
    """Record that a principal asked for more than its budget, and open an incident; a freeze is kept with it."""
    budgets, place = ctx.part(Budgets), (ctx.tenant, request.principal, request.index)
    budgets.save(ctx.tx, place, ctx.now_us)
    what = "is frozen: it asked for more than a day allows" if request.frozen else "is throttled"
    incident = {
        "title": f"Search in {request.index} {what}",
        "severity": MAJOR if request.frozen else MINOR,
        "rule": f"{RULE}-{FREEZE}" if request.frozen else RULE,
        "entity": request.principal,
    }
    ctx.call("incidents.open", incident, Actor("system:runbook", ctx.tenant, "system"))
    ctx.after_commit(lambda: budgets.told(place, request.window))
    return Nothing()


@operation(
    "budgets.store",
    None,
    takes=Nothing,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="budgets/all",
    exempt="it stores counts of look-ups, each of which has a record of its own",
)
def store_budgets(ctx: Context, request: Nothing) -> Nothing:
    """Store what principals used in look-ups that their own transaction refused."""
    del request
    budgets = ctx.part(Budgets)
    for place in budgets.unsaved():
        budgets.save(ctx.tx, place, ctx.now_us)
    return Nothing()
