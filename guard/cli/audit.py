"""`guard audit ...`."""

import io
import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.session import Session, verb
from guard.errors import InvalidInput

group = typer.Typer()
TenantOption = Annotated[str, typer.Option(help="another tenant; needs a platform role")]


@verb(group, "list", columns=("index", "time_us", "actor", "action", "resource", "status", "code"))
def list_records(
    session: Session, action: str = "", actor: str = "", tenant: TenantOption = "~", limit: int = 50
) -> Any:
    """List records, newest first.

    Example: guard audit list --action fields.decrypt --as admin
    """
    return session.call("records.list", action=action, actor=actor, tenant=tenant, limit=limit)


@verb(group, "prove")
def prove(session: Session, index: int, tenant: TenantOption = "~") -> Any:
    """Give a record's exact bytes and its inclusion proof.

    Example: guard audit prove 17 --as admin
    """
    return session.call("records.prove", index=index, tenant=tenant)


@verb(group, "receipt")
def receipt(session: Session, receipt: str) -> Any:
    """Check a receipt, as the Guard-Audit-Receipt header of an answer gave it, and show where its record stands.

    Example: guard audit receipt AQGgxFBsAH9ih_I8CoP...
    """
    return session.call("receipts.verify", receipt=receipt)


@verb(group, "checkpoint")
def checkpoint(session: Session) -> Any:
    """Sign a checkpoint over everything committed so far.

    Example: guard audit checkpoint --as admin
    """
    return session.call("checkpoints.publish")


@verb(group, "inventory", columns=("operation", "effect", "recorded", "clear", "sealed", "route"))
def inventory(session: Session) -> Any:
    """List every operation and whether it leaves a record, with the reason where it does not. Needs no server.

    Example: guard audit inventory
    """
    del session
    from guard.catalogue import collect
    from guard.rooms import ROOMS  # the parts of the server, only here

    return {
        "data": [
            {
                "operation": item.name,
                "effect": item.effect.value,
                "recorded": f"no: {item.exempt}" if item.exempt else "yes",
                "clear": " ".join(item.audit),
                "sealed": " ".join(item.sealed),
                "route": f"{item.method} {item.path}" if item.path else "internal",
            }
            for item in collect(ROOMS).values()
        ]
    }


def unpack(content: bytes, directory: Path) -> None:
    """Write the members of an export, each below *directory*.

    Raises:
        InvalidInput: no zip archive, or a member that would leave the directory.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        raise InvalidInput("Expected a zip archive from the server, got another file; try again.") from None
    with archive:
        for member in archive.infolist():
            target = (directory / member.filename).resolve()
            if not target.is_relative_to(directory.resolve()):
                raise InvalidInput(
                    "Expected members below the directory, got one that leaves it; do not trust this file."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(member))
