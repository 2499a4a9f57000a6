"""`guard access ...`."""

from typing import Annotated, Any

import typer

from guard.cli.session import Session, verb

group = typer.Typer()
TenantOption = Annotated[str, typer.Option(help="another tenant; needs a platform role")]
SecondsOption = Annotated[int | None, typer.Option(help="lifetime in seconds")]


@verb(group, "whoami")
def whoami(session: Session) -> Any:
    """Say who the token belongs to, and which roles it has.

    Example: guard access whoami
    """
    return session.call("actors.whoami")


@verb(group, "tenants")
def tenants(session: Session) -> Any:
    """List tenants.

    Example: guard access tenants --as admin
    """
    return session.call("tenants.list")


@verb(group, "tenant")
def tenant(session: Session, name: str, title: str = "") -> Any:
    """Create a tenant and the keys of its fields.

    Example: guard access tenant acme --title "Acme Ltd" --as admin
    """
    return session.call("tenants.create", tenant=name, title=title)


@verb(group, "tokens", columns=("handle", "kind", "subject", "note", "expires_us", "revoked_us"))
def tokens(session: Session, tenant: TenantOption = "~") -> Any:
    """List tokens, without their values.

    Example: guard access tokens
    """
    return session.call("tokens.list", tenant=tenant)


@verb(group, "token")
def token(
    session: Session,
    subject: str,
    kind: Annotated[str, typer.Option(help="svc, pat or one (single use)")] = "svc",
    tenant: TenantOption = "~",
    seconds: SecondsOption = None,
    note: str = "",
) -> Any:
    """Create a token; its value is shown once.

    Example: guard access token svc:billing --seconds 86400
    """
    return session.call(
        "tokens.create", subject=subject, kind=kind, tenant=tenant, expires_in_seconds=seconds, note=note
    )


@verb(group, "revoke")
def revoke(session: Session, handle: str, tenant: TenantOption = "~") -> Any:
    """Revoke a token; it is refused from the next request on.

    Example: guard access revoke 0123456789AB
    """
    session.call("tokens.revoke", handle=handle, tenant=tenant)
    return {"revoked": handle}


@verb(group, "exchange")
def exchange(session: Session, seconds: SecondsOption = None) -> Any:
    """Turn a one-time token into a personal one.

    Example: GUARD_URL=http://127.0.0.1:8420 GUARD_TOKEN=... guard access exchange
    """
    return session.call("tokens.exchange", expires_in_seconds=seconds)


@verb(group, "grants", columns=("id", "member", "role"))
def grants(session: Session, tenant: TenantOption = "~") -> Any:
    """List who holds which role.

    Example: guard access grants
    """
    return session.call("grants.list", tenant=tenant)


@verb(group, "grant")
def grant(session: Session, member: str, role: str, tenant: TenantOption = "~", seconds: SecondsOption = None) -> Any:
    """Give a role to a subject.

    Example: guard access grant "user:local|ana" role:support
    """
    return session.call("grants.add", member=member, role=role, tenant=tenant, expires_in_seconds=seconds)


@verb(group, "ungrant")
def ungrant(session: Session, grant_id: str, tenant: TenantOption = "~") -> Any:
    """Take a grant back; effective on the next request.

    Example: guard access ungrant grt_0198
    """
    session.call("grants.remove", grant=grant_id, tenant=tenant)
    return {"removed": grant_id}


@verb(group, "roles", columns=("role", "action", "resource", "effect", "place"))
def roles(session: Session) -> Any:
    """List every rule of every role, with file and line.

    Example: guard access roles
    """
    return session.call("roles.list")


@verb(group, "can-i")
def can_i(session: Session, action: str, resource: str) -> Any:
    """Ask whether the token's own subject may do something. Exit 5 where it may not.

    Example: guard access can-i fields.mask fields/customers.email/support
    """
    return _asked(session, session.call("actors.whoami")["subject"], action, resource)


@verb(group, "why")
def why(session: Session, subject: str, action: str, resource: str) -> Any:
    """Ask whether a subject may do something, and by which rule. Exit 5 where it may not.

    Example: guard access why "user:local|ana" fields.mask fields/customers.email/support
    """
    return _asked(session, subject, action, resource)


def _asked(session: Session, subject: str, action: str, resource: str) -> None:
    answer = session.call("checks.evaluate", subject=subject, action=action, resource=resource)
    session.show(answer)
    if not answer["allow"]:
        raise typer.Exit(5)
