"""JSON lines: one object for each record, the exact entry inside, so that its leaf hash can be made again. No I/O.

Law: `{"entry":<the entry's bytes>,"index":i,"leaf":"<base64>"}`; the entry is copied, never written anew. It is
canonical JSON (RFC 8785), which escapes every control character, so no value of a record can end a line.
"""

from binascii import b2a_base64
from collections.abc import Iterable
from typing import BinaryIO

from guard.audit.row import Row

MEDIA_TYPE = "application/jsonl"
SUFFIX = "jsonl"


def line(row: Row) -> bytes:
    """The line of a record, with its newline."""
    return b'{"entry":%b,"index":%d,"leaf":"%b"}\n' % (row.entry, row.index, b2a_base64(row.leaf, newline=False))


def write(rows: Iterable[Row], out: BinaryIO) -> int:
    """Write the lines of *rows*; how many."""
    count = 0
    for row in rows:
        out.write(line(row))
        count += 1
    return count
