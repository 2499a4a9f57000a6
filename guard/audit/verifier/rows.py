r"""Rows of the text formats of an export: index, leaf hash, and the exact entry that each of them carries.

Law: the bytes of an entry are cut out of a row, with the escapes of its format undone; they are never parsed and
written again, since only the exact bytes have the leaf hash. No I/O.
"""

import base64
import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """What a row says: the index and leaf hash that it names, and the bytes of its entry."""

    index: int
    leaf: bytes
    entry: bytes


_INDEX, _LEAF = rb"(0|[1-9][0-9]{0,18})", rb"([A-Za-z0-9+/]{43}=)"
_JSONL = re.compile(rb'\{"entry":(\{.*\}),"index":' + _INDEX + rb',"leaf":"' + _LEAF + rb'"\}\n').fullmatch
_RFC5424 = re.compile(
    rb"<[0-9]{1,3}>1 (?:\S+ ){5}\[\S+ idx=\"" + _INDEX + rb'".*? leaf="' + _LEAF + rb'"\] \xef\xbb\xbf(.*)\n'
).fullmatch
_CEF = re.compile(  # in the extension every = of a value is escaped, so that ` cn1=` stands there once
    rb"CEF:0\|(?:(?:[^|\\]|\\.)*+\|){6}.*? cn1="
    + _INDEX
    + rb" cn1Label=index .* cs6="
    + _LEAF.replace(rb"=", rb"\\=")
    + rb" cs6Label=leaf guardEntry=(.*)\n"
).fullmatch
_CEF_ESCAPE = re.compile(r"\\(.)")
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|.)")
FIRST_RAW = 0x20  # canonical JSON escapes what is below, and nothing above but the quotation mark and the backslash


def _jsonl(line: bytes) -> Row | None:
    found = _JSONL(line)
    return Row(int(found[2]), base64.b64decode(found[3]), found[1]) if found else None


def _rfc5424(line: bytes) -> Row | None:
    found = _RFC5424(line)
    return Row(int(found[1]), base64.b64decode(found[2]), found[3]) if found else None


def _ocsf(line: bytes) -> Row | None:
    event = json.loads(line)
    named = event["unmapped"]
    return Row(int(named["index"]), base64.b64decode(named["leaf"], validate=True), event["raw_data"].encode())


def _cef(line: bytes) -> Row | None:
    found = _CEF(line)
    if not found:
        return None
    text = _CEF_ESCAPE.sub(lambda mark: {"n": "\n", "r": "\r"}.get(mark[1], mark[1]), found[3].decode())
    return Row(int(found[1]), base64.b64decode(found[2].replace(rb"\=", b"=")), _JSON_ESCAPE.sub(_raw, text).encode())


def _raw(mark: re.Match[str]) -> str:
    """The character that CEF showed by its number; an escape that is the entry's own stays."""
    return chr(int(mark[1], 16)) if mark[1] and int(mark[1], 16) >= FIRST_RAW else mark[0]


def _lined(parse: Callable[[bytes], Row | None], what: str) -> Callable[[Iterator[bytes]], Iterator[Row]]:
    def rows(lines: Iterator[bytes]) -> Iterator[Row]:
        for number, line in enumerate(lines, 1):
            try:
                row = parse(line)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                row = None
            if row is None:
                raise ValueError(f"line {number}: {what} with index, leaf hash and entry was expected")
            yield row

    return rows


def _csv(lines: Iterator[bytes]) -> Iterator[Row]:
    try:
        table = csv.reader(line.decode() for line in lines)
        index, leaf, entry = map(next(table, []).index, ("index", "leaf", "entry"))
        for cells in table:
            # A cell that a spreadsheet would take for a formula, as one with a leaf hash may be, has a mark before it.
            named = base64.b64decode(cells[leaf].removeprefix("'"), validate=True)
            yield Row(int(cells[index]), named, cells[entry].encode())
    except (csv.Error, IndexError, ValueError) as error:
        raise ValueError(f"rows with the columns index, leaf and entry were expected ({error})") from None


READERS: dict[object, Callable[[Iterator[bytes]], Iterator[Row]]] = {
    "jsonl": _lined(_jsonl, "a line of JSON"),
    "ocsf": _lined(_ocsf, "an OCSF event"),
    "cef": _lined(_cef, "a CEF event"),
    "rfc5424": _lined(_rfc5424, "a message of RFC 5424"),
    "csv": _csv,
}
