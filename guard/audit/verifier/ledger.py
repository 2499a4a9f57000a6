"""What the records themselves must keep: canonical form, dense numbers in each tenant, one outcome of an intent.

Law: numbers of a tenant are dense, so a hole is a removed record (RFC 8785 fixes the bytes of a record). No I/O.

A record of a new shape is parsed. One that fits a known shape is as good as the first, at a tenth of the cost; what the
shape leaves open (digits of ids, times and salts) is checked for all records of a bundle at once.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from .report import Report

MAX_SHAPES, MAX_ACTIONS = 8, 1000  # compiling a shape costs a hundred parses

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_FORMS = {"id": f'"{_UUID}"', "intent": f'"{_UUID}"', "phase": '"(?:event|intent|outcome|unknown|late)"', "v": "1"}
_FORMS |= {"action": '"[^"]+"', "salt": '"[A-Za-z0-9_-]{22}"', "tenant": '"[^"]+"', "time": f'"{_TIME}"'}
_OPEN = {"id": '"([^"]{36})"()', "intent": '"([^"]{36})"', "phase": '"([a-z]+)"', "v": "1"}
_OPEN |= {"action": '"[^"]+"', "salt": '"([^"]{22})"', "tenant": '"([^"]+)"', "time": '"([^"]{27})"'}
_OPEN_CLOSING = _OPEN | {"id": '"([^"]{36})"'}
_ESCAPED = bytes(range(32)) + b"\\"  # what a canonical string cannot hold, or holds with an escape only
_PHASES = {b"event", b"intent", b"outcome", b"unknown", b"late"}
_UUID_MARKS = dict.fromkeys((8, 13, 18, 23), b"-")
_SALT_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_TIME_MARKS = {4: b"-", 7: b"-", 10: b"T", 13: b":", 16: b":", 19: b".", 26: b"Z"}

_FACTS = ("id", "intent", "phase", "salt", "tenant", "time")  # and the number; what is not there is empty
Row = tuple[bytes, ...]
Match = Callable[[bytes], "re.Match[bytes] | None"]


def canonical(text: str) -> Any:
    """The value of canonical JSON without floats: int() takes neither fraction nor exponent nor NaN."""
    value = json.loads(text, parse_float=int, parse_constant=int)
    if dumped(value) != text:
        raise ValueError("canonical JSON was expected")
    return value


def dumped(value: Any) -> str:
    """The text of a value as RFC 8785 wants it, for ASCII keys and without floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


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


def _made_of(texts: Sequence[bytes], letters: bytes, marks: dict[int, bytes]) -> bool:
    """Have all texts, which are of one width, each mark in its place and one of these letters everywhere else?"""
    whole, width = b"".join(texts), len(texts[0]) if texts else 0
    placed = all(whole[at::width] == mark * len(texts) for at, mark in marks.items())
    return placed and len(whole.translate(None, letters)) == len(marks) * len(texts)


def _well_formed(rows: Sequence[Row], whole: bytes) -> bool:
    """Is what the shapes leave open as it must be in all rows of a bundle?"""
    if not rows:
        return True
    ids, intents, phases, salts, _, times, _ = zip(*rows, strict=True)
    try:
        whole.decode()
    except UnicodeDecodeError:
        return False
    return (
        set(phases) <= _PHASES
        and _made_of([*ids, *filter(None, intents)], b"0123456789abcdef", _UUID_MARKS)
        and _made_of(salts, _SALT_LETTERS, {})
        and _made_of(times, b"0123456789", _TIME_MARKS)
    )


