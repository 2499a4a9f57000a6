"""`guard audit anchors`, `anchor create`, `fork` and `key-stolen`: what outside the home vouches for the log."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.serving import quiet_logs
from guard.cli.session import Session, verb
from guard.errors import Denied, InvalidInput
from guard.settings import discover_home, load

TIMES = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d"]
PERMISSION, RESOURCE = "log.created", "audit/all/log"
anchor = typer.Typer()


def register(group: typer.Typer) -> None:
    """Add the verbs to `guard audit`."""
    verb(group, "anchors", columns=("kind", "place", "size", "origin", "time_us", "counts", "remark"))(anchors)
    verb(group, "fork")(fork)
    verb(group, "key-stolen")(key_stolen)
    verb(anchor, "create")(create)
    group.add_typer(anchor, name="anchor", help="The anchor file on another volume.", no_args_is_help=True)


def anchors(session: Session) -> Any:
    """List the anchors that the settings name, and what each holds.

    Example: guard audit anchors --as admin
    """
    return session.call("anchors.list")


def create(session: Session, path: Path) -> Any:
    """Make an empty anchor file; name it as anchor_file in guard.toml. It belongs on another volume. Needs no server.

    Example: guard audit anchor create ./anchor
    """
    del session
    from guard.audit.anchor_store import create as make  # the server's parts, only here

    make(path)
    return {"anchor_file": str(path.absolute())}


def fork(
    session: Session,
    reason: Annotated[str, typer.Option(help="why; stands in the log for ever")],
    second: Annotated[str, typer.Option("--with", help="subject of the second administrator")],
) -> Any:
    """After a restore on purpose, begin the log's next incarnation. Guard must be stopped; --as names the first person.

    Example: guard audit fork --reason "disk lost" --as "user:local|admin" --with "user:local|deputy"
    """
    return _begin_next(session, second, {"reason": reason})


def key_stolen(
    session: Session,
    vkey: str,
    since: Annotated[datetime, typer.Option(help="UTC time since when others may have the key", formats=TIMES)],
    reason: Annotated[str, typer.Option(help="why; stands in the log for ever")],
    second: Annotated[str, typer.Option("--with", help="subject of the second administrator")],
) -> Any:
    """Freeze the log where others vouched for it before its key was stolen, and go on with new keys. Stop guard first.

    Example: guard audit key-stolen "$VKEY" --since 2026-11-20T03:00:00Z --reason "host read by a stranger" --as "user:local|admin" --with "user:local|deputy"
    """
    since_us = int(since.replace(tzinfo=UTC).timestamp()) * 1_000_000
    return _begin_next(session, second, {"reason": reason, "stolen": vkey, "since_us": since_us})


def _begin_next(session: Session, second: str, asked: dict[str, Any]) -> Any:
    home = session.home or discover_home()
    if home is None or not (home / "guard.db").exists():
        raise InvalidInput("Expected the home of a guard that has run, got none; give --home.")
    from guard.app import build  # the server's parts, only here
    from guard.audit.anchor_operations import UNPROVEN
    from guard.catalogue import PLATFORM, Actor

    quiet_logs()
    settings = load(home.absolute())
    guard = build(settings)
    try:
        _two_persons(guard, session.profile, second)
        guard.standing.repair()
        worker = Actor("system:worker", PLATFORM, "system")
        person = Actor(session.profile, PLATFORM, "user", UNPROVEN)
        made = guard.gate.call_named("log.created", {**asked, "second": second}, person, "fork")
        signed = guard.gate.call_named("checkpoints.publish", {}, worker, "fork")
        if settings.worm:
            guard.gate.call_named("checkpoints.copy", {}, worker, "fork")
        return {"origin": made.origin, "follows": made.follows, "size": signed.size, "vkey": signed.vkey}
    finally:
        guard.close()


def _two_persons(guard: Any, *subjects: str) -> None:
    """Whoever can type this can do worse; the two names are those who answer for it, and the log says so."""
    from guard.catalogue import PLATFORM, Actor  # see fork

    if len(set(subjects)) != len(subjects):
        raise InvalidInput("Expected two persons, got one twice; name another with --with.")
    for subject in subjects:
        actor = Actor(subject, PLATFORM, "user")
        if not guard.doorkeeper.decide(actor, PERMISSION, RESOURCE, guard.gate.now_us()).allow:
            raise Denied(f"Expected two platform administrators of this database, but {subject} is none; name others.")
