"""JSON lines in, JSON lines out: what `guard tokens issue | reveal | revoke` share.

Law: one answer for each line, in order; a bad line is answered with one problem that names it, and the others go on. A
line that is refused shows nothing of what it held.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import typer

from guard.cli.session import PARTIAL, Output, Session
from guard.client import Client
from guard.errors import GuardError, InvalidInput, Kind

MAX_ITEMS = 200  # in one request, as the server takes them
MAX_LINE_BYTES = 64 * 1024  # a value of 4096 characters, each written as twelve, and the names around it
OF_A_LINE = frozenset({Kind.MALFORMED, Kind.INVALID, Kind.DENIED, Kind.NOT_FOUND, Kind.TOO_LARGE, Kind.GONE})
"""Kinds of errors that a single line can cause; with any other, the next line would fail as well."""

Call = Callable[..., dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line's number, and its object or what is wrong with it."""

    number: int
    item: dict[str, Any]
    error: GuardError | None = None


def exchange(session: Session, operation: str, **members: Any) -> None:
    """Answer every line of standard input; ends with 8 where one of them has a problem.

    Raises:
        GuardError: nothing can be asked: no server, no valid token.
    """
    session.output, failed = Output.JSONL, False
    with session.client() as client:
        for batch in _batches(read(sys.stdin.buffer)):
            answers = answered(client, operation, members, batch)
            failed = failed or any("problem" in one for one in answers)
            session.show({"data": answers})
            sys.stdout.flush()
    if failed:
        raise typer.Exit(PARTIAL)


def answered(client: Client, operation: str, members: dict[str, Any], batch: list[Line]) -> list[dict[str, Any]]:
    """One answer for each line of *batch*."""
    good = [line for line in batch if line.error is None]
    results = dict(zip((line.number for line in good), _asked(client, operation, members, good), strict=True))
    return [
        _numbered(line, {"problem": _problem(line.error)} if line.error else results[line.number]) for line in batch
    ]


def read(source: BinaryIO) -> Iterator[Line]:
    """The lines of *source*; empty ones are left out, but counted."""
    number = 0
    while raw := source.readline(MAX_LINE_BYTES):
        number += 1
        rest, too_long = raw, len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n")
        while rest and not rest.endswith(b"\n"):
            rest = source.readline(MAX_LINE_BYTES)
        if raw.strip() or too_long:
            yield _parsed(number, raw, too_long=too_long)


def _parsed(number: int, raw: bytes, *, too_long: bool) -> Line:
    wrong = f"Expected a line of at most {MAX_LINE_BYTES} bytes, got a longer one; shorten it."
    try:
        item = {} if too_long else json.loads(raw.decode())
        json.dumps(item, allow_nan=False)  # NaN, and a number that is read as infinite, would end the whole request
    except (ValueError, RecursionError):
        item, too_long, wrong = {}, True, "Expected a JSON object in UTF-8 on one line, got another text; correct it."
    if not isinstance(item, dict):
        item, too_long, wrong = {}, True, "Expected a JSON object on the line, got another value; put it into one."
    return Line(number, item, InvalidInput(wrong) if too_long else None)


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    for line in lines:
        batch.append(line)
        if len(batch) == MAX_ITEMS:
            yield batch
            batch = []
    if batch:
        yield batch


def _asked(client: Client, operation: str, members: dict[str, Any], lines: list[Line]) -> list[dict[str, Any]]:
    if not lines:
        return []
    try:
        results: list[dict[str, Any]] = client.call(operation, items=[line.item for line in lines], **members)[
            "results"
        ]
    except GuardError as error:
        if error.kind not in OF_A_LINE:
            raise
        if len(lines) == 1:
            return [{"problem": _problem(error)}]
        # One line spoils the request: halves find it in few calls, and the good ones are done once only.
        half = len(lines) // 2
        first = _asked(client, operation, members, lines[:half])
        return first + _asked(client, operation, members, lines[half:])
    return results


def _problem(error: GuardError) -> dict[str, Any]:
    found = error.extra.get("errors")
    faults = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    more = [f"{str(one.get('pointer')).removeprefix('/items/0')}: {one.get('message')}" for one in faults]
    return {"code": error.code, "title": error.title, "detail": " ".join([error.detail, *more])}


def _numbered(line: Line, answer: dict[str, Any]) -> dict[str, Any]:
    return {"line": line.number, **answer} if "problem" in answer else answer
