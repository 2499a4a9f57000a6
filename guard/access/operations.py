"""What the catalogue lists of the access room."""

from guard.access import store
from guard.access.doorkeeper import Doorkeeper
from guard.access.grammar import SUBJECT
from guard.access.policy import Grant, members
from guard.access.store import StoredToken
from guard.catalogue import PLATFORM, Actor, Context, Effect, operation
from guard.errors import AlreadyExists, Conflict, EscalationDenied, InvalidRequest, LastAdmin, NotFound
from guard.wire import access as wire
from guard.wire.model import Nothing

ADMIN = "role:platform-admin"
SECOND_US = 1_000_000


@operation(
    "tenants.create",
    "POST /api/v1/tenants",
    takes=wire.CreateTenant,
    gives=wire.TenantView,
    effect=Effect.WRITE,
    resource="tenants/{tenant}",
    audit=("tenant",),
    example={"tenant": "acme", "title": "Acme Ltd"},
)
def create_tenant(ctx: Context, request: wire.CreateTenant) -> wire.TenantView:
    """Create a tenant with keys for every field of the field policy."""
    if store.has_tenant(ctx.tx, request.tenant):
        raise AlreadyExists(f"Tenant {request.tenant} exists already; choose another name.")
    store.add_tenant(ctx.tx, request.tenant, request.title, ctx.now_us)
    ctx.call("keyrings.create", {}, Actor("system:worker", request.tenant, "system"))
    return wire.TenantView(tenant=request.tenant, title=request.title, created_us=ctx.now_us)


@operation(
    "tenants.list",
    "GET /api/v1/tenants",
    takes=wire.ListTenants,
    gives=wire.TenantList,
    effect=Effect.READ,
    resource="tenants/all",
)
def list_tenants(ctx: Context, request: wire.ListTenants) -> wire.TenantList:
    """List the tenants."""
    del request
    return wire.TenantList(data=store.list_tenants(ctx.tx))


@operation(
    "tokens.create",
    "POST /api/v1/tokens",
    takes=wire.CreateToken,
    gives=wire.MintedToken,
    effect=Effect.WRITE,
    resource=lambda request: (f"tenants/{request.tenant}/subjects/{request.subject}",),
    audit=("subject", "kind"),
    example={"subject": "svc:billing", "expires_in_seconds": 86400},
)
def create_token(ctx: Context, request: wire.CreateToken) -> wire.MintedToken:
    """Create an API token for a subject; its value is shown once."""
    tenant = _existing_tenant(ctx, request.tenant)
    return _mint(ctx, request.kind, tenant, request.subject, request.expires_in_seconds, request.note)


@operation(
    "tokens.list",
    "GET /api/v1/tokens",
    takes=wire.ListTokens,
    gives=wire.TokenList,
    effect=Effect.READ,
    resource="tenants/{tenant}/tokens",
)
def list_tokens(ctx: Context, request: wire.ListTokens) -> wire.TokenList:
    """List the tokens of a tenant, without their values."""
    return wire.TokenList(data=store.list_tokens(ctx.tx, ctx.tenant_for(request.tenant), request.limit))


@operation(
    "tokens.revoke",
    "POST /api/v1/tokens/{handle}/revoke",
    takes=wire.RevokeToken,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="tenants/{tenant}/tokens/{handle}",
    audit=("handle",),
    example={},
)
def revoke_token(ctx: Context, request: wire.RevokeToken) -> Nothing:
    """Revoke a token; it is refused from the next request on."""
    if not store.revoke_token(ctx.tx, ctx.tenant_for(request.tenant), request.handle, ctx.now_us):
        raise NotFound(f"Expected the handle of a live token, got {request.handle}; see guard access tokens.")
    door = ctx.part(Doorkeeper)
    ctx.after_commit(lambda: door.dismiss(request.handle))
    return Nothing()


@operation(
    "tokens.exchange",
    "POST /api/v1/tokens/exchange",
    takes=wire.ExchangeToken,
    gives=wire.MintedToken,
    effect=Effect.WRITE,
    resource="tokens/exchange",
    example={},
)
def exchange_token(ctx: Context, request: wire.ExchangeToken) -> wire.MintedToken:
    """Turn a one-time token into a personal one; the one-time token is used up."""
    actor = ctx.actor
    if actor.kind != "one" or not store.revoke_token(ctx.tx, actor.tenant, actor.credential, ctx.now_us):
        raise Conflict("Expected a one-time token that was not used before; ask for a new one.")
    door = ctx.part(Doorkeeper)
    ctx.after_commit(lambda: door.dismiss(actor.credential))
    return _mint(ctx, "pat", actor.tenant, actor.subject, request.expires_in_seconds, "exchanged")


