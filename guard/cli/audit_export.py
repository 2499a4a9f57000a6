"""`guard audit export`, `exports` and `cancel`: asks for an export, waits for it, and fetches it part by part.

Law: `checkpoint` comes last, so that a directory without one is unfinished; every part is compared with the manifest that
the log's key signed, and the leaf hashes with its root. An interrupted run is continued by the same command.
"""

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.audit import group, unpack
from guard.cli.session import Session, verb
from guard.client import Client
from guard.client.transfer import fetch
from guard.errors import Conflict, InvalidInput, VerificationFailed

__all__ = ["group"]
STATE = ".guard-export"
POLL_SECONDS, LONGEST_POLL_SECONDS = 0.1, 2.0  # each look is a record, so a long wait looks seldom
COLUMNS = ("id", "format", "state", "size", "matched", "done", "parts", "created_by", "created_us")

Progress = Callable[[str, int, int], None]


class Format(StrEnum):
    """What an export is written as."""

    TILES = "tiles"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    OCSF = "ocsf"
    CEF = "cef"
    RFC5424 = "rfc5424"


@verb(group, "export")
def export(
    session: Session,
    directory: Annotated[Path | None, typer.Argument(help="the same as --out")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="new or empty directory to write into")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="tiles is the whole log; the others take a filter")
    ] = Format.TILES,
    tenant: Annotated[str | None, typer.Option(help="records of this tenant only; ~ is your own")] = None,
    actor: Annotated[str | None, typer.Option(help="records of this actor only")] = None,
    action: Annotated[str | None, typer.Option(help="such as fields.decrypt, or fields.*")] = None,
    resource: Annotated[str | None, typer.Option(help="such as keys/customers.email, or keys/*")] = None,
    outcome: Annotated[str | None, typer.Option(help="ok, refused or unknown")] = None,
    since: Annotated[str | None, typer.Option("--from", help="from this day or time (UTC) on")] = None,
    until: Annotated[str | None, typer.Option("--to", help="before this day or time (UTC)")] = None,
    first: Annotated[int | None, typer.Option(help="from this index on")] = None,
    last: Annotated[int | None, typer.Option(help="before this index")] = None,
    prove: Annotated[list[int] | None, typer.Option("--prove", help="index of a record to prove by a file")] = None,
    purpose: Annotated[str, typer.Option(help="why; stands in the signed manifest")] = "",
) -> Any:
    """Write the log, or a part of it, into a new directory that verifies offline.

    Example: guard audit export ./evidence --prove 17 --as admin
    """
    folder = out or directory
    if folder is None or None not in {out, directory}:
        raise InvalidInput("Expected one directory to write into; give --out DIR.")
    wanted: dict[str, Any] = {
        "tenant": tenant,
        "actor": actor,
        "action": action,
        "resource": resource,
        "outcome": outcome,
    }
    wanted |= {"from_us": _micro(since), "to_us": _micro(until), "first": first, "last": last}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    request = {"format": form.value, "filter": chosen, "prove": prove or [], "purpose": purpose}
    with session.client() as client, _progress() as progress:
        view = _wait(client, _begin(client, folder, request), progress)
        _fetch(client, view, folder, progress)
    (folder / STATE).unlink()
    return {**view, "directory": str(folder)}


@verb(group, "exports", columns=COLUMNS)
def exports(session: Session) -> Any:
    """List exports and where they stand.

    Example: guard audit exports --as admin
    """
    return session.call("exports.list")


@verb(group, "cancel")
def cancel(session: Session, export: str) -> Any:
    """Cancel an export that is at work.

    Example: guard audit cancel exp_0198 --as admin
    """
    return session.call("exports.cancel", export=export)


