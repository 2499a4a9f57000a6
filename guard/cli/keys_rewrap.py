"""`guard keys rewrap`: a tenant's keys under a new KEK, followed to the end."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from guard.cli.session import Session, verb

COLUMNS = ("what", "kek_version", "count")


def register(group: typer.Typer) -> None:
    """Add the verb to *group*."""
    verb(group, "rewrap", columns=COLUMNS)(rewrap)


def rewrap(
    session: Session,
    *,
    new_kek: Annotated[
        bool, typer.Option("--new-kek", help="make a new KEK first; else go on with the newest")
    ] = False,
    wait: Annotated[bool, typer.Option(help="follow it to its end; guard goes on by itself otherwise")] = True,
) -> Any:
    """Wrap every key of the tenant anew under its newest KEK; no value is opened or changed. Prints what is under which.

    Example: guard keys rewrap --new-kek
    """
    view = session.call("keys.rewrap", fresh=new_kek)
    if wait and view["left"]:
        view = _follow(session, view)
    return {"data": view["counts"]} | {name: view[name] for name in ("kek_version", "left", "ended")}


def _follow(session: Session, view: dict[str, Any]) -> dict[str, Any]:
    console, done = Console(stderr=True), view["moved"]
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("rewrapping", total=None)
        while view["left"]:
            view = session.call("keys.rewrap")
            done += view["moved"]
            progress.update(bar, description=f"{done} rewrapped, {view['left']} left", completed=done)
    return view
