"""What every verb shares: where the server is, how answers are shown, how errors end.

Law: data on stdout, all else on stderr; with `-o json` both are JSON, and an error carries its code. No traceback
reaches a person, and no secret an argument list.
"""

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guard.client import Client, discover
from guard.errors import GuardError, Kind

EXIT = {
    Kind.MALFORMED: 2,
    Kind.INVALID: 2,
    Kind.TOO_LARGE: 2,
    Kind.UNSUPPORTED_MEDIA: 2,
    Kind.NOT_FOUND: 3,
    Kind.METHOD_NOT_ALLOWED: 3,
    Kind.GONE: 3,
    Kind.UNAUTHENTICATED: 4,
    Kind.DENIED: 5,
    Kind.CONFLICT: 6,
    Kind.LOCKED: 6,
    Kind.PRECONDITION: 6,
    Kind.PRECONDITION_MISSING: 6,
    Kind.VERIFICATION: 7,
    Kind.UNREACHABLE: 69,
    Kind.RATE_LIMITED: 75,
    Kind.UNAVAILABLE: 75,
    Kind.FULL: 75,
    Kind.INTERNAL: 1,
}
WHOLE = frozenset({"id", "handle", "run", "job", "key", "value", "name"})
PARTIAL = 8
INTERRUPTED = 130
# Control characters, and those that turn the direction of text: what a stranger put into a log steers no terminal.
STEERING = "\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069"
IN_TEXT = re.compile(f"[\x00-\x1f{STEERING}]")
IN_JSON = re.compile(f"[{STEERING}]")  # JSON itself escapes those below 0x20


class Output(StrEnum):
    """How answers are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


HomeOption = Annotated[
    Path | None, typer.Option("--home", help="guard's directory; default: GUARD_HOME or the nearest .guard")
]
ProfileOption = Annotated[str, typer.Option("--as", help="whose token to use: client or admin")]
OutputOption = Annotated[Output | None, typer.Option("-o", "--output", help="table, json or jsonl")]
COMMON = {"home": (HomeOption, None), "profile": (ProfileOption, "client"), "output": (OutputOption, None)}


class Session:
    """One run of one verb."""

    def __init__(self, home: Path | None, profile: str, output: Output | None) -> None:
        self.home = home
        self.profile = profile
        self.output = output or (Output.TABLE if sys.stdout.isatty() else Output.JSON)

    def client(self) -> Client:
        """The SDK client of the chosen home and profile."""
        return Client(discover(self.home, self.profile))

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """One operation."""
        with self.client() as client:
            return client.call(operation, **members)

    def show(self, answer: Any, columns: Sequence[str] = ()) -> None:
        """Write an answer to stdout."""
        rows = answer["data"] if isinstance(answer, Mapping) and isinstance(answer.get("data"), list) else None
        if self.output is Output.JSONL and rows is not None:
            for row in rows:
                print(_json(row))
        elif self.output is not Output.TABLE:
            print(_json(answer, indent=None if self.output is Output.JSONL else 2))
        elif rows is not None:
            _print_rows(rows, columns)
        else:
            _print_members(answer)

    def say(self, text: str) -> None:
        """Tell the person something that is no data."""
        print(text, file=sys.stderr, flush=True)

    def fail(self, error: GuardError) -> NoReturn:
        """Say what is wrong and end with the exit status of its kind."""
        if self.output is Output.TABLE:
            self.say(inert(f"guard: {error.detail}" + (f" {error.hint}" if error.hint else "") + f" [{error.code}]"))
            told = _details(error)
            for item in told if len(told) > 1 or not _said(error) else ():
                self.say(inert(f"  {item}"))
        else:
            members = {"code": error.code, "title": error.title, "detail": error.detail, "hint": error.hint}
            self.say(_json(members | error.extra))
        raise typer.Exit(EXIT[error.kind])


def verb(
    group: typer.Typer, name: str, *, columns: Sequence[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function `(session, ...) -> answer or None` as a verb with the common options and error handling."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*, home: Path | None, profile: str, output: Output | None, **given: Any) -> None:
            session = Session(home, profile, output)
            try:
                answer = function(session, **given)
                if answer is not None:
                    session.show(answer, columns)
                sys.stdout.flush()
            except GuardError as error:
                session.fail(error)
            except KeyboardInterrupt:
                session.say("guard: interrupted; nothing that was acknowledged is lost.")
                raise typer.Exit(INTERRUPTED) from None
            except BrokenPipeError:
                # The reader is gone (`| head`); what is still buffered must not fail again when the process ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(0) from None

        signature = inspect.signature(function)
        own = [p.replace(kind=p.KEYWORD_ONLY) for p in list(signature.parameters.values())[1:]]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in COMMON.items()
            if name not in signature.parameters
        ]
        parameters = sorted([*own, *shared], key=lambda p: p.default is not p.empty)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__doc__ = function.__doc__
        group.command(name)(run)
        return function

    return register


def _print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    if not rows:
        print("(none)")
        return
    names = [name for name in columns or rows[0] if name in rows[0]]
    table = Table(box=None, pad_edge=False)
    for name in names:  # an id that is cut short can be given to no other verb
        table.add_column(name, overflow="fold", no_wrap=name in WHOLE)
    for row in rows:
        table.add_row(*(Text(_text(name, row[name])) for name in names))  # plain: brackets in a value are no markup
    Console().print(table)


def _print_members(answer: Any) -> None:
    if not isinstance(answer, Mapping):
        print(inert(str(answer)))
        return
    width = max((len(name) for name in answer), default=0)
    for name, value in answer.items():
        print(f"{name:<{width}}  {_text(name, value)}")


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_us") and isinstance(value, int):
        return _time(value)
    if isinstance(value, list | dict):
        return _json(value)
    return inert(str(value))


def inert(text: str) -> str:
    """*text* with each control character shown as its number."""
    return IN_TEXT.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _time(value_us: int) -> str:
    from datetime import UTC, datetime  # here, since most verbs print no time

    if value_us >= 1 << 61:
        return "for good"
    return datetime.fromtimestamp(value_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _said(error: GuardError) -> bool:
    """Whether the sentence has named the first of the errors already."""
    found = error.extra.get("errors")
    first = found[0] if isinstance(found, list) and found else None
    return isinstance(first, Mapping) and f"{first.get('pointer')}: {first.get('message')}" in error.detail


def _details(error: GuardError) -> list[str]:
    found = error.extra.get("errors") or error.extra.get("findings") or []
    if not isinstance(found, list):
        return []
    return [
        " ".join(str(value) for value in item.values()) if isinstance(item, Mapping) else str(item) for item in found
    ]
