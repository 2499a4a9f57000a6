"""What the catalogue lists of grants, roles and checks."""

from guard.access import store
from guard.access.doorkeeper import Doorkeeper
from guard.access.grammar import SUBJECT
from guard.access.policy import BUILT_IN, Grant, members
from guard.access.tenancy import existing_tenant
from guard.catalogue import PLATFORM, Actor, Context, Effect, operation
from guard.errors import EscalationDenied, InvalidRequest, LastAdmin, NotFound
from guard.wire import access as wire
from guard.wire.model import Nothing

ADMIN = "role:platform-admin"
SECOND_US = 1_000_000


@operation(
    "grants.add",
    "POST /api/v1/grants",
    takes=wire.AddGrant,
    gives=wire.GrantView,
    effect=Effect.WRITE,
    resource="tenants/{tenant}/roles/{role}",
    audit=("member", "role"),
    example={"member": "user:local|ana", "role": "role:support"},
)
def add_grant(ctx: Context, request: wire.AddGrant) -> wire.GrantView:
    """Give a role to a subject; giving it twice changes nothing."""
    tenant = existing_tenant(ctx, request.tenant)
    door = ctx.part(Doorkeeper)
    _grantable(door, request, tenant)
    known = [g for g in store.list_grants(ctx.tx, tenant, 1 << 31, ctx.now_us) if g.member == request.member]
    lifetime = request.expires_in_seconds
    expires_us = None if lifetime is None else ctx.now_us + lifetime * SECOND_US
    for held in known:
        if held.role == request.role and held.expires_us == expires_us:
            return held
    grant = Grant(ctx.new_id("grt"), tenant, request.member, request.role, expires_us)
    store.add_grant(ctx.tx, grant, ctx.actor.subject, ctx.now_us)
    _swap(ctx, door)
    return wire.GrantView(
        id=grant.id,
        member=grant.member,
        role=grant.role,
        created_by=ctx.actor.subject,
        created_us=ctx.now_us,
        expires_us=expires_us,
    )


@operation(
    "grants.remove",
    "POST /api/v1/grants/{grant}/remove",
    takes=wire.RemoveGrant,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="tenants/{tenant}/grants/{grant}",
    audit=("grant",),
    example={},
)
def remove_grant(ctx: Context, request: wire.RemoveGrant) -> Nothing:
    """Take a grant back; effective on the next request."""
    tenant = ctx.tenant_for(request.tenant)
    grant = store.find_grant(ctx.tx, tenant, request.grant)
    if grant is None:
        raise NotFound(f"Expected the id of a live grant, got {request.grant}; see guard access grants.")
    store.remove_grant(ctx.tx, grant.id, ctx.actor.subject, ctx.now_us)
    left = store.live_grants(ctx.tx, ctx.now_us)
    # A group has no members of its own yet, so it administers nothing.
    lasting = [g for g in left if g.tenant == PLATFORM and g.expires_us is None and not g.member.startswith("group:")]
    if grant.role == ADMIN and not members(lasting, ADMIN, ctx.now_us):
        raise LastAdmin("This grant belongs to the last platform administrator; give the role to another one first.")
    ctx.note(member=grant.member, role=grant.role)
    _swap(ctx, ctx.part(Doorkeeper))
    return Nothing()


@operation(
    "grants.list",
    "GET /api/v1/grants",
    takes=wire.ListGrants,
    gives=wire.GrantList,
    effect=Effect.READ,
    resource="tenants/{tenant}/grants",
)
def list_grants(ctx: Context, request: wire.ListGrants) -> wire.GrantList:
    """List who holds which role."""
    tenant = ctx.tenant_for(request.tenant)
    return wire.GrantList(data=store.list_grants(ctx.tx, tenant, request.limit, ctx.now_us))


@operation(
    "roles.list",
    "GET /api/v1/roles",
    takes=wire.ListRoles,
    gives=wire.RoleList,
    effect=Effect.NONE,
    resource="roles/all",
)
def list_roles(ctx: Context, request: wire.ListRoles) -> wire.RoleList:
    """List the rules of every role, with file and line."""
    del request
    rules = ctx.part(Doorkeeper).rows.rules
    return wire.RoleList(
        data=[wire.RoleRule(role=r, resource=o, action=a, effect=e, place=place) for r, o, a, e, place in rules]
    )


@operation(
    "checks.evaluate",
    "POST /api/v1/checks",
    takes=wire.Check,
    gives=wire.CheckAnswer,
    effect=Effect.NONE,
    resource="checks/all",
    audit=("subject", "action", "resource"),
    hot=True,
    example={"subject": "user:local|ana", "action": "fields.mask", "resource": "fields/customers.email/support"},
)
def evaluate(ctx: Context, request: wire.Check) -> wire.CheckAnswer:
    """Say whether a subject may do something in the caller's tenant, and by which rule."""
    if SUBJECT.fullmatch(request.subject) is None:
        raise InvalidRequest("Expected a subject such as user:local|ana or svc:billing, got another form; correct it.")
    asked = Actor(request.subject, ctx.tenant, "asked")
    decision = ctx.part(Doorkeeper).decide(asked, request.action, request.resource, ctx.now_us)
    ctx.note(allow=decision.allow)
    return wire.CheckAnswer(
        allow=decision.allow, rule=decision.rule, path=list(decision.path), version=decision.version
    )


def _grantable(door: Doorkeeper, request: wire.AddGrant, tenant: str) -> None:
    if request.role not in door.rows.roles:
        known = ", ".join(sorted(door.rows.roles))
        raise InvalidRequest(f"Expected one of the roles {known}; got {request.role}.")
    if SUBJECT.fullmatch(request.member) is None:
        raise InvalidRequest("Expected a member such as user:local|ana or svc:billing, got another form; correct it.")
    if request.member.startswith("system:"):
        raise EscalationDenied("The subjects of guard itself hold fixed roles; grant to a user or a service.")
    if request.role in {role for _, role in BUILT_IN}:
        raise EscalationDenied(f"{request.role} is for guard's own work; choose another role.")
    if request.role.startswith("role:platform-") and tenant != PLATFORM:
        raise EscalationDenied(f"{request.role} can only be held in the tenant {PLATFORM}; choose another role.")


def _swap(ctx: Context, door: Doorkeeper) -> None:
    version = store.next_version(ctx.tx)
    grants = store.live_grants(ctx.tx, ctx.now_us)
    ctx.after_commit(lambda: door.swap(grants, version))