class Ledger:
    """Numbers are dense in each tenant, and each intent has at most one outcome."""

    def __init__(self, report: Report) -> None:
        self.report, self.add = report, report.add
        self.next, self.intents = dict[bytes, int](), dict[bytes, bool]()  # number per tenant; id: whether it is open
        self.shapes: dict[bytes, list[Match]] = {}
        self.last: Match = re.compile(rb"\Z.").fullmatch  # the shape of the record before; at first it fits nothing

    def read(self, entries: Sequence[bytes], indexes: Sequence[int], path: str) -> None:
        """Take the next entries, each with its index in the log; `path` is the file to blame."""
        whole = b"".join(entries)
        rows = self._rows(entries, indexes, path, plain=not any(mark in whole for mark in _ESCAPED))
        if not _well_formed([row for row in rows if row], whole):
            rows = [self._parsed(raw, index, path) for index, raw in zip(indexes, entries, strict=True)]
        found = [(index, row) for index, row in zip(indexes, rows, strict=True) if row]
        dense = self._dense([row for _, row in found])
        for index, row in found:
            if not dense:
                self._number(row, index, path)
            if (row[2] != b"event" or row[1]) and (fault := self._pair(row)):
                self.add(path, f"entry {index} {fault}", index)

    def count(self) -> None:
        """Put what was found into the report."""
        self.report.counts |= {"tenants": len(self.next), "open_intents": sum(self.intents.values())}

    def _rows(self, entries: Sequence[bytes], indexes: Sequence[int], path: str, *, plain: bool) -> list[Row | None]:
        rows, fits = list[Row | None](), self.last
        for index, raw in zip(indexes, entries, strict=True):
            if plain and (found := fits(raw)):
                rows.append(found.groups())
            else:
                rows.append(self._other(raw, index, path))
                fits = self.last
        return rows

    def _other(self, raw: bytes, index: int, path: str) -> Row | None:
        """The facts of a record that differs from the one before in its shape, or has escapes."""
        if any(mark in raw for mark in _ESCAPED):
            return self._parsed(raw, index, path)
        action = raw[: raw.find(b",")]
        for fits in self.shapes.get(action, ()):
            if found := fits(raw):
                self.last = fits
                return found.groups()
        return self._parsed(raw, index, path, learn=action)

    def _parsed(self, raw: bytes, index: int, path: str, *, learn: bytes = b"") -> Row | None:
        try:
            body, n = record_of(raw.decode())
        except (ValueError, RecursionError) as error:
            self.add(path, f"entry {index}: {error}", index)
            return None
        shapes = self.shapes.get(learn, [])
        if learn and len(shapes) < MAX_SHAPES and (shapes or len(self.shapes) < MAX_ACTIONS):
            shape = _shape(body, _OPEN_CLOSING if "intent" in body else _OPEN)
            pattern = rf'\{{"b":{shape},"n":(0|[1-9][0-9]{{0,14}})\}}'
            self.last = re.compile(pattern.encode()).fullmatch
            self.shapes[learn] = [*shapes, self.last]
        return *(str(body.get(name, "")).encode() for name in _FACTS), str(n).encode()

    def _start(self, tenant: bytes, n: int) -> int:
        return self.next.get(tenant, n if self.report.counts["since"] else 0)  # `since` hides earlier numbers

    def _dense(self, rows: Sequence[Row]) -> bool:
        """Take the numbers at once if they are the next ones of each tenant; do nothing if one is not."""
        numbers = dict[bytes, list[int]]()
        for row in rows:
            numbers.setdefault(row[4], []).append(int(row[6]))
        starts = {tenant: self._start(tenant, found[0]) for tenant, found in numbers.items()}
        if any(found != list(range(starts[tenant], starts[tenant] + len(found))) for tenant, found in numbers.items()):
            return False
        self.next |= {tenant: found[-1] + 1 for tenant, found in numbers.items()}
        return True

    def _number(self, row: Row, index: int, path: str) -> None:
        tenant, n = row[4], int(row[6])
        want, self.next[tenant] = self._start(tenant, n), n + 1
        if n != want:
            name = tenant.decode()
            self.add(path, f"entry {index} has number {n} of {name}, not {want}: a record is missing", index)

    def _pair(self, row: Row) -> str:
        record, intent, phase = row[:3]
        if bool(intent) != (phase in {b"outcome", b"unknown", b"late"}):
            return "must name an intent if it closes one, and not otherwise"
        known, self.intents[intent or record] = self.intents.get(intent), not intent
        if intent and known is None and not self.report.counts["since"]:
            return f"closes the intent {intent.decode()}, which was not logged before it"
        again = known is False and phase != b"late"
        return f"is a second outcome of the intent {intent.decode()}" if again else ""