@operation(
    "actors.whoami",
    "GET /api/v1/whoami",
    takes=wire.WhoAmI,
    gives=wire.ActorView,
    effect=Effect.NONE,
    resource="actors/self",
)
def whoami(ctx: Context, request: wire.WhoAmI) -> wire.ActorView:
    """Say who the caller is and which roles it holds."""
    del request
    actor = ctx.actor
    held = ctx.part(Doorkeeper).snapshot.grants.get(actor.tenant, [])
    mine = [g for g in held if g.member == actor.subject and (g.expires_us is None or ctx.now_us < g.expires_us)]
    return wire.ActorView(
        subject=actor.subject,
        tenant=actor.tenant,
        kind=actor.kind,
        credential=actor.credential,
        roles=sorted({grant.role for grant in mine}),
    )


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
    tenant = _existing_tenant(ctx, request.tenant)
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
    lasting = [g for g in left if g.tenant == PLATFORM and g.expires_us is None]
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


@operation(
    "principals.bootstrap",
    None,
    takes=wire.BootstrapPrincipal,
    gives=wire.MintedToken,
    effect=Effect.WRITE,
    resource="principals/{subject}",
    audit=("tenant", "subject", "kind"),
)
def bootstrap(ctx: Context, request: wire.BootstrapPrincipal) -> wire.MintedToken:
    """Make a subject with roles and a token, and its tenant if need be; for the owner of the machine only."""
    if request.tenant != PLATFORM and not store.has_tenant(ctx.tx, request.tenant):
        ctx.call("tenants.create", {"tenant": request.tenant, "title": request.title})
    door = ctx.part(Doorkeeper)
    held = {
        g.role for g in store.list_grants(ctx.tx, request.tenant, 1 << 31, ctx.now_us) if g.member == request.subject
    }
    for role in sorted(set(request.roles) - held):
        _grantable(door, wire.AddGrant(member=request.subject, role=role), request.tenant)
        grant = Grant(ctx.new_id("grt"), request.tenant, request.subject, role)
        store.add_grant(ctx.tx, grant, ctx.actor.subject, ctx.now_us)
    _swap(ctx, door)
    return _mint(ctx, request.kind, request.tenant, request.subject, request.expires_in_seconds, "bootstrap")


def _existing_tenant(ctx: Context, asked: str) -> str:
    tenant = ctx.tenant_for(asked)
    if tenant != PLATFORM and not store.has_tenant(ctx.tx, tenant):
        raise NotFound(f"Expected an existing tenant, got {tenant}; create it first.")
    return tenant


def _grantable(door: Doorkeeper, request: wire.AddGrant, tenant: str) -> None:
    if request.role not in door.rows.roles:
        known = ", ".join(sorted(door.rows.roles))
        raise InvalidRequest(f"Expected one of the roles {known}; got {request.role}.")
    if SUBJECT.fullmatch(request.member) is None:
        raise InvalidRequest("Expected a member such as user:local|ana or svc:billing, got another form; correct it.")
    if request.member.startswith("system:"):
        raise EscalationDenied("The subjects of guard itself hold fixed roles; grant to a user or a service.")
    if request.role.startswith("role:platform-") and tenant != PLATFORM:
        raise EscalationDenied(f"{request.role} can only be held in the tenant {PLATFORM}; choose another role.")


def _mint(ctx: Context, kind: str, tenant: str, subject: str, lifetime_seconds: int, note: str) -> wire.MintedToken:
    if SUBJECT.fullmatch(subject) is None or subject.startswith("system:"):
        raise InvalidRequest("Expected a subject such as user:local|ana or svc:billing, got another form; correct it.")
    door = ctx.part(Doorkeeper)
    token, mac = door.mint(kind, ctx.random)
    stored = StoredToken(token.handle, kind, tenant, subject, mac, ctx.now_us + lifetime_seconds * SECOND_US)
    store.add_token(ctx.tx, stored, note, ctx.actor.subject, ctx.now_us)
    ctx.note(handle=token.handle)
    ctx.after_commit(lambda: door.admit(stored))
    return wire.MintedToken(
        token=token.text, handle=token.handle, subject=subject, tenant=tenant, expires_us=stored.expires_us
    )


def _swap(ctx: Context, door: Doorkeeper) -> None:
    version = store.next_version(ctx.tx)
    grants = store.live_grants(ctx.tx, ctx.now_us)
    ctx.after_commit(lambda: door.swap(grants, version))
