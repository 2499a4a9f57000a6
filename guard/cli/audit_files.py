"""`guard audit rebuild`, `prune` and `scrub`: what is done to the log's files."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.audit_restore import restore
from guard.cli.session import Session, verb
from guard.errors import VerificationFailed
from guard.settings import discover_home, load


def register(group: typer.Typer) -> None:
    """Add the verbs to `guard audit`."""
    verb(group, "rebuild")(rebuild)
    verb(group, "prune")(prune)
    verb(group, "scrub")(scrub)


def rebuild(
    session: Session,
    source: Annotated[str, typer.Option("--from", help="s3://bucket/prefix that the log was copied to")] = "",
    vkey: Annotated[list[str] | None, typer.Option(help="with --from: the log's key, from your own notes")] = None,
) -> Any:
    """Make the search index, head and hash tiles anew from the records. The home must not be served.

    Every signed checkpoint must come out of the records; a damaged one stops it with its index, and nothing changes.
    With --from, files that the home lacks come from the bucket, and an empty home gets the whole log.

    Example: guard audit rebuild --home /var/lib/guard
    """
    from guard.app import build, offline  # the server's parts, only here
    from guard.audit.rebuild import rebuild as run
    from guard.catalogue import PLATFORM, Actor

    settings = load((session.home or discover_home() or Path(".guard")).absolute())
    if source:
        return restore(settings, source, vkey or [])
    with (
        offline(settings) as (store, log, files),
        store.write() as tx,
        typer.progressbar(length=1, label="records", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar,
    ):
        found = run(tx, log, files, lambda done, total: _show(bar, done, total))
    guard = build(settings)
    try:
        guard.gate.call_named("log.rebuilt", found.model_dump(), Actor("system:worker", PLATFORM, "system"), "rebuild")
    finally:
        guard.close()
    return found.model_dump()


def prune(
    session: Session,
    keep_days: Annotated[int | None, typer.Option(help="ask to remove what is older, 180 at least")] = None,
    approve: Annotated[int | None, typer.Option(help="approve, as a second person, what was asked for")] = None,
) -> Any:
    """Remove the oldest records for good: one person asks with --keep-days, another gives --approve. Hashes stay.

    Example: guard audit prune --as admin
    """
    if approve is not None:
        return session.call("prunes.approve", to=approve)
    if keep_days is not None:
        return session.call("prunes.request", keep_days=keep_days)
    return session.call("prunes.read")


def scrub(session: Session) -> Any:
    """Hash every stored record, tile and index row again, now. The service does so by itself, once a week.

    Example: guard audit scrub --as admin
    """
    start: int | None = 0
    size, faults = 0, []
    with session.client() as client:
        while start is not None:
            found = client.call("scrubs.run", start=start)
            size, start = found["size"], found["next"]
            faults += found["faults"]
    if faults:
        indexes = [fault["index"] for fault in faults]
        raise VerificationFailed(
            f"Expected {size} records as they were logged, got {len(faults)} faults; the first: {faults[0]['what']}",
            indexes=indexes[:1000],
        )
    return {"records": size, "faults": 0}


def _show(bar: Any, done: int, total: int) -> None:
    bar.length = total
    bar.update(done - bar.pos)
