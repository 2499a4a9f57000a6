"""`guard audit sinks`: where the log is copied to as it grows."""

from typing import Any

import typer

from guard.cli.session import Session, verb

COLUMNS = ("name", "plugin", "state", "behind", "lag_seconds", "alarm", "next", "acked_us", "failures", "last_error")


def register(group: typer.Typer) -> None:
    """Add the verb to *group*."""
    verb(group, "sinks", columns=COLUMNS)(sinks)


def sinks(session: Session) -> Any:
    """List the sinks of guard.toml: how far each has the log, and how late it is.

    Example: guard audit sinks --as admin
    """
    return session.call("sinks.list")