def _begin(client: Client, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask for the export, or go on with the one that an earlier run of the same command left in *folder*."""
    state = folder / STATE
    if state.is_file():
        known = json.loads(state.read_text())
        if known.get("request") != request or known.get("url") != client.address.url:
            raise InvalidInput(
                f"Expected the request that {folder} was begun with, got another; choose a new directory."
            )
        return client.call("exports.read", export=known["export"])
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput(f"Expected an empty or new directory, got {folder} with files in it; choose another.")
    view = client.call("exports.create", **request)
    folder.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps({"export": view["id"], "url": client.address.url, "request": request}))
    return view


def _wait(client: Client, view: dict[str, Any], progress: Progress) -> dict[str, Any]:
    pause = POLL_SECONDS
    while view["state"] in {"frozen", "running"}:
        progress("writing", view["done"], view["parts"])
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_POLL_SECONDS)
        view = client.call("exports.read", export=view["id"])
    if view["state"] == "failed":
        raise VerificationFailed(f"Export {view['id']} failed: {view['detail']}")
    if view["state"] != "ready":
        raise Conflict(f"Expected export {view['id']} to become ready, but it is {view['state']}; start another one.")
    return view


def _fetch(client: Client, view: dict[str, Any], folder: Path, progress: Progress) -> None:
    from guard.audit.export import cut, leaf_tiles  # pure: needs no part of the server
    from guard.audit.tree import Edge

    edge, tiles = Edge(), view["format"] == Format.TILES
    frame = _file(client, folder, "exports.frame", "frame.zip", export=view["id"])
    manifest = _manifest(frame, view)
    for n in range(view["parts"]):
        progress("fetching", n, view["parts"])
        if tiles:
            part = _file(client, folder, "exports.part", f"{n:05d}.zip", export=view["id"], n=n)
            unpack(part.read_bytes(), folder)
            continue
        _part(client, view, folder, manifest["parts"][n], n)
        hashes = _file(client, folder, "exports.hashes", f"{n:05d}.hashes", export=view["id"], n=n).read_bytes()
        for path, tile in leaf_tiles(edge.size, hashes):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(tile)
        edge = edge.extend(cut(hashes))
    if not tiles and base64.b64encode(edge.root()).decode() != manifest["root"]:
        raise VerificationFailed("Expected leaf hashes that give the signed root, got others; nothing was finished.")
    unpack(frame.read_bytes(), folder)
    for fetched in (folder / f"{STATE}-files").iterdir():
        fetched.unlink()
    (folder / f"{STATE}-files").rmdir()


def _part(client: Client, view: dict[str, Any], folder: Path, listed: dict[str, Any], n: int) -> None:
    """Fetch a part, unless an earlier run has it whole."""
    path = folder / "parts" / Path(listed["path"]).name
    if not (path.is_file() and _digest(path) == listed["sha256"]):
        fetch(client, "exports.part", path, _pause, export=view["id"], n=n)
    if _digest(path) != listed["sha256"]:
        raise VerificationFailed(
            f"Expected {listed['path']} as the signed manifest lists it, got another; start again."
        )


def _file(client: Client, folder: Path, operation: str, name: str, **members: Any) -> Path:
    """Fetch what is taken apart afterwards; an earlier run may have it."""
    path = folder / f"{STATE}-files" / name
    if not path.is_file():
        fetch(client, operation, path, _pause, **members)
    return path


def _manifest(frame: Path, view: dict[str, Any]) -> dict[str, Any]:
    import zipfile

    with zipfile.ZipFile(frame) as archive:
        written = archive.read("manifest.json")
    if sha256(written).hexdigest() != view["manifest"]:
        raise VerificationFailed("Expected the manifest that the export is on record with, got another; start again.")
    found: dict[str, Any] = json.loads(written)
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _pause(attempt: int) -> None:
    time.sleep(0.25 * 2**attempt)


def _micro(text: str | None) -> int | None:
    """Microseconds UTC of a day or time; without an offset it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"Expected a day or time such as 2026-12-01 or 2026-12-01T10:30:00Z, got {text}.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("asking", total=None)
        yield lambda doing, done, total: bar.update(task, description=doing, completed=done, total=total)
