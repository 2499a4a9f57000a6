"""`guard audit bundle`: evidence in a matter as one file."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.audit_search import (
    AllowedOption,
    FromOption,
    OutcomeOption,
    ResourceOption,
    TenantOption,
    ToOption,
    filter_of,
)
from guard.cli.session import Session, verb
from guard.errors import InvalidInput

MatterOption = Annotated[str, typer.Option(help="id of the case, such as INC-2026-014; it stands in the log")]
IndexOption = Annotated[list[int] | None, typer.Option("--index", help="index of a record; may be given again")]
SearchOption = Annotated[bool, typer.Option("--search", help="also what the other options find, as guard audit search")]
OpenOption = Annotated[
    bool, typer.Option("--open", help="also the values that records only commit to; needs the right")
]
OutOption = Annotated[Path, typer.Option(help="the zip file to write; it must not exist")]


def register(group: typer.Typer) -> None:
    """Add the verb to *group*."""
    verb(group, "bundle")(bundle)


def bundle(
    session: Session,
    matter: MatterOption,
    out: OutOption,
    index: IndexOption = None,
    by_search: SearchOption = False,
    open_values: OpenOption = False,
    action: str = "",
    actor: str = "",
    resource: ResourceOption = "",
    outcome: OutcomeOption = "",
    allowed: AllowedOption = None,
    since: FromOption = "",
    until: ToOption = "",
    tenant: TenantOption = "~",
) -> Any:
    """Write records with their proofs, and who handled the matter, into one zip that `guard verify` checks offline.

    Example: guard audit bundle --matter INC-2026-014 --index 17 --out matter.zip --as admin
    """
    wanted = filter_of(action, actor, resource, outcome, allowed, since, until)
    if wanted and not by_search:
        raise InvalidInput("Expected --search with options that search, got them without; add it.")
    members = {"matter": matter, "tenant": tenant, "indexes": index or [], "open": open_values}
    if out.exists():
        raise InvalidInput(f"Expected a new file, got {out}, which is there; choose another name.")
    with session.client() as client:
        view = client.call("evidence.create", **members, **({"search": wanted} if by_search else {}))
        content = client.download("evidence.download", matter=matter, evidence=view["id"], tenant=tenant)
    try:
        # Whole records, for nobody else on this machine to read.
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise InvalidInput(f"Expected to write {out}, got: {error.strerror}; choose another place.") from None
    return {**view, "file": str(out)}
