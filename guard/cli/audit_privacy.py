"""`guard audit reveal`, `guard audit erase ...`, `guard audit hold ...`: personal values in the log."""

from typing import Annotated, Any

import typer

from guard.cli.audit import TenantOption
from guard.cli.session import Session, verb

erasures = typer.Typer()
holds = typer.Typer()
ReasonOption = Annotated[str, typer.Option(help="kept sealed in the record")]
ERASURE_COLUMNS = ("id", "subject", "state", "rows", "requested_by", "approved_by", "changed_us")
HOLD_COLUMNS = ("id", "scope", "target", "matter", "state", "placed_by", "placed_us", "release_asked_by", "released_by")


def register(group: typer.Typer) -> None:
    """Put these verbs below `guard audit`."""
    group.add_typer(erasures, name="erase", help="Erase what the log holds about a person.", no_args_is_help=True)
    group.add_typer(holds, name="hold", help="Legal holds.", no_args_is_help=True)

    @verb(group, "reveal")
    def reveal(session: Session, index: int, tenant: TenantOption = "~", reason: ReasonOption = "") -> Any:
        """Open the sealed values of a record, with the nonces that prove them.

        Example: guard audit reveal 17 --reason "asked for by the court"
        """
        return session.call("records.reveal", index=index, tenant=tenant, reason=reason)


@verb(erasures, "request")
def request_erasure(session: Session, subject: str, tenant: TenantOption = "~", reason: ReasonOption = "") -> Any:
    """Ask for the erasure of what the log holds about a person; somebody else approves.

    Example: guard audit erase request u-17 --reason "asked for by letter"
    """
    return session.call("erasures.request", subject=subject, tenant=tenant, reason=reason)


@verb(erasures, "approve")
def approve_erasure(session: Session, erasure: str, tenant: TenantOption = "~") -> Any:
    """Approve an erasure that somebody else asked for; it cannot be undone.

    Example: guard audit erase approve ers_0198
    """
    return session.call("erasures.approve", erasure=erasure, tenant=tenant)


@verb(erasures, "list", columns=ERASURE_COLUMNS)
def list_erasures(session: Session, tenant: TenantOption = "~", limit: int = 50) -> Any:
    """List erasures, newest first.

    Example: guard audit erase list
    """
    return session.call("erasures.list", tenant=tenant, limit=limit)


@verb(holds, "place")
def place_hold(
    session: Session,
    scope: Annotated[str, typer.Argument(help="tenant, subject, actor, matter or log")],
    matter: Annotated[str, typer.Option(help="reference of the case")],
    target: Annotated[str, typer.Option(help="who acted, or the id of an incident")] = "",
    subject: Annotated[str, typer.Option(help="whose values")] = "",
    tenant: TenantOption = "~",
    reason: ReasonOption = "",
) -> Any:
    """Forbid deletion of what a case needs.

    Example: guard audit hold place subject --subject u-18 --matter case-2026-17
    """
    return session.call(
        "holds.place", scope=scope, matter=matter, target=target, subject=subject, tenant=tenant, reason=reason
    )


@verb(holds, "list", columns=HOLD_COLUMNS)
def list_holds(session: Session, tenant: TenantOption = "~", limit: int = 50) -> Any:
    """List legal holds, newest first.

    Example: guard audit hold list
    """
    return session.call("holds.list", tenant=tenant, limit=limit)


@verb(holds, "release")
def release_hold(session: Session, hold: str, tenant: TenantOption = "~", reason: ReasonOption = "") -> Any:
    """Ask for the release of a hold; when somebody else does the same, it is released.

    Example: guard audit hold release hld_0198 --reason "the case is closed"
    """
    return session.call("holds.release", hold=hold, tenant=tenant, reason=reason)
