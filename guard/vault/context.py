"""The context that a value is sealed in, as canonical bytes (the associated data of every suite).

"guard/ctx/1" NUL | header 16 | u32 n | n x ( u32 key length | key | tag u8 | u32 value length | value ), all numbers
big-endian, sorted by key bytes. Tags: 0 null (empty), 1 string (UTF-8 as given, never normalised), 2 bytes, 3 integer
(i64, 8 bytes), 4 bool (one byte 00 or 01), 5 UUID (16 bytes, RFC 9562).
Law: two contexts are equal exactly when their bytes are, and every other byte string is refused. Without it a value
of one cell could be opened in another. Null, an absent key and "" are three contexts. Frozen. No I/O.
"""

import base64
import json
import re
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final
from uuid import UUID

from guard.errors import InternalError, InvalidContext

Value = str | bytes | bool | int | UUID | None

PREFIX: Final = b"guard/ctx/1\0"
HEADER_BYTES: Final = 16
MAX_FIELDS: Final = 32
"""A cell is named by a handful of fields; 32 leaves room and bounds the work of one item."""
MAX_VALUE_BYTES: Final = 4096
"""Identifiers are short; a larger value is content and belongs into the plaintext."""
MAX_FAST_CHARACTERS: Final = 256
"""A longer row is bound the general way, which asks for every limit."""
MAX_CONTEXT_BYTES: Final = 16 * 1024
"""Bounds what one item of a batch may cost in hashing."""

_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_U32: Final = struct.Struct(">I")
_pack_u32: Final = _U32.pack
_HEAD_BYTES: Final = len(PREFIX) + HEADER_BYTES
_UUID_BYTES: Final = 16
_TEXT: Final = b"\x01"
_I64_BYTES: Final = 8


def encode_value(value: Value) -> bytes:
    """Tag, length and bytes of one value.

    Raises:
        InvalidContext: a float or another type, a lone surrogate, an integer outside 64 bits, or over 4096 bytes.
    """
    if isinstance(value, str):  # first, because nearly all values are strings
        try:
            tag, raw = _TEXT, value.encode()
        except UnicodeEncodeError:
            raise InvalidContext("A context string is valid Unicode; a lone surrogate came.") from None
    elif value is None:
        tag, raw = b"\x00", b""
    elif isinstance(value, bool):  # before int: in Python True is an int, here they are two contexts
        tag, raw = b"\x04", b"\x01" if value else b"\x00"
    elif isinstance(value, int):
        tag, raw = b"\x03", _i64(value)
    elif isinstance(value, bytes):
        tag, raw = b"\x02", value
    elif isinstance(value, UUID):
        tag, raw = b"\x05", value.bytes
    else:
        raise InvalidContext(  # callers pass what their own decoders gave them
            f"A context value is a string, bytes, bool, integer, UUID or null; {type(value).__name__} came."
        )
    if len(raw) > MAX_VALUE_BYTES:
        raise InvalidContext(f"A context value has at most {MAX_VALUE_BYTES} bytes; {len(raw)} came.")
    return tag + _pack_u32(len(raw)) + raw


def _i64(value: int) -> bytes:
    try:
        return value.to_bytes(_I64_BYTES, "big", signed=True)
    except OverflowError:
        raise InvalidContext("A context integer fits into 64 signed bits; a larger one came.") from None


@lru_cache(maxsize=1024)  # keys are the column names of policies; 1024 keeps foreign ones from growing it
def encode_key(key: str) -> bytes:
    """Length and bytes of one key. Remembered, because the pattern costs half a microsecond and an item has several.

    Raises:
        InvalidContext: not a lower-case name of 1 to 64 characters.
    """
    if not _KEY.fullmatch(key):
        raise InvalidContext("A context key is a lower-case name: a-z, then up to 63 of a-z, 0-9 and underscore.")
    return _pack_u32(len(key)) + key.encode("ascii")


def encode(header: bytes, fields: Mapping[str, Value]) -> bytes:
    """The canonical bytes of `fields` under a 16-byte envelope header, whose content is not checked here.

    Raises:
        InvalidContext: any key, value, count or size that the form does not allow.
    """
    parts = [_head(header, len(fields))]
    for key in sorted(fields):
        parts += (encode_key(key), encode_value(fields[key]))
    return check_size(b"".join(parts))


def _head(header: bytes, count: int) -> bytes:
    if len(header) != HEADER_BYTES:
        raise InvalidContext(f"The header in a context is {HEADER_BYTES} bytes; {len(header)} came.")
    if count > MAX_FIELDS:
        raise InvalidContext(f"A context has at most {MAX_FIELDS} fields; {count} came.")
    return PREFIX + header + _pack_u32(count)


def check_size(raw: bytes) -> bytes:
    """Give `raw` back if it is not over the whole size that a context may have.

    Raises:
        InvalidContext: over 16 KiB.
    """
    if len(raw) > MAX_CONTEXT_BYTES:
        raise InvalidContext(f"A context has at most {MAX_CONTEXT_BYTES} bytes; {len(raw)} came.")
    return raw


