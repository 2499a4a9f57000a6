"""`guard keys ...`."""

import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from guard.cli.session import PARTIAL, Session, verb

group = typer.Typer()
POLL_SECONDS = 0.3


@verb(group, "list", columns=("key", "version", "state", "suite", "changed_us"))
def list_keys(session: Session) -> Any:
    """List keys and their versions.

    Example: guard keys list
    """
    rows = [{"key": key["key"], **version} for key in session.call("keys.list")["data"] for version in key["versions"]]
    return {"data": rows}


@verb(group, "show")
def show(session: Session, key: str) -> Any:
    """Show one key.

    Example: guard keys show customers.email
    """
    return session.call("keys.read", key=key)


@verb(group, "create")
def create(session: Session, key: str, suite: Annotated[str, typer.Option(help="cbl256 or siv")] = "cbl256") -> Any:
    """Make a key of a new name; fields get theirs by themselves.

    Example: guard keys create orders.archive
    """
    return session.call("keys.create", key=key, suite=suite)


@verb(group, "versions", columns=("version", "state", "compromised", "sealed", "opened_us", "created_us", "destroy_us"))
def versions(session: Session, key: str) -> Any:
    """List the versions of a key with their states, dates and uses; destroyed ones too.

    Example: guard keys versions customers.email
    """
    return session.call("keys.versions", key=key)


@verb(group, "rotate")
def rotate(
    session: Session,
    key: str,
    activate: Annotated[bool, typer.Option(help="seal with it at once; else after guard keys activate")] = True,
) -> Any:
    """Make a new version; older versions still open what they sealed.

    Example: guard keys rotate customers.email
    """
    return session.call("keys.rotate", key=key, activate=activate)


@verb(group, "activate")
def activate(session: Session, key: str, version: int) -> Any:
    """Seal with a version that was made with --no-activate.

    Example: guard keys activate customers.email 2
    """
    return session.call("keys.activate", key=key, version=version)


@verb(group, "retire")
def retire(session: Session, key: str, version: int) -> Any:
    """Retire a version that no registered value uses any more.

    Example: guard keys retire customers.email 1
    """
    return session.call("keys.retire", key=key, version=version)


@verb(group, "restore")
def restore(session: Session, key: str, version: int) -> Any:
    """Take back one step: a destruction inside its window, or else a retirement.

    Example: guard keys restore customers.email 1
    """
    known = session.call("keys.versions", key=key)["data"]
    found: dict[str, Any] = next((one for one in known if one["version"] == version), {})
    ending = found.get("state") == "destroy_pending" or (found.get("state") == "retired" and found.get("asked_by"))
    return session.call("keys.cancel_destroy" if ending else "keys.restore", key=key, version=version)


@verb(group, "destroy")
def destroy(
    session: Session,
    key: str,
    version: int,
    days: Annotated[int, typer.Option(help="within which it can be taken back, 7 to 30")] = 30,
    approve: Annotated[bool, typer.Option("--approve", help="as the second person")] = False,
) -> Any:
    """Ask for the destruction of a retired version, or approve it as a second person; it comes after the window.

    Example: guard keys destroy customers.email 1 --days 7
    """
    if approve:
        return session.call("keys.approve_destroy", key=key, version=version)
    return session.call("keys.destroy", key=key, version=version, days=days)


@verb(group, "compromise")
def compromise(session: Session, key: str, version: int) -> Any:
    """Mark a version as known to others: it is replaced at once, and its values are sealed anew before all else.

    Example: guard keys compromise customers.email 1
    """
    return session.call("keys.compromise", key=key, version=version)


@verb(group, "census", columns=("source", "column", "version", "state", "count"))
def census(session: Session, field: Annotated[str, typer.Option(help="one field; default: all")] = "") -> Any:
    """Count sealed values by key version in every registered column.

    Example: guard keys census
    """
    return session.call("censuses.run", field=field)


@verb(group, "reencrypt")
def reencrypt(
    session: Session,
    source: str,
    field: str,
    wait: Annotated[bool, typer.Option(help="follow the job to its end")] = True,
    rate: Annotated[int, typer.Option(help="rows per second; 0: as fast as it goes")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="open and seal everything, change nothing")] = False,
) -> Any:
    """Seal a column anew under the newest version; resumable, verified value by value. Exit 8 where some did not open.

    Example: guard keys reencrypt customers customers.email
    """
    job = session.call("reencryptions.create", source=source, field=field, rows_per_second=rate, dry_run=dry_run)
    if not wait:
        return job
    view = follow(session, job["job"])
    session.show(view)
    raise typer.Exit(PARTIAL if view["failed"] else 0)


@verb(group, "jobs", columns=("job", "state", "changed", "failed", "total", "detail"))
def jobs(session: Session) -> Any:
    """List re-encryption jobs.

    Example: guard keys jobs
    """
    return session.call("reencryptions.list")


@verb(group, "pause")
def pause(session: Session, job: str) -> Any:
    """Pause a job after its current batch.

    Example: guard keys pause job_0198
    """
    return session.call("reencryptions.pause", job=job)


@verb(group, "resume")
def resume(session: Session, job: str) -> Any:
    """Go on with a paused job.

    Example: guard keys resume job_0198
    """
    return session.call("reencryptions.resume", job=job)


@verb(group, "cancel")
def cancel(session: Session, job: str) -> Any:
    """End a job; what it sealed anew stays so.

    Example: guard keys cancel job_0198
    """
    return session.call("reencryptions.cancel", job=job)


def follow(session: Session, job: str) -> dict[str, Any]:
    """Wait for a job, with a bar on a terminal; Ctrl-C leaves the job running."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("re-encrypting", total=None)
        while True:
            view = session.call("reencryptions.read", job=job)
            what = f"{view['state']}, pass {view['passes']}, {view['changed']} changed. {view['detail']}".strip(". ")
            progress.update(bar, total=view["total"] or None, completed=view["examined"], description=what)
            if view["state"] not in {"planned", "running", "verifying"}:
                return view
            time.sleep(POLL_SECONDS)
