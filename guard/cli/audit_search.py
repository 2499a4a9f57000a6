"""`guard audit search`: records by tenant, actor, action, resource, outcome and time, each with its proof if asked."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from guard.cli.session import Output, Session, verb
from guard.errors import InvalidInput

COLUMNS = ("index", "time_us", "actor", "action", "resource", "status", "code", "proven")
MAX_PAGE, MAX_PROVEN = 500, 100

FromOption = Annotated[str, typer.Option("--from", help="first moment: 2026-11-25, or 2026-11-25T04:00Z; UTC")]
ToOption = Annotated[str, typer.Option("--to", help="first moment after")]
ResourceOption = Annotated[str, typer.Option(help="exact, or with * at its end for all that begin so")]
OutcomeOption = Annotated[str, typer.Option(help="ok, refused or unknown")]
TenantOption = Annotated[str, typer.Option(help="another tenant; needs a platform role")]
AllowedOption = Annotated[bool | None, typer.Option("--allowed/--not-allowed", help="what the policy decided")]
LimitOption = Annotated[int, typer.Option(help="at most so many records")]
ProofOption = Annotated[bool, typer.Option("--proof", help="with each record's exact bytes and inclusion proof")]
AllOption = Annotated[bool, typer.Option("--all", help="page on to the last one; -o jsonl writes as it goes")]


def register(group: typer.Typer) -> None:
    """Add the verb to *group*."""
    verb(group, "search", columns=COLUMNS)(search)


def search(
    session: Session,
    action: str = "",
    actor: str = "",
    resource: ResourceOption = "",
    outcome: OutcomeOption = "",
    allowed: AllowedOption = None,
    since: FromOption = "",
    until: ToOption = "",
    tenant: TenantOption = "~",
    limit: LimitOption = 50,
    proof: ProofOption = False,
    everything: AllOption = False,
) -> Any:
    """Search the records, newest first.

    Example: guard audit search --action fields.decrypt --tenant dev --from 2026-01-01 --as admin
    """
    wanted = filter_of(action, actor, resource, outcome, allowed, since, until) | {"tenant": tenant, "proof": proof}
    pages = _pages(session, wanted, limit=None if everything else limit)
    if everything and session.output is Output.JSONL:
        for page in pages:
            session.show({"data": page})
        return None
    rows = [row for page in pages for row in page]
    if session.output is Output.TABLE:
        return {"data": [row | {"proven": _proven(row)} if proof else row for row in rows]}
    return {"data": rows}


def filter_of(
    action: str, actor: str, resource: str, outcome: str, allowed: bool | None, since: str, until: str
) -> dict[str, Any]:
    """The members of a filter that were given."""
    texts = {"action": action, "actor": actor, "resource": resource, "outcome": outcome}
    times = {"from_us": moment(since), "to_us": moment(until)}
    given = {name: value for name, value in texts.items() if value}
    return (
        given
        | {name: value for name, value in times.items() if value is not None}
        | ({} if allowed is None else {"allowed": allowed})
    )


def moment(text: str) -> int | None:
    """Microseconds since 1970 of a date or a time of ISO 8601; without a zone it is UTC.

    Raises:
        InvalidInput: it is neither, or before 1970.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min.replace(tzinfo=UTC)
    since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    if since.days < 0:
        raise InvalidInput("Expected a date such as 2026-11-25, or a time such as 2026-11-25T04:00Z, since 1970.")
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _pages(session: Session, wanted: dict[str, Any], limit: int | None) -> Iterator[list[dict[str, Any]]]:
    most, before, left = (MAX_PROVEN if wanted["proof"] else MAX_PAGE), None, limit
    with session.client() as client:
        while left is None or left > 0:
            size = most if left is None else min(left, most)
            answer = client.call("records.list", **wanted, before=before, limit=size)
            yield answer["data"]
            before, left = answer["next"], None if left is None else left - size
            if before is None:
                return


def _proven(row: dict[str, Any]) -> str:
    return "yes" if row["evidence"]["proof"] else "not yet"
