r"""A shortcut for records that are like one that was parsed before: nearly all of a log are.

Law: what is let through here the parser would let through as well; whatever does not fit is parsed. A *shape* is a
pattern with the keys and types of a parsed record. A *mould* is narrower and three times as fast: the bytes of a record
but for its id, salt, time, number and the texts that differ from call to call, for other records of the same length.
Everything left open is checked for a whole bundle at once. No I/O.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise
from struct import Struct
from typing import Any, NamedTuple

from .canonical import record_of

MAX_SHAPES, MAX_ACTIONS = 8, 1000  # compiling a shape costs a hundred parses
MAX_LENGTHS, MAX_MOULDS = 2000, 4  # lengths of records with moulds, and moulds of one length
TEXT = r'"[^"\\\x00-\x1f]*+"'  # canonical JSON holds no control character, and escapes only with a backslash
FREE = r'"([^"\\\x00-\x1f]*+)"'
VARYING = (
    "data",
    "hmac",
    "request",
    "sealed",
    "trace",
    "clock",
)  # parts of a body whose texts differ from call to call
FORMS = {"action": r'"[^"\\\x00-\x1f]+"', "id": '"(?P<id>[^"]{36})"', "intent": '"(?P<intent>[^"]{36})"', "v": "1"}
FORMS |= {"phase": '"(?P<phase>[a-z]+)"', "salt": '"(?P<salt>[^"]{22})"', "time": '"(?P<time>[^"]{27})"'}
FORMS |= {"tenant": r'"(?P<tenant>[^"\\\x00-\x1f]+)"'}
FIXED = ("phase", "tenant")  # in a mould they are part of its bytes

PHASES = {b"event", b"intent", b"outcome", b"unknown", b"late"}
DIGITS, FORBIDDEN = b"0123456789", bytes([*range(32), 34, 92])
LETTERS = {  # of a text with a form: each counts as a zero, and what is no letter stays what it is
    "id": bytes.maketrans(b"0123456789abcdef", b"0" * 16),
    "time": bytes.maketrans(DIGITS, b"0" * 10),
    "salt": bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", b"0" * 64),
}
LETTERS["intent"] = LETTERS["id"]
LIKE = {"id": b"00000000-0000-0000-0000-000000000000", "time": b"0000-00-00T00:00:00.000000Z", "salt": b"0" * 22}
LIKE["intent"] = LIKE["id"]

Match = re.Match[bytes]
Numbers = tuple[list[int], tuple[bytes, ...]]  # places in a bundle, and the number of the record at each


class Row(NamedTuple):
    """What the ledger needs to know of a record, in its bytes; `intent` is empty where none is named."""

    id: bytes
    intent: bytes
    phase: bytes
    tenant: bytes
    n: bytes

    @classmethod
    def of(cls, body: dict[str, Any], n: int) -> "Row":
        """The row of a parsed record."""
        record, intent, phase, tenant = (str(body.get(name, "")).encode() for name in cls._fields[:-1])
        return cls(record, intent, phase, tenant, str(n).encode())


@dataclass(slots=True)
class Sorted:
    """The numbers of each tenant in their order, and the rows of the records that no mould took, by their place."""

    numbers: dict[bytes, list[bytes]] = field(default_factory=dict)
    others: list[tuple[int, Row]] = field(default_factory=list)


class Mould:
    """The bytes that records of one length share; `columns` are those of the bundle at hand, piece by piece."""

    def __init__(self, raw: bytes, found: Match) -> None:
        names = {at: name for name, at in found.re.groupindex.items()}
        spans = [(*found.span(at), names.get(at, "free")) for at in range(1, found.re.groups + 1)]
        open_spans = [span for span in spans if span[2] not in FIXED]
        self.names = [name for _, _, name in open_spans]
        edges = [0, *(edge for start, end, _ in open_spans for edge in (start, end)), len(raw)]
        widths = [after - before for before, after in pairwise(edges)]
        self.unpack = Struct("".join(f"{width}s" for width in widths)).unpack
        self.literals, self.tenant = self.unpack(raw)[::2], found["tenant"]
        self.columns: list[tuple[bytes, ...]] = []

    def fits(self, raw: bytes) -> bool:
        """Has a record of this length the bytes that all have?"""
        return self.unpack(raw)[::2] == self.literals

    def take(self, entries: Sequence[bytes], at: list[int]) -> tuple[list[int], Numbers]:
        """Of the records at these places, those that do not fit, and places and numbers of those that do."""
        left = list[int]()
        self.columns = [*zip(*map(self.unpack, map(entries.__getitem__, at)), strict=True)]
        for number, literal in enumerate(self.literals):
            column = self.columns[2 * number]
            if column.count(literal) != len(column):
                fits = [piece == literal for piece in column]
                left += [place for place, fit in zip(at, fits, strict=True) if not fit]
                at = [*compress(at, fits)]
                self.columns = [tuple(compress(each, fits)) for each in self.columns]
        return left, (at, self.columns[-2])

    def good(self) -> bool:
        """Is all that the mould leaves open as it must be in what it took?"""
        return all(map(_good, self.names, self.columns[1::2]))


class Shapes:
    """The shapes and moulds that were learnt from the records so far."""

    def __init__(self) -> None:
        self.by_action = dict[bytes, list[Callable[[bytes], Match | None]]]()
        self.moulds = dict[int, tuple[Mould, ...]]()

    def sort(self, entries: Sequence[bytes]) -> Sorted | None:
        """Sort the records of a bundle; None if one of them must be looked at by the parser alone."""
        result, used = Sorted(), list[Mould]()
        left, found, alike = list[int](), dict[bytes, list[Numbers]](), dict[int, list[int]]()
        for place, length in enumerate(map(len, entries)):
            alike.setdefault(length, []).append(place)
        for places in alike.values():
            at = places
            while at:
                mould = self._fitting(entries[at[0]])
                if mould is None:
                    left.append(at.pop(0))
                    continue
                at, taken = mould.take(entries, at)
                used.append(mould)
                found.setdefault(mould.tenant, []).append(taken)
        for place in sorted(left):
            row = self._row(entries[place])
            if row is None:
                return None
            result.others.append((place, row))
            found.setdefault(row.tenant, []).append(([place], (row.n,)))
        result.numbers = {tenant: _in_order(numbers) for tenant, numbers in found.items()}
        return result if all(mould.good() for mould in used) else None

    def _fitting(self, raw: bytes) -> Mould | None:
        return next((mould for mould in self.moulds.get(len(raw), ()) if mould.fits(raw)), None)

    def _row(self, raw: bytes) -> Row | None:
        action = raw[: raw.find(b",")]
        for fits in self.by_action.get(action, ()):
            if found := fits(raw):
                return self._taken(raw, found)
        try:
            body, n = record_of(raw.decode())
        except (ValueError, RecursionError):
            return None
        self._learn(action, body)
        return Row.of(body, n)

    def _taken(self, raw: bytes, found: Match) -> Row | None:
        """The row of a record that fits a shape, and a mould for the next ones like it."""
        parts = found.groupdict(b"")
        named = [(name, parts.get(name, b"")) for name in ("id", "intent", "phase", "salt", "time", "n")]
        if not (raw.isascii() or _decodes(raw)) or not all(_good(name, (text,)) for name, text in named if text):
            return None
        if parts["phase"] == b"event" and "intent" not in found.re.groupindex and raw.isascii():
            known = self.moulds.get(len(raw), ())
            room = len(known) < MAX_MOULDS and (known or len(self.moulds) < MAX_LENGTHS)
            if room and self._fitting(raw) is None:
                self.moulds[len(raw)] = (*known, Mould(raw, found))
        return Row(parts["id"], parts.get("intent", b""), parts["phase"], parts["tenant"], parts["n"])

    def _learn(self, action: bytes, body: dict[str, Any]) -> None:
        known = self.by_action.get(action, [])
        if len(known) < MAX_SHAPES and (known or len(self.by_action) < MAX_ACTIONS):
            pattern = rf'\{{"b":{shape_of(body)},"n":(?P<n>0|[1-9][0-9]{{0,14}})\}}'
            self.by_action[action] = [*known, re.compile(pattern.encode()).fullmatch]


def shape_of(body: dict[str, Any]) -> str:
    """A pattern for canonical JSON without escapes that has the same keys and types as a record's body."""
    members = []
    for key, value in body.items():
        shape = FORMS.get(key) or _shape(value, FREE if key in VARYING else TEXT)
        members.append(f"{re.escape(json.dumps(key))}:{shape}")
    return rf"\{{{','.join(members)}\}}"


