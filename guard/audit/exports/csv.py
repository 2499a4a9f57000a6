"""CSV of RFC 4180: a header, CRLF, quotes doubled; the last two columns are the leaf hash and the exact entry. No I/O.

Law: no cell is a formula. A cell that starts with = + - @ TAB CR or NUL gets a leading ' (OWASP ASVS 5.0, 1.2.10):
a spreadsheet would run it with the rights of the auditor. The ' cannot be told from one that was there before; the
column `entry`, which always starts with {, is exact.
"""

import re
from collections.abc import Iterable
from typing import BinaryIO

from guard.audit.columns import NAMES, cells, leaf_text
from guard.audit.row import Row

MEDIA_TYPE = "text/csv; charset=utf-8; header=present"
SUFFIX = "csv"
FORMULA = frozenset("=+-@\t\r\x00")
HEADER = ",".join((*NAMES, "leaf", "entry")).encode() + b"\r\n"

_special = re.compile('[",\r\n]').search


def line(row: Row) -> bytes:
    """The row of a record, with its CRLF."""
    values = (*cells(row), leaf_text(row), row.entry.decode())
    return ",".join(map(_cell, values)).encode() + b"\r\n"


def write(rows: Iterable[Row], out: BinaryIO) -> int:
    """Write the header and the lines of *rows*; how many rows."""
    out.write(HEADER)
    count = 0
    for row in rows:
        out.write(line(row))
        count += 1
    return count


def _cell(value: int | bool | str | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value).lower()
    if value and value[0] in FORMULA:
        value = "'" + value
    if _special(value):
        return '"' + value.replace('"', '""') + '"'
    return value
