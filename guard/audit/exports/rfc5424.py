r"""A record as a syslog message: the header, one structured-data element, and the exact entry. No I/O.

Law: RFC 5424. The element `guard@32473` holds index and leaf hash, so that a receiver sees a gap and can check each
message; MSG is the entry byte for byte. It is UTF-8, so section 6.4 wants a byte order mark before it, which is no part
of the entry. Nobody's text makes a second line or leaves its quotes: `"`, `\` and `]` are escaped (section 6.3.3), and
a character that ends a line or steers a terminal stands as `\u000a` in the element. MSG needs no such care: canonical
JSON escapes what is below 0x20, and the four line ends of Unicode above are no line ends to a syslog receiver.
"""

import base64
import re
from collections.abc import Iterable
from typing import Any, BinaryIO

from guard.audit.row import Row

MEDIA_TYPE = "text/plain; charset=utf-8"
SUFFIX = "log"
SD_ID = "guard@32473"
"""32473 is the number that RFC 5612 sets aside for documentation: this project has no number of its own."""

FACILITY = 13  # log audit (section 6.2.1, table 1)
ERROR, WARNING, NOTICE, INFORMATIONAL = 3, 4, 5, 6
SEVERITY = {"ok": INFORMATIONAL, "refused": WARNING, "unknown": ERROR}
MAX_MSGID, MAX_PROCID = 32, 128
BOM = b"\xef\xbb\xbf"
NIL = "-"

_UNPRINTABLE = re.compile(r"[^!-~]")
_QUOTED = re.compile(r'["\\\]]')
# C0, DEL, C1, the line and paragraph separators, and those that turn the direction of text.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def line(row: Row) -> bytes:
    """The message of *row* with a newline, which is none of its own."""
    return message(row) + b"\n"


def message(row: Row) -> bytes:
    """The message of *row*, without a line end and without a frame."""
    body = row.body
    severity = SEVERITY.get(_member(body, "result", "status"), NOTICE)
    head = " ".join(
        (
            f"<{FACILITY * 8 + severity}>1",
            _word(body.get("time"), MAX_PROCID),
            NIL,
            "guard",
            _word(body.get("node"), MAX_PROCID),
            _word(body.get("action"), MAX_MSGID),
        )
    )
    return f"{head} [{SD_ID}{_parameters(row)}] ".encode() + BOM + row.entry


def write(rows: Iterable[Row], out: BinaryIO) -> int:
    """Write one message a line; how many."""
    count = 0
    for row in rows:
        out.write(line(row))
        count += 1
    return count


def _parameters(row: Row) -> str:
    body = row.body
    values = {
        "idx": str(row.index),
        "n": str(row.n),
        "id": body.get("id"),
        "tenant": body.get("tenant"),
        "phase": body.get("phase"),
        "action": body.get("action"),
        "actor": _member(body, "actor", "id"),
        "resource": _member(body, "resource", "id"),
        "outcome": _member(body, "result", "status"),
        "code": _member(body, "result", "code"),
        "leaf": base64.b64encode(row.leaf).decode(),
    }
    return "".join(f' {name}="{_quoted(value)}"' for name, value in values.items() if value)


def _member(body: Any, name: str, inner: str) -> str:
    found = body.get(name)
    return str(found.get(inner, "")) if isinstance(found, dict) else str(found or "")


def _word(value: object, limit: int) -> str:
    """A field of the header: printable ASCII without a blank, or the nil value."""
    return _UNPRINTABLE.sub("?", str(value or ""))[:limit] or NIL


def _quoted(value: object) -> str:
    """A PARAM-VALUE; lone surrogates cannot come, since canonical JSON refuses them."""
    shown = _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", str(value))
    return _QUOTED.sub(lambda found: "\\" + found[0], shown)
