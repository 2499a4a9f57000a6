"""`guard files encrypt | decrypt`: files of any size, sealed here under a leased key; their bytes are sent nowhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard.cli.session import Session, verb
from guard.client import Client
from guard.errors import InvalidInput

if TYPE_CHECKING:
    from guard.client.files import Progress

group = typer.Typer()
FieldOption = Annotated[
    str, typer.Option("--field", help="table.column, or tenant.table.column to be sure of the tenant")
]
Row = Annotated[str, typer.Option(help="the row that the file belongs to")]
Subject = Annotated[str, typer.Option(help="the person whom the file is about, where the field is bound to one")]
Replace = Annotated[bool, typer.Option("--replace", help="put it in place of a file that is there")]
Source = Annotated[Path, typer.Argument(metavar="IN", help="the file to read")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="the file to write; it appears when it is whole")]
PARTS_WITH_TENANT = 3


@verb(group, "encrypt")
def encrypt(
    session: Session,
    source: Source,
    target: Target,
    field: FieldOption,
    row: Row = "",
    subject: Subject = "",
    replace: Replace = False,
) -> Any:
    """Seal a file for a cell, in this process and in constant memory; at most 1 TiB.

    Example: guard files encrypt scan.pdf scan.sealed --field customers.email --row 17
    """
    with session.client() as client, _progress("sealing") as progress:
        name, cell = _field(client, field), _cell(row, subject)
        done = client.files.encrypt(source, target, name, progress=progress, replace=replace, **cell)
    return {"file": str(target), "field": name, "read": done.read, "written": done.written, "lease": done.lease}


@verb(group, "decrypt")
def decrypt(
    session: Session,
    source: Source,
    target: Target,
    field: FieldOption,
    purpose: Annotated[str, typer.Option(help="what it is read for, as the field's policy names it")],
    row: Row = "",
    subject: Subject = "",
    replace: Replace = False,
) -> Any:
    """Open a sealed file for a purpose; it appears only when its end is proved, and nothing of it before.

    Example: guard files decrypt scan.sealed scan.copy --field customers.email --row 17 --purpose billing
    """
    with session.client() as client, _progress("opening") as progress:
        name, cell = _field(client, field), _cell(row, subject)
        done = client.files.decrypt(source, target, name, purpose, progress=progress, replace=replace, **cell)
    return {"file": str(target), "field": name, "read": done.read, "written": done.written, "lease": done.lease}


def _field(client: Client, given: str) -> str:
    """The field's name; a tenant in front must be the caller's own."""
    tenant, _, name = given.partition(".")
    if given.count(".") != PARTS_WITH_TENANT - 1:
        return given
    own = client.call("actors.whoami")["tenant"]
    if tenant != own:
        raise InvalidInput(
            f"Expected a field of your own tenant {own}, got one of {tenant}; use a token of that tenant."
        )
    return name


def _cell(row: str, subject: str) -> dict[str, str]:
    return {name: value for name, value in (("row", row), ("subject", subject)) if value}


@contextmanager
def _progress(doing: str) -> Iterator["Progress | None"]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
