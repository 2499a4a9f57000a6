"""Wire models of the access room: tenants, tokens, grants, roles and checks."""

from typing import Annotated, Literal

from pydantic import Field

from guard.wire.model import AnyTenant, Identifier, Limit, Model, Tenant, Text

Subject = Annotated[str, Field(pattern=r"^[a-z]+:[A-Za-z0-9._@+|-]{1,128}$", description="user:local|ana, svc:billing")]
Role = Annotated[str, Field(pattern=r"^role:[a-z][a-z0-9-]{0,62}$", description="role:support")]
Handle = Annotated[str, Field(pattern=r"^[0-9A-Za-z]{12}$", description="The public part of a token.")]
Lifetime = Annotated[int, Field(ge=60, le=365 * 86400, description="Seconds, from a minute to 365 days.")]


class CreateTenant(Model):
    """A new tenant and the keys of its fields."""

    tenant: Tenant
    title: Text = ""


class TenantView(Model):
    """A tenant."""

    tenant: str
    title: str
    created_us: int


class ListTenants(Model):
    """All tenants."""


class TenantList(Model):
    """Tenants by name."""

    data: list[TenantView]


class CreateToken(Model):
    """A token for a subject; the value is shown once."""

    subject: Subject
    kind: Literal["svc", "pat", "one"] = "svc"
    tenant: AnyTenant = "~"
    expires_in_seconds: Lifetime = 90 * 86400
    note: Text = ""


class MintedToken(Model):
    """A new token. `token` is shown this once and kept nowhere."""

    token: str = Field(repr=False)
    handle: str
    subject: str
    tenant: str
    expires_us: int


class TokenView(Model):
    """What is kept of a token."""

    handle: str
    kind: str
    subject: str
    note: str
    created_by: str
    created_us: int
    expires_us: int
    revoked_us: int | None


class ListTokens(Model):
    """Tokens of a tenant, newest first."""

    tenant: AnyTenant = "~"
    limit: Limit = 100


class TokenList(Model):
    """Tokens without their values."""

    data: list[TokenView]


class RevokeToken(Model):
    """The token to revoke; it is refused from the next request on."""

    handle: Handle
    tenant: AnyTenant = "~"


class ExchangeToken(Model):
    """Turns the one-time token that signs this request into a personal one. It works once."""

    expires_in_seconds: Lifetime = 12 * 3600


class WhoAmI(Model):
    """Asks who the caller is."""


class ActorView(Model):
    """The caller as guard sees it."""

    subject: str
    tenant: str
    kind: str
    credential: str
    roles: list[str]


class AddGrant(Model):
    """Gives a role to a subject, for a time or without end."""

    member: Subject
    role: Role
    tenant: AnyTenant = "~"
    expires_in_seconds: Lifetime | None = None


class RemoveGrant(Model):
    """The grant to take back; effective on the next request."""

    grant: Identifier
    tenant: AnyTenant = "~"


class GrantView(Model):
    """A role held by a subject."""

    id: str
    member: str
    role: str
    created_by: str
    created_us: int
    expires_us: int | None


class ListGrants(Model):
    """Live grants of a tenant."""

    tenant: AnyTenant = "~"
    limit: Limit = 500


class GrantList(Model):
    """Live grants."""

    data: list[GrantView]


class ListRoles(Model):
    """The roles that the policy files define."""


class RoleRule(Model):
    """One rule of a role, with the file and line where it stands."""

    role: str
    resource: str
    action: str
    effect: str
    place: str


class RoleList(Model):
    """Every rule of every role."""

    data: list[RoleRule]


class Check(Model):
    """May this subject use this permission on this resource, in the caller's tenant?"""

    subject: Subject
    action: Annotated[str, Field(max_length=128)]
    resource: Annotated[str, Field(max_length=1024)]


class CheckAnswer(Model):
    """The decision, the rule that made it, and the role path that led to the rule."""

    allow: bool
    rule: str
    path: list[str]
    version: int


class BootstrapPrincipal(Model):
    """A subject with roles and a first token, made by whoever owns the machine; never over HTTP."""

    tenant: Tenant
    title: Text = ""
    subject: Subject
    roles: Annotated[list[Role], Field(min_length=1, max_length=32)]
    kind: Literal["svc", "pat", "one"] = "pat"
    expires_in_seconds: Lifetime = 30 * 86400