class Template:
    """The canonical bytes of a context whose `varying` fields differ from value to value; `fill` splices them in."""

    __slots__ = ("_before_text", "_is_fast", "_segments")

    def __init__(self, header: bytes, shared: Mapping[str, Value], varying: tuple[str, ...]) -> None:
        """Raises InvalidContext as `encode`, or if `varying` is not sorted or names a field of `shared`."""
        if list(varying) != sorted(set(varying)) or not shared.keys().isdisjoint(varying):
            raise InvalidContext("Each context key is given once, and those that vary are named in sorted order.")
        cuts: list[bytes] = []
        current = _head(header, len(shared) + len(varying))
        for key in sorted((*shared, *varying)):
            current += encode_key(key)
            if key in shared:
                current += encode_value(shared[key])
            else:
                cuts.append(current)
                current = b""
        self._segments = (*cuts, current)
        self._before_text = self._segments[0] + _TEXT
        longest = len(self._before_text) + _U32.size + MAX_FAST_CHARACTERS + len(current)
        self._is_fast = len(cuts) == 1 and longest <= MAX_CONTEXT_BYTES

    def fill(self, values: tuple[Value, ...]) -> bytes:
        """Exactly what `encode` gives for all fields together.

        Raises:
            InvalidContext: a value is null or empty, which would let cells share a context, or as `encode`.
            InternalError: not one value per varying field.
        """
        segments = self._segments
        if self._is_fast and len(values) == 1:
            # Nearly every value is bound to one short row; the general way costs three times as much.
            row = values[0]
            if type(row) is str and row.isascii() and 0 < len(row) <= MAX_FAST_CHARACTERS:
                return self._before_text + _pack_u32(len(row)) + row.encode() + segments[1]
        if len(values) + 1 != len(segments):
            raise InternalError(
                f"One value is needed for each of {len(segments) - 1} varying fields; {len(values)} came."
            )
        filled = segments[0]
        for at, value in enumerate(values, 1):
            if not value and (value is None or value == ""):  # 0 and False are names of rows
                raise InvalidContext("A row or subject in a context is neither null nor empty; name the cell.")
            filled += encode_value(value) + segments[at]
        return filled if len(filled) <= MAX_CONTEXT_BYTES else check_size(filled)


def parse(raw: bytes) -> tuple[bytes, dict[str, Value]]:
    """The header and fields of canonical bytes; the exact inverse of `encode`.

    Raises:
        InvalidContext: any byte string that `encode` does not produce.
    """
    check_size(raw)
    if not raw.startswith(PREFIX) or len(raw) < _HEAD_BYTES:
        raise InvalidContext("A context begins with its version and a 16-byte header; something else came.")
    count, at = _take_u32(raw, _HEAD_BYTES)
    if count > MAX_FIELDS:
        raise InvalidContext(f"A context has at most {MAX_FIELDS} fields; {count} came.")
    fields: dict[str, Value] = {}
    before = ""
    for _ in range(count):
        key, value, at = _take_field(raw, at)
        if key <= before:  # keys are ASCII, so the order of characters is the order of bytes
            raise InvalidContext("The keys of a context are sorted and each stands once; these are not.")
        fields[key] = value
        before = key
    if at != len(raw):
        raise InvalidContext(f"A context ends with its last field; {len(raw) - at} more bytes came.")
    return raw[len(PREFIX) : _HEAD_BYTES], fields


def _take_field(raw: bytes, at: int) -> tuple[str, Value, int]:
    name, at = _take_sized(raw, at)
    key = name.decode("ascii", "replace")
    if not _KEY.fullmatch(key):
        raise InvalidContext("A context key is a lower-case name: a-z, then up to 63 of a-z, 0-9 and underscore.")
    tag, at = _take(raw, at, 1)
    content, at = _take_sized(raw, at)
    if len(content) > MAX_VALUE_BYTES:
        raise InvalidContext(f"A context value has at most {MAX_VALUE_BYTES} bytes; {len(content)} came.")
    return key, _decode_value(tag[0], content), at


def _take(raw: bytes, at: int, size: int) -> tuple[bytes, int]:
    if len(raw) - at < size:
        raise InvalidContext(f"A context was cut short: {size} bytes were announced, {len(raw) - at} are left.")
    return raw[at : at + size], at + size


def _take_u32(raw: bytes, at: int) -> tuple[int, int]:
    number, at = _take(raw, at, _U32.size)
    return int.from_bytes(number, "big"), at


def _take_sized(raw: bytes, at: int) -> tuple[bytes, int]:
    size, at = _take_u32(raw, at)
    return _take(raw, at, size)


def _decode_value(tag: int, content: bytes) -> Value:
    decode = _DECODERS.get(tag)
    if decode is None:
        raise InvalidContext(f"A context value has a tag from 0 to {max(_DECODERS)}; {tag} came.")
    return decode(content)


