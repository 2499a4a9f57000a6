r"""CEF:0 (ArcSight Common Event Format, revision 25): one line for each record. No I/O.

Law: in the header | and \ are escaped, in the extension = and \, CR as \r and LF as \n. Any other character that some
reader takes for the end of a line, or that moves a terminal's cursor, stands as its number (\u001b), since CEF has no
escape for it; the exact value is in `guardEntry`, the canonical entry.
"""

import re
from collections.abc import Iterable
from typing import BinaryIO

from guard import __version__
from guard.audit.columns import leaf_text, part, text, time_us
from guard.audit.row import Row

MEDIA_TYPE = "text/plain; charset=utf-8"
SUFFIX = "cef"
SEVERITY = {"ok": 3, "refused": 6, "unknown": 8}  # of 10

_header = re.compile(r"[|\\]").sub
_value = re.compile(r"[=\\]").sub
_steering = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]").sub


def line(row: Row) -> bytes:
    """The line of a record, with its newline."""
    body = row.body
    action, result = str(body.get("action", "")), part(body, "result")
    actor, status = part(body, "actor"), str(result.get("status", ""))
    named = _head(action)
    header = f"CEF:0|guard|guard|{__version__}|{named}|{named}|{SEVERITY.get(status, 5)}|"
    pairs = {
        "rt": time_us(row) // 1000,
        "externalId": body.get("id"),
        "suser": actor.get("id"),
        "act": action,
        "outcome": status,
        "reason": result.get("code"),
        "cat": body.get("phase"),
        "dvchost": body.get("node"),
        "cn1": row.index,
        "cn1Label": "index",
        "cn2": row.n,
        "cn2Label": "n",
        "cs1": body.get("tenant"),
        "cs1Label": "tenant",
        "cs2": part(body, "resource").get("id"),
        "cs2Label": "resource",
        "cs3": part(body, "decision").get("rule"),
        "cs3Label": "rule",
        "cs4": part(body, "request").get("id"),
        "cs4Label": "request",
        "cs5": body.get("data"),
        "cs5Label": "data",
        "cs6": leaf_text(row),
        "cs6Label": "leaf",
        "guardEntry": row.entry.decode(),
    }
    told = " ".join(f"{name}={_escaped(value)}" for name, value in pairs.items() if value is not None)
    return f"{header}{told}\n".encode()


def write(rows: Iterable[Row], out: BinaryIO) -> int:
    """Write the lines of *rows*; how many."""
    count = 0
    for row in rows:
        out.write(line(row))
        count += 1
    return count


def _head(value: str) -> str:
    return _header(r"\\\g<0>", _numbered(value.replace("\r", " ").replace("\n", " ")))


def _escaped(value: object) -> str:
    if type(value) is int:
        return str(value)
    shown = _value(r"\\\g<0>", _numbered(text(value) or ""))
    return shown.replace("\r", "\\r").replace("\n", "\\n")


def _numbered(value: str) -> str:
    return value if value.isprintable() else _steering(lambda found: f"\\u{ord(found[0]):04x}", value)
