"""Fields as JSON lines: `{tenant, field, subject, row, value | sealed}` in, one object per line out, in the same order.

Law: that of `lines`; a line that has an answer is told with its field, row and person, so that one verb's output is the
next one's input.
"""

import base64
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import typer

from guard.cli.lines import Item, Line, answered, batches, read
from guard.cli.session import PARTIAL, Session
from guard.client import Client
from guard.errors import InvalidInput

BATCH = 400
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
    bad = 0
    with session.client() as client:
        tenant = client.call("actors.whoami")["tenant"]
        for batch in batches(read(sys.stdin.buffer), BATCH):
            for line, answer in answered(partial(_ask, client, verb), [_checked(line, verb, tenant) for line in batch]):
                bad += "problem" in answer
                print(json.dumps(_told(verb, tenant, line, answer), ensure_ascii=False))
    if bad:
        sys.stdout.flush()
        raise typer.Exit(PARTIAL)


def _told(verb: Verb, tenant: str, line: Line, answer: Item) -> Item:
    if line.error is not None:  # whatever stands in it may stand in the wrong place
        return answer
    kept = {name: line.item[name] for name in ("tenant", "field", "subject", "row") if name in line.item}
    if "problem" in answer:
        return {"line": line.number} | kept | {"problem": answer["problem"]}
    return {"tenant": tenant} | kept | verb.answer(answer)


def _ask(client: Client, verb: Verb, lines: Sequence[Line]) -> list[Item]:
    items = [verb.item(line.item) for line in lines]
    results: list[Item] = client.call(verb.operation, items=items, **verb.common)["results"]
    return results


def _checked(line: Line, verb: Verb, tenant: str) -> Line:
    wrong = "" if line.error else _wrong(line.item, verb.given, tenant)
    return replace(line, error=InvalidInput(wrong)) if wrong else line


def _wrong(item: Item, given: str, tenant: str) -> str:
    if not item.keys() <= MEMBERS or not {"field", given} <= item.keys():
        names = ", ".join(sorted(MEMBERS))
        return f"Expected an object with field and {given}, and beside them only {names}; correct it."
    if not all(type(value) is (int if name == "version" else str) for name, value in item.items()):
        return "Expected text in every member, and a number in version, got another type; correct it."
    if item.get("tenant", tenant) != tenant:
        return "Expected your token's own tenant, got another; use a token of that tenant."
    return ""


def _bound(line: Mapping[str, Any]) -> dict[str, Any]:
    return {"field": line["field"], "context": {name: line[name] for name in ("row", "subject") if name in line}}


def _sealed(line: Mapping[str, Any]) -> dict[str, Any]:
    # A value that keeps its format has no header; what sealed it stands beside it, as encrypting answered.
    version = {"key_version": line["version"]} if "version" in line else {}
    return _bound(line) | {"ciphertext": line["sealed"]} | version


def _value(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": base64.b64decode(result["plaintext"]).decode("utf-8", "backslashreplace")}
