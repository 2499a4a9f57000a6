"""What `guard tokens issue | reveal | revoke` share: JSON lines that are items of one operation as they stand."""

import sys
from functools import partial
from typing import Any

import typer

from guard.cli.lines import Item, Line, answered, batches, read
from guard.cli.session import PARTIAL, Output, Session
from guard.client import Client

MAX_ITEMS = 200  # in one request, as the server takes them


def exchange(session: Session, operation: str, **members: Any) -> None:
    """Answer every line of standard input; ends with 8 where one of them has a problem.

    Raises:
        GuardError: nothing can be asked: no server, no valid token.
    """
    session.output, failed = Output.JSONL, False
    with session.client() as client:
        for batch in batches(read(sys.stdin.buffer), MAX_ITEMS):
            answers = [answer for _, answer in answered(partial(ask, client, operation, members), batch)]
            failed = failed or any("problem" in one for one in answers)
            session.show({"data": answers})
            sys.stdout.flush()
    if failed:
        raise typer.Exit(PARTIAL)


def ask(client: Client, operation: str, members: dict[str, Any], lines: list[Line]) -> list[Item]:
    """The results of one request for these lines."""
    results: list[Item] = client.call(operation, items=[line.item for line in lines], **members)["results"]
    return results
