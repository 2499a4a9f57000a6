"""`guard indexes ...` and `guard budgets ...`: versions of blind indexes, tokens of sources, and who looked up how much."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from guard.cli.session import PARTIAL, Session, verb

group = typer.Typer()
budgets = typer.Typer()
ROWS = 2000  # in one transaction of the source


@verb(group, "list", columns=("index", "version", "kind", "bits", "current"))
def list_indexes(session: Session) -> Any:
    """List the live versions of all blind indexes, and whether each is as the field policy declares it today.

    Example: guard indexes list
    """
    return session.call("indexes.list")


@verb(group, "rotate", columns=("index", "version", "kind", "bits", "current"))
def rotate(session: Session, index: str) -> Any:
    """Make a new version, as the field policy declares the index now; rows under older ones are still found.

    Example: guard indexes rotate customers.email.exact
    """
    return session.call("indexes.rotate", name=index)


@verb(group, "build")
def build(
    session: Session,
    source: str,
    field: str,
    again: Annotated[bool, typer.Option("--again", help="from the first row on")] = False,
) -> Any:
    """Give the rows of a source the tokens of a field's indexes; resumable. Exit 8 where some did not open.

    Example: guard indexes build customers customers.email
    """
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("indexing", total=None)
        while True:
            view = session.call("sources.index", source=source, field=field, rows=ROWS, again=again)
            progress.update(bar, total=view["total"] or None, completed=view["examined"])
            again = False
            if view["done"]:
                break
    if view["failed"]:
        session.show(view, ())
        raise typer.Exit(PARTIAL)
    return view


@verb(group, "retire", columns=("index", "version", "kind", "bits", "current"))
def retire(session: Session, index: str, version: int) -> Any:
    """Remove an older version with its key; refused while rows of a source or claimed values need it.

    Example: guard indexes retire customers.identity_number.unique 1
    """
    return session.call("indexes.retire", name=index, version=version)


@verb(budgets, "list", columns=("principal", "index", "minute", "hour", "day", "asked", "frozen_us"))
def list_budgets(session: Session) -> Any:
    """Show who looked up how much in which index, frozen ones first.

    Example: guard budgets list
    """
    return session.call("budgets.list")


@verb(budgets, "thaw")
def thaw(session: Session, principal: str, index: str) -> Any:
    """Let a principal search in an index again, with a whole budget; look at the incident first.

    Example: guard budgets thaw svc:shop customers.email.exact
    """
    session.call("budgets.thaw", principal=principal, index=index)
    return {"principal": principal, "index": index, "frozen": False}
