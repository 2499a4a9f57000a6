"""What the records themselves must keep: canonical form, dense numbers in each tenant, one outcome of an intent.

Law: numbers of a tenant are dense, so a hole is a removed record (RFC 8785 fixes the bytes of a record). No I/O.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from .report import Report

MAX_SHAPES, MAX_ACTIONS = 8, 1000  # compiling a shape costs a hundred parses

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_FORMS = {"id": f'"({_UUID})"', "intent": f'"({_UUID})"', "phase": '"(event|intent|outcome|unknown|late)"', "v": "1"}
_FORMS |= {"action": '"[^"]+"', "salt": '"[A-Za-z0-9_-]{22}"', "tenant": '"([^"]+)"', "time": f'"{_TIME}"'}
_ESCAPED = bytes(range(32)) + b"\\"  # what a canonical string cannot hold, or holds with an escape only


def canonical(text: str) -> Any:
    """The value of canonical JSON without floats: int() takes neither fraction nor exponent nor NaN."""
    value = json.loads(text, parse_float=int, parse_constant=int)
    if json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) != text:
        raise ValueError("canonical JSON was expected")
    return value


def record_of(text: str) -> tuple[dict[str, Any], int]:
    """The body and number of an entry, if it is a canonical record of version 1."""
    entry = canonical(text)
    body = entry.get("b") if type(entry) is dict and set(entry) == {"b", "n"} else None
    if type(body) is not dict or type(entry["n"]) is not int or entry["n"] < 0:
        raise ValueError('the form {"b":{...},"n":...} was expected')
    forms = {name: form for name, form in _FORMS.items() if name != "intent" or name in body}
    wrong = [name for name, form in forms.items() if not re.fullmatch(form, json.dumps(body.get(name)))]
    if wrong:
        raise ValueError(f"a record of version 1 was expected; look at {', '.join(wrong)}")
    return body, entry["n"]


def _shape(value: Any, forms: dict[str, str]) -> str:
    """A pattern for canonical JSON without escapes that has the same keys and types as `value`."""
    if type(value) is dict:
        keys = {key: forms.get(key) or _shape(item, {}) for key, item in value.items()}
        return rf"\{{{','.join(f'{re.escape(json.dumps(key))}:{shape}' for key, shape in keys.items())}\}}"
    if type(value) is list:
        return rf"\[{','.join(_shape(item, {}) for item in value)}\]"
    kinds = {str: '"[^"]*+"', bool: "(?:true|false)", type(None): "null"}
    return kinds.get(type(value), "(?:0|-?[1-9][0-9]{0,14}+)")


class Ledger:
    """Numbers are dense in each tenant, and each intent has at most one outcome.

    A record of a new shape is parsed. One that fits a known shape is as good as the first, at a fifth of the cost.
    """

    def __init__(self, report: Report) -> None:
        self.report, self.add = report, report.add
        self.next, self.intents = dict[str, int](), dict[str, bool]()  # number per tenant; id: whether it is open
        self.shapes: dict[str, list[Callable[[str], re.Match[str] | None]]] = {}

    def _facts(self, raw: bytes, *, plain: bool) -> Sequence[Any]:
        """Id, the intent if it closes one, phase, tenant and number of an entry."""
        text, plain = raw.decode(), plain or not any(mark in raw for mark in _ESCAPED)
        shapes = self.shapes.get(action := text[: text.find(",")], [])
        for fits in shapes if plain else ():
            if found := fits(text):
                return found.groups()
        body, n = record_of(text)
        if plain and len(shapes) < MAX_SHAPES and len(self.shapes) < MAX_ACTIONS:
            pattern = rf'\{{"b":{_shape(body, _FORMS)},"n":(0|[1-9][0-9]{{0,14}})\}}'
            self.shapes[action] = [*shapes, re.compile(pattern).fullmatch]
        return *(body[name] for name in ("id", "intent", "phase", "tenant") if name in body), n

    def read(self, entries: Sequence[bytes], first: int, path: str) -> None:
        """Take the next entries; `first` is the index of the first of them, `path` the file to blame."""
        whole, since = b"".join(entries), self.report.counts["since"]
        plain = not any(mark in whole for mark in _ESCAPED)
        for index, raw in enumerate(entries, first):
            try:
                record, *intent, phase, tenant, number = self._facts(raw, plain=plain)
            except (ValueError, RecursionError) as error:
                self.add(path, f"entry {index}: {error}", index)
                continue
            n = int(number)
            want, self.next[tenant] = self.next.get(tenant, n if since else 0), n + 1  # `since` hides earlier numbers
            if n != want:
                self.add(path, f"entry {index} has number {n} of {tenant}, not {want}: a record is missing", index)
            if (phase != "event" or intent) and (fault := self._pair(record, phase, "".join(intent))):
                self.add(path, f"entry {index} {fault}", index)

    def _pair(self, record: str, phase: str, intent: str) -> str:
        if bool(intent) != (phase in {"outcome", "unknown", "late"}):
            return "must name an intent if it closes one, and not otherwise"
        known, self.intents[intent or record] = self.intents.get(intent), not intent
        if intent and known is None and not self.report.counts["since"]:
            return f"closes the intent {intent}, which was not logged before it"
        return f"is a second outcome of the intent {intent}" if known is False and phase != "late" else ""
