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


@verb(group, "rotate")
def rotate(session: Session, key: str) -> Any:
    """Make a new version; older versions still open what they sealed.

    Example: guard keys rotate customers.email
    """
    return session.call("keys.rotate", key=key)


@verb(group, "retire")
def retire(session: Session, key: str, version: int) -> Any:
    """Retire a version that no registered value uses any more.

    Example: guard keys retire customers.email 1
    """
    return session.call("keys.retire", key=key, version=version)


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
) -> Any:
    """Seal a column anew under the newest version; resumable, verified value by value. Exit 8 where some did not open.

    Example: guard keys reencrypt customers customers.email
    """
    job = session.call("reencryptions.create", source=source, field=field)
    if not wait:
        return job
    view = follow(session, job["job"])
    session.show(view)
    raise typer.Exit(PARTIAL if view["failed"] else 0)


@verb(group, "jobs", columns=("job", "state", "changed", "failed", "total"))
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


def follow(session: Session, job: str) -> dict[str, Any]:
    """Wait for a job, with a bar on a terminal; Ctrl-C leaves the job running."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("re-encrypting", total=None)
        while True:
            view = session.call("reencryptions.read", job=job)
            progress.update(bar, total=view["total"] or None, completed=view["examined"])
            if view["state"] != "running":
                return view
            time.sleep(POLL_SECONDS)
