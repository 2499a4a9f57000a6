"""What the catalogue lists of tenants and tokens."""

from guard.access import store
from guard.access.doorkeeper import Doorkeeper
from guard.access.grammar import SUBJECT
from guard.access.policy import Grant
from guard.access.store import StoredToken
from guard.access.tenancy import existing_tenant
from guard.catalogue import PLATFORM, Actor, Context, Effect, operation
from guard.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
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
    sealed=("title",),
)
def create_tenant(ctx: Context, request: wire.CreateTenant) -> wire.TenantView:
    """Create a tenant with keys for every field of the field policy."""
    ctx.tenant_for(PLATFORM)
    if request.tenant == PLATFORM or store.has_tenant(ctx.tx, request.tenant):
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
    ctx.tenant_for(PLATFORM)
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
    sealed=("note",),
    subject="subject",
)
def create_token(ctx: Context, request: wire.CreateToken) -> wire.MintedToken:
    """Create an API token for a subject; its value is shown once."""
    tenant = existing_tenant(ctx, request.tenant)
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
    held = {grant.role for grant in store.live_grants(ctx.tx, ctx.now_us) if _is(grant, request)}
    for role in sorted(set(request.roles) - held):
        ctx.call("grants.add", {"member": request.subject, "role": role, "tenant": request.tenant})
    return _mint(ctx, request.kind, request.tenant, request.subject, request.expires_in_seconds, "bootstrap")


def _is(grant: Grant, request: wire.BootstrapPrincipal) -> bool:
    return grant.tenant == request.tenant and grant.member == request.subject and grant.expires_us is None


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
