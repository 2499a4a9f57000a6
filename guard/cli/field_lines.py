"""Fields as JSON lines: `{tenant, field, subject, row, value | sealed}` in, one object per line out, in the same order.

Law: a bad line costs itself only. It is answered with one problem object that names its number and repeats no value,
and the command goes on, to end with 8 when all is done; only a server that is not there stops it.
"""

import base64
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import typer

from guard.cli.session import PARTIAL, Session
from guard.client import Client
from guard.errors import GuardError, InvalidInput, Kind

BATCH = 400
MAX_LINE_BYTES = 3 << 20  # a value of 1 MiB in JSON escapes and its names
STOPS = frozenset({Kind.UNREACHABLE, Kind.UNAUTHENTICATED, Kind.UNAVAILABLE, Kind.RATE_LIMITED, Kind.INTERNAL})
MEMBERS = frozenset({"tenant", "field", "subject", "row", "value", "sealed", "index", "version"})


@dataclass(frozen=True, slots=True)
class Verb:
    """How a line becomes an item of an operation, and a result a line again."""

    operation: str
    given: str
    common: Mapping[str, Any]
    item: Callable[[Mapping[str, Any]], dict[str, Any]]
    answer: Callable[[Mapping[str, Any]], dict[str, Any]]


def sealing() -> Verb:
    """`value` becomes `sealed`."""
    return Verb(
        "fields.encrypt",
        "value",
        {},
        lambda line: _bound(line) | {"plaintext": base64.b64encode(line["value"].encode()).decode()},
        lambda result: {"sealed": result["ciphertext"], "version": result["key_version"]},
    )


def opening(purpose: str) -> Verb:
    """`sealed` becomes `value`."""
    return Verb("fields.decrypt", "sealed", {"purpose": purpose}, _sealed, _value)


def sealing_anew() -> Verb:
    """`sealed` becomes `sealed` under the newest version."""
    return Verb(
        "fields.reencrypt",
        "sealed",
        {},
        _sealed,
        lambda result: {"sealed": result["ciphertext"], "version": result["key_version"]},
    )


def searching(purpose: str) -> Verb:
    """`value` becomes what to look for in the column, under every live version."""
    return Verb(
        "fields.search",
        "value",
        {"purpose": purpose},
        lambda line: {name: line[name] for name in ("field", "value", "index") if name in line},
        dict,
    )


def run(session: Session, verb: Verb) -> None:
    """Answer every line of standard input; raises typer.Exit(8) at the end where some were bad."""
    numbered = enumerate(iter(lambda: sys.stdin.buffer.readline(MAX_LINE_BYTES), b""), 1)
    bad = 0
    with session.client() as client:
        tenant = client.call("actors.whoami")["tenant"]
        while batch := list(islice(numbered, BATCH)):
            for answer in _batch(client, verb, tenant, batch):
                bad += "problem" in answer
                print(json.dumps(answer, ensure_ascii=False))
    if bad:
        sys.stdout.flush()
        raise typer.Exit(PARTIAL)


def _batch(client: Client, verb: Verb, tenant: str, batch: Iterable[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
    read = [(number, _line(raw, verb.given, tenant)) for number, raw in batch if raw.strip()]
    good = [line for _, line in read if not isinstance(line, GuardError)]
    results = iter(_ask(client, verb, good))
    for number, line in read:
        if isinstance(line, GuardError):
            yield {"line": number, "problem": _problem(line)}
            continue
        result = next(results)
        kept = {name: line[name] for name in ("tenant", "field", "subject", "row") if name in line}
        if "problem" in result:
            yield {"line": number} | kept | {"problem": result["problem"]}
        else:
            yield {"tenant": tenant} | kept | verb.answer(result)


def _ask(client: Client, verb: Verb, lines: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A result for each line; a refusal of the whole batch is looked for line by line."""
    if not lines:
        return []
    try:
        items = [verb.item(line) for line in lines]
        results: list[dict[str, Any]] = client.call(verb.operation, items=items, **verb.common)["results"]
    except GuardError as error:
        if error.kind in STOPS:
            raise
        if len(lines) == 1:
            return [{"problem": _problem(error)}]
        return [result for line in lines for result in _ask(client, verb, [line])]
    return results


def _line(raw: bytes, given: str, tenant: str) -> Mapping[str, Any] | GuardError:
    try:
        line = json.loads(raw)
    except ValueError:  # UnicodeDecodeError is one
        return InvalidInput("Expected one JSON object in a line of UTF-8, got something else; write it anew.")
    if not isinstance(line, dict) or not line.keys() <= MEMBERS or not {"field", given} <= line.keys():
        return InvalidInput(
            f"Expected an object with field and {given}, and beside them only {', '.join(sorted(MEMBERS))}; correct it."
        )
    if not all(type(value) is (int if name == "version" else str) for name, value in line.items()):
        return InvalidInput("Expected text in every member, and a number in version, got another type; correct it.")
    if line.get("tenant", tenant) != tenant:
        return InvalidInput("Expected your token's own tenant, got another; use a token of that tenant.")
    return line


def _bound(line: Mapping[str, Any]) -> dict[str, Any]:
    return {"field": line["field"], "context": {name: line[name] for name in ("row", "subject") if name in line}}


def _sealed(line: Mapping[str, Any]) -> dict[str, Any]:
    # A value that keeps its format has no header; what sealed it stands beside it, as encrypting answered.
    version = {"key_version": line["version"]} if "version" in line else {}
    return _bound(line) | {"ciphertext": line["sealed"]} | version


def _value(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": base64.b64decode(result["plaintext"]).decode("utf-8", "backslashreplace")}


def _problem(error: GuardError) -> dict[str, str]:
    return {"code": error.code, "title": error.title, "detail": error.detail}
