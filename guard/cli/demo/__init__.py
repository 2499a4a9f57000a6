"""`guard demo`: the main job of guard in one run, each line a real check."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from guard.cli.session import Session, verb


def register(app: typer.Typer) -> None:
    """Add the verb to *app*."""
    verb(app, "demo")(demo)


def demo(
    session: Session,
    once: Annotated[bool, typer.Option("--once", help="stop after the checks instead of serving")] = False,
    log: Annotated[Path | None, typer.Option(help="your own access log, read beside the generated one")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep the demo's data directory")] = False,
) -> None:
    """Run the main job on throw-away data: keys, fields, roles, detection, incident, audit. Exit 1 if a check fails.

    Example: guard demo --once
    """
    from guard.cli.demo.story import tell  # drives a server process, so only where the demo runs
    from guard.cli.logs import fingerprint_of

    if log is not None:
        fingerprint_of(log)  # one that cannot be read is told now, and not after five checks
    stay = not once and sys.stdout.isatty()
    if not tell(session, log=log, keep=keep, stay=stay):
        raise typer.Exit(1)