def _decode_null(content: bytes) -> None:
    if content:
        raise InvalidContext(f"A null in a context is empty; {len(content)} bytes came.")


def _decode_string(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidContext("A string in a context is UTF-8; other bytes came.") from None


def _decode_integer(content: bytes) -> int:
    if len(content) != _I64_BYTES:
        raise InvalidContext(f"An integer in a context is {_I64_BYTES} bytes; {len(content)} came.")
    return int.from_bytes(content, "big", signed=True)


def _decode_bool(content: bytes) -> bool:
    if content not in {b"\x00", b"\x01"}:
        raise InvalidContext("A bool in a context is one byte, 00 or 01; other bytes came.")
    return content == b"\x01"


def _decode_uuid(content: bytes) -> UUID:
    if len(content) != _UUID_BYTES:
        raise InvalidContext(f"A UUID in a context is {_UUID_BYTES} bytes; {len(content)} came.")
    return UUID(bytes=content)


_DECODERS: Final[dict[int, Callable[[bytes], Value]]] = {
    0: _decode_null,
    1: _decode_string,
    2: bytes,
    3: _decode_integer,
    4: _decode_bool,
    5: _decode_uuid,
}


def from_json(value: object) -> Value:
    """One value of decoded JSON: `{"b64": "..."}` is bytes, `{"uuid": "..."}` a UUID, the rest stands for itself.

    Base64 is the padded standard form (RFC 4648 section 4), a UUID its lower-case form with hyphens: one spelling each.

    Raises:
        InvalidContext: a float, a list, another object, or another spelling.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, dict) and len(value) == 1:
        [(kind, text)] = value.items()
        if kind == "b64" and isinstance(text, str):
            return _bytes_from_json(text)
        if kind == "uuid" and isinstance(text, str):
            return _uuid_from_json(text)
    raise InvalidContext(
        'A context value in JSON is a string, integer, bool, null, {"b64": "..."} or {"uuid": "..."}; '
        f"another {type(value).__name__} came."
    )


def _bytes_from_json(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = None
    if raw is None or base64.b64encode(raw).decode() != text:  # the decoder lets stray trailing bits pass
        raise InvalidContext('{"b64": "..."} holds padded standard base64 in its one canonical spelling.')
    return raw


def _uuid_from_json(text: str) -> UUID:
    try:
        value = UUID(text)
    except ValueError:
        value = None
    if value is None or str(value) != text:  # the constructor takes braces, urn: and upper case too
        raise InvalidContext('{"uuid": "..."} holds a UUID in lower case with hyphens.')
    return value


def fields_from_json(value: object) -> dict[str, Value]:
    """The fields of a decoded JSON object. Duplicate keys are gone by then: decode with `parse_json` where it matters.

    Raises:
        InvalidContext: no object, a key that is no name, too many keys, or as `from_json`.
    """
    if not isinstance(value, dict):
        raise InvalidContext(f"A context in JSON is an object; {type(value).__name__} came.")
    if len(value) > MAX_FIELDS:
        raise InvalidContext(f"A context has at most {MAX_FIELDS} fields; {len(value)} came.")
    for key in value:
        encode_key(key)
    return {key: from_json(item) for key, item in value.items()}


def parse_json(raw: bytes | str) -> dict[str, Value]:
    """The fields of JSON text; an object that names a key twice is refused at every depth.

    Raises:
        InvalidContext: no JSON, over 64 KiB, a duplicate key, or as `fields_from_json`.
    """
    if len(raw) > 4 * MAX_CONTEXT_BYTES:  # JSON escapes and base64 need more room than the canonical form
        raise InvalidContext(f"A context in JSON has at most {4 * MAX_CONTEXT_BYTES} bytes; {len(raw)} came.")
    try:
        value = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise InvalidContext("A context in JSON is one well-formed UTF-8 object; something else came.") from None
    return fields_from_json(value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidContext("A JSON object in a context names each key once; one stands twice.")
    return found


def check_cell(fields: Mapping[str, Value], *, portable: bool = False, deterministic: bool = False) -> None:
    """Check that `fields` names one cell: tenant, table, column, and a row or a subject.

    `portable` values may be moved between rows; `deterministic` ones must open in every row, so they name none.

    Raises:
        InvalidContext: one is missing or is no non-empty string, or a row is given for a deterministic value.
    """
    for key in ("tenant", "table", "column"):
        value = fields.get(key)
        if not isinstance(value, str) or not value:
            raise InvalidContext(f"A context names its {key!r} as a string that is not empty; add it.")
    if deterministic:
        if "row" in fields:
            raise InvalidContext("A deterministic value is equal in every row, so its context has no 'row'; remove it.")
    elif not portable and fields.get("row") in {None, ""} and fields.get("subject") in {None, ""}:
        raise InvalidContext("A context names its 'row' or its 'subject' unless the field's policy says portable.")
