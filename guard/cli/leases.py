"""`guard leases list | revoke`: who seals and opens by himself now, and the end of that."""

from typing import Annotated, Any

import typer

from guard.cli.session import Session, verb

group = typer.Typer()


@verb(group, "list", columns=("lease_id", "holder", "fields", "purpose", "state", "used", "max_uses", "expires_us"))
def list_leases(session: Session) -> Any:
    """List leases whose time is not over: who holds one, for what, and how far it was used.

    Example: guard leases list
    """
    return session.call("leases.list")


@verb(group, "revoke")
def revoke(
    session: Session,
    lease: Annotated[str, typer.Option(help="one lease")] = "",
    field: Annotated[str, typer.Option(help="all leases of a field")] = "",
) -> Any:
    """End one lease, or all of a field; who is offline stops at the end of his time, which the answer names.

    Example: guard leases revoke --field customers.email
    """
    return session.call("leases.revoke", lease=lease, field=field)
