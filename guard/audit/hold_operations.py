"""What the catalogue lists of legal holds.

Law: one person places a hold, two release it; while it stands, neither erasure nor expiry nor pruning touches what it
covers, and the check is made in the transaction that would delete.
"""

from guard.audit import hold_store
from guard.audit.sealed import SealedValues
from guard.catalogue import PLATFORM, Context, Effect, operation
from guard.errors import Conflict, Denied, InvalidRequest, NotFound
from guard.wire import audit_privacy as wire


@operation(
    "holds.place",
    "POST /api/v1/audit/holds",
    takes=wire.PlaceHold,
    gives=wire.HoldView,
    effect=Effect.WRITE,
    resource="holds/{tenant}",
    audit=("scope", "matter", "target"),
    sealed=("subject", "reason"),
    subject="subject",
    example={"scope": "subject", "subject": "u-17", "matter": "case-2026-17", "reason": "letter of the regulator"},
)
def place_hold(ctx: Context, request: wire.PlaceHold) -> wire.HoldView:
    """Forbid deletion of what a matter needs, until two people release it."""
    tenant = ctx.tenant_for(request.tenant)
    if request.scope == hold_store.PLATFORM_WIDE and tenant != PLATFORM:
        raise NotFound("The whole log holds every tenant's records, so only the platform's own people hold it.")
    wanted = {"subject": ("subject",), "actor": ("target",), "matter": ("target",)}.get(request.scope, ())
    given = tuple(name for name in ("subject", "target") if getattr(request, name))
    if given != wanted:
        raise InvalidRequest(
            f"Expected {wanted[0] if wanted else 'neither subject nor target'} with the scope {request.scope}, "
            "got something else; correct it.",
            errors=[],
        )
    target = request.target
    if request.subject:
        target = ctx.part(SealedValues).keys.obtain(ctx.tx, tenant, request.subject, ctx.now_us)[0]
    view = wire.HoldView(
        id=ctx.new_id("hld"),
        tenant=tenant,
        scope=request.scope,
        target=target,
        matter=request.matter,
        state="active",
        placed_by=ctx.actor.subject,
        placed_us=ctx.now_us,
        release_asked_by=None,
        released_by=None,
        released_us=None,
    )
    hold_store.add(ctx.tx, view)
    ctx.note(hold=view.id)
    return view


@operation(
    "holds.list",
    "GET /api/v1/audit/holds",
    takes=wire.ListHolds,
    gives=wire.HoldList,
    effect=Effect.READ,
    resource="holds/{tenant}",
)
def list_holds(ctx: Context, request: wire.ListHolds) -> wire.HoldList:
    """List legal holds, newest first."""
    return wire.HoldList(data=hold_store.listed(ctx.tx, ctx.tenant_for(request.tenant), request.limit))


@operation(
    "holds.standing",
    None,
    takes=wire.ListHolds,
    gives=wire.HoldList,
    effect=Effect.READ,
    resource="holds/{tenant}",
)
def standing_holds(ctx: Context, request: wire.ListHolds) -> wire.HoldList:
    """For other rooms, which ask before they destroy something: holds that stand in the tenant or on everything."""
    found = hold_store.standing(ctx.tx, ctx.tenant_for(request.tenant))
    views = [hold_store.find(ctx.tx, one.tenant, one.id) for one in found[: request.limit]]
    return wire.HoldList(data=[view for view in views if view is not None])


@operation(
    "holds.release",
    "POST /api/v1/audit/holds/{hold}/release",
    takes=wire.ReleaseHold,
    gives=wire.HoldView,
    effect=Effect.WRITE,
    resource="holds/{tenant}",
    audit=("hold",),
    sealed=("reason",),
    example={"reason": "the case is closed"},
)
def release_hold(ctx: Context, request: wire.ReleaseHold) -> wire.HoldView:
    """Ask for the release of a hold; when a second person does the same, it is released."""
    view = hold_store.find(ctx.tx, ctx.tenant_for(request.tenant), request.hold)
    if view is None:
        raise NotFound(f"Expected the id of a legal hold, got {request.hold}; see guard audit hold list.")
    if view.state == "released":
        raise Conflict(f"The hold {view.id} was released already; nothing is left to do.", by=view.released_by)
    who = ctx.actor.subject
    if view.release_asked_by == who:
        raise Denied("You asked for this release; a second person has to approve it.")
    if view.release_asked_by is None:
        change: dict[str, object] = {"state": "releasing", "release_asked_by": who}
    else:
        change = {"state": "released", "released_by": who, "released_us": ctx.now_us}
    view = view.model_copy(update=change)
    hold_store.write(ctx.tx, view)
    ctx.note(state=view.state)
    return view
