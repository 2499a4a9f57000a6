"""`guard subjects ...`: what is held on a person, and forgetting one."""

from typing import Annotated, Any

import typer

from guard.cli.audit import TenantOption
from guard.cli.session import Session, verb

group = typer.Typer()
ReasonOption = Annotated[str, typer.Option(help="kept sealed in the record")]
COLUMNS = ("id", "subject", "stage", "requested_by", "approved_by", "due_us", "destroyed_us", "unrecoverable_us")


@verb(group, "report", columns=("source", "table", "column", "field", "data_class", "count"))
def report(session: Session, subject: str, tenant: TenantOption = "~", reason: ReasonOption = "") -> Any:
    """Count what is sealed under a person's key, by column; no value is opened.

    Example: guard subjects report u-17
    """
    return session.call("subjects.report", subject=subject, tenant=tenant, reason=reason)


@verb(group, "export", columns=("source", "table", "column", "row", "plaintext", "problem"))
def export(session: Session, subject: str, reason: ReasonOption = "") -> Any:
    """Answer an access request: open everything that is sealed under a person's key (base64).

    Example: guard subjects export u-17 --reason "access request by letter" -o json
    """
    found: list[Any] = []
    cursor = ""
    while True:
        page = session.call("subjects.export", subject=subject, reason=reason, cursor=cursor)
        found += page["data"]
        cursor = page["cursor"]
        if not cursor:
            return {"data": found}


@verb(group, "forget")
def forget(
    session: Session,
    subject: str,
    *,
    at_once: Annotated[bool, typer.Option("--at-once", help="as a second person: end the days of grace")] = False,
    tenant: TenantOption = "~",
    reason: ReasonOption = "",
) -> Any:
    """Make what is sealed under a person's key unreadable at once, and for good after the days of grace.

    Example: guard subjects forget u-17 --reason "asked for by letter"
    """
    return session.call("subjects.forget", subject=subject, at_once=at_once, tenant=tenant, reason=reason)


@verb(group, "restore")
def restore(session: Session, subject: str, tenant: TenantOption = "~", reason: ReasonOption = "") -> Any:
    """Take a request to forget back during the days of grace.

    Example: guard subjects restore u-17 --reason "the letter was about somebody else"
    """
    return session.call("subjects.restore", subject=subject, tenant=tenant, reason=reason)


@verb(group, "receipts", columns=COLUMNS)
def receipts(session: Session, tenant: TenantOption = "~", limit: int = 50) -> Any:
    """List requests to forget, newest first, each with its signed receipt (-o json shows it).

    Example: guard subjects receipts
    """
    return session.call("subjects.receipts", tenant=tenant, limit=limit)
