"""JSON lines in, JSON lines out: the one reader of every verb that takes them.

Law: one answer for each line, in order; a bad line is answered with one problem that names it and shows nothing of what it
held, and the others go on, each done once. Only what would fail for the next line as well stops a command.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from guard.errors import GuardError, InvalidInput, Kind

MAX_LINE_BYTES = 3 << 20  # a value of 1 MiB in JSON escapes and its names
STOPS = frozenset(
    {Kind.UNREACHABLE, Kind.UNAUTHENTICATED, Kind.UNAVAILABLE, Kind.RATE_LIMITED, Kind.FULL, Kind.INTERNAL}
)
"""Kinds of errors that no single line causes."""

Item = dict[str, Any]
Ask = Callable[[Sequence["Line"]], list[Item]]
"""`ask(lines)`: the results of one request for these lines, in order."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line's number, and its object or what is wrong with it."""

    number: int
    item: Item
    error: GuardError | None = None


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
    if too_long:
        return Line(number, {}, InvalidInput(f"Expected a line of at most {MAX_LINE_BYTES} bytes; shorten it."))
    try:
        item = json.loads(raw.decode())
        json.dumps(item, allow_nan=False)  # NaN, and a number that is read as infinite, would end the whole request
    except (ValueError, RecursionError):
        wrong = "Expected a JSON object in UTF-8 on one line, got another text; correct it."
        return Line(number, {}, InvalidInput(wrong))
    if not isinstance(item, dict):
        return Line(number, {}, InvalidInput("Expected a JSON object on the line, got another value; put it into one."))
    return Line(number, item)


def batches(lines: Iterable[Line], size: int) -> Iterator[list[Line]]:
    """Lines, so many at a time."""
    rest = iter(lines)
    while batch := list(islice(rest, size)):
        yield batch


def answered(ask: Ask, batch: Sequence[Line]) -> list[tuple[Line, Item]]:
    """Each line with its result, or with its problem and its number.

    Raises:
        GuardError: of a kind that no single line causes.
    """
    good = [line for line in batch if line.error is None]
    results = dict(zip((line.number for line in good), _asked(ask, good), strict=True))
    return [(line, _numbered(line, _result(line, results))) for line in batch]


def _result(line: Line, results: Mapping[int, Item]) -> Item:
    return {"problem": problem(line.error)} if line.error else results[line.number]


def _asked(ask: Ask, lines: Sequence[Line]) -> list[Item]:
    if not lines:
        return []
    try:
        return ask(lines)
    except GuardError as error:
        if error.kind in STOPS:
            raise
        if len(lines) == 1:
            return [{"problem": problem(error)}]
    # One line spoils the request: halves find it in few calls, and the good ones are done once only.
    half = len(lines) // 2
    return _asked(ask, lines[:half]) + _asked(ask, lines[half:])


def problem(error: GuardError) -> Item:
    """An error as the problem of a line; what does not fit its schema is named by the members of the line."""
    found = error.extra.get("errors")
    faults = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    told = " ".join(
        f"{str(one.get('pointer')).removeprefix('/items/0') or '/'}: {one.get('message')}" for one in faults
    )
    detail = f"The line does not fit. {told}" if told else error.detail
    return {"code": error.code, "title": error.title, "detail": detail}


def _numbered(line: Line, answer: Item) -> Item:
    return {"line": line.number, **answer} if "problem" in answer else answer