def _shape(value: Any, text: str) -> str:
    if type(value) is dict:
        members = (f"{re.escape(json.dumps(key))}:{_shape(item, text)}" for key, item in value.items())
        return rf"\{{{','.join(members)}\}}"
    if type(value) is list:
        return rf"\[{','.join(_shape(item, text) for item in value)}\]"
    kinds = {str: text, bool: "(?:true|false)", type(None): "null"}
    return kinds.get(type(value), "(?:0|-?[1-9][0-9]{0,14}+)")


def _in_order(numbers: list[Numbers]) -> list[bytes]:
    """The numbers of one tenant in the order of their places, from runs that are each in order."""
    if len(numbers) == 1:
        return [*numbers[0][1]]
    return [n for _, n in sorted(pair for run in numbers for pair in zip(*run, strict=True))]


def _good(name: str, column: Sequence[bytes]) -> bool:
    """Have all texts of one name the form of that name? They are of one width."""
    if name in LIKE:
        return b"".join(column).translate(LETTERS[name]) == LIKE[name] * len(column)
    if name == "phase":
        return set(column) <= PHASES
    whole = b"".join(column)
    if name == "n":  # a zero before it is found where numbers are compared as they are spelt
        return not whole.translate(None, DIGITS)
    return whole.isascii() and len(whole.translate(None, FORBIDDEN)) == len(whole)


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
