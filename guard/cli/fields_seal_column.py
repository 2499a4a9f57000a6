"""`guard fields seal-column`: a column that stands in clear becomes a sealed one, while its application runs."""

from typing import Annotated, Any

import typer

from guard.cli.keys import follow
from guard.cli.session import PARTIAL, Session, verb


def register(group: typer.Typer) -> None:
    """Add the verb to *group*."""
    verb(group, "seal-column")(seal_column)


def seal_column(
    session: Session,
    source: str,
    field: str,
    *,
    wait: Annotated[bool, typer.Option(help="follow the job to its end")] = True,
    rate: Annotated[int, typer.Option(help="rows per second; 0: as fast as it goes")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="seal and open everything, change nothing")] = False,
) -> Any:
    """Seal what stands in a column in clear; resumable, each value opened again before it is replaced. Exit 8 on failures.

    Until it is done readers meet both: a sealed value begins with gd1. and everything else is the value itself.

    Example: guard fields seal-column customers customers.email --dry-run
    """
    terms = {"rows_per_second": rate, "dry_run": dry_run, "in_clear": True}
    job = session.call("reencryptions.create", source=source, field=field, **terms)
    if not wait:
        return job
    view = follow(session, job["job"])
    session.show(view)
    raise typer.Exit(0 if view["state"] == "done" else PARTIAL)
