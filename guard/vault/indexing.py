"""Sealed values together with the tokens of their indexes, in one answer.

Law: the tokens are computed by `fields.index_tokens`, through the gate: whoever may seal and may not compute tokens
gets the refusal, and the tokens are counted and recorded as if they had been asked for alone.
"""

import json
from binascii import a2b_base64
from collections.abc import Sequence
from typing import Any

from guard.catalogue import Context
from guard.vault.batches import Item, Results
from guard.vault.normalisers import MAX_CHARACTERS
from guard.vault.vault import Vault

MAX_ROW = 256


def indexed(ctx: Context, wanted: bool, items: Sequence[Item], results: Results) -> Results:
    """*results*, each with the tokens of its field's indexes where they are *wanted*.

    A compound index takes the other values from those items of the batch that have the same context.

    Raises:
        Denied: the caller may not compute tokens. SearchBudgetExceeded: he has computed too many.
    """
    if not wanted:
        return results
    vault = ctx.part(Vault)
    at = [
        place
        for place, (item, result) in enumerate(zip(items, results, strict=True))
        if "problem" not in result and vault.policy(item["field"]).indexes
    ]
    at = [place for place in at if len(_text(items[place])) <= MAX_CHARACTERS]  # a longer one is indexed by nothing
    if not at:
        return results
    rows = _rows(items)
    asked = [_asked(vault, items[place], rows[_row(items[place])]) for place in at]
    answers = ctx.call("fields.index_tokens", {"items": asked})["results"]
    for place, answer in zip(at, answers, strict=True):
        # A value without a form in an index is sealed all the same, and found by nothing there.
        lost = {"indexes": [], "missing": [one.name for one in vault.policy(items[place]["field"]).indexes]}
        results[place] = results[place] | (lost if "problem" in answer else answer)
    return results


def _rows(items: Sequence[Item]) -> dict[str, dict[str, str]]:
    """Values by field, of each context in the batch."""
    rows: dict[str, dict[str, str]] = {}
    for item in items:
        rows.setdefault(_row(item), {})[item["field"]] = _text(item)
    return rows


def _asked(vault: Vault, item: Item, row: dict[str, str]) -> dict[str, Any]:
    policy = vault.policy(item["field"])
    needed = {column for one in policy.indexes for column, _ in one.parts}
    found = {column: row.get(f"{policy.table}.{column}", "") for column in needed}
    others = {column: text for column, text in found.items() if 0 < len(text) <= MAX_CHARACTERS}
    asked: dict[str, Any] = {"field": item["field"], "value": _text(item), "values": others}
    bound = item["context"].get("row")
    return asked if bound in {None, ""} else asked | {"row": str(bound)[:MAX_ROW]}


def _row(item: Item) -> str:
    return json.dumps([item["field"].partition(".")[0], item["context"]], sort_keys=True)


def _text(item: Item) -> str:
    try:
        return a2b_base64(item["plaintext"]).decode()[: MAX_CHARACTERS + 1]
    except ValueError:  # also bytes that are no text: with a mark in place of each, two values would be one
        return ""
