"""`guard verify`: checks a log directory, export or archive offline, with the same code that evidence carries."""

import contextlib
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from guard.cli.session import Output, Session, verb
from guard.errors import InvalidInput

UNUSABLE = 2


def register(app: typer.Typer) -> None:
    """Add the verb to *app*."""
    verb(app, "verify")(verify)


def verify(
    session: Session,
    path: Path,
    vkey: Annotated[
        list[str] | None, typer.Option(help="a key of the log, where its own policy.txt is not trusted")
    ] = None,
    since: Annotated[Path | None, typer.Option(help="an earlier checkpoint that this log must extend")] = None,
    policy: Annotated[Path | None, typer.Option(help="keys, witnesses and quorum that you hold (tlog-policy)")] = None,
    ranges: Annotated[Path | None, typer.Option(help="which key may sign which sizes, as you hold it")] = None,
    min_index: Annotated[int, typer.Option(min=0, help="where a pruned log begins, as you know it from elsewhere")] = 0,
    replaces: Annotated[Path | None, typer.Option(help="copy of the log that this one replaced after a fork")] = None,
    receipt: Annotated[list[str] | None, typer.Option(help="receipt to judge by the log, or @FILE of some")] = None,
    tsa_ca: Annotated[Path | None, typer.Option(help="root certificates of the time-stamp authority, in PEM")] = None,
) -> None:
    """Verify a log directory, export or evidence bundle offline. Exit 0, or 7 with each fault named.

    Example: guard verify ./evidence
    """
    from guard.audit.verifier.command import main as check  # needs cryptography only, and nothing of the server

    arguments = [str(path)]
    arguments += [word for one in vkey or () for word in ("--vkey", one)]
    arguments += [word for one in receipt or () for word in ("--receipt", one)]
    for name, given in (
        ("--since", since),
        ("--policy", policy),
        ("--ranges", ranges),
        ("--replaces", replaces),
        ("--tsa-ca", tsa_ca),
    ):
        arguments += [name, str(given)] if given else []
    arguments += ["--min-index", str(min_index)] if min_index else []
    if session.output is Output.TABLE:
        raise typer.Exit(check(arguments))
    written, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.redirect_stderr(told):
        status = check([*arguments, "--json"])
    if status == UNUSABLE:
        raise InvalidInput(told.getvalue().removeprefix("verify: ").strip())
    text = written.getvalue()
    if text:
        print(json.dumps(json.loads(text), ensure_ascii=False))
    raise typer.Exit(status)
