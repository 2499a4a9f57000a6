"""Canonical JSON of RFC 8785 over null, booleans, 53-bit integers, text, lists and mappings; no fractions.

Law: equal values have equal bytes, so a hash of the bytes names the value. Fractions are refused: a decimal that two
programs print differently would be two hashes of one fact. Pure.
"""

import hashlib
import json
from typing import Final

from guard.errors import InvalidRequest

MAX_INTEGER: Final = 2**53 - 1
"""Larger integers are not exact in JSON (RFC 7493 section 2.2)."""
MAX_DEPTH: Final = 64
"""Twice the depth of a plan; keeps the walk below Python's recursion limit whatever a caller sends."""


def canonical(value: object) -> bytes:
    """The UTF-8 bytes of *value* after RFC 8785 section 3.2.

    Raises:
        InvalidRequest: a fraction, an integer beyond 53 bits, a lone surrogate, a key that is no text, another type,
            or nesting deeper than 64.
    """
    text = json.dumps(_sorted(value, MAX_DEPTH), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest("A recorded text is valid Unicode; a lone surrogate came.") from None


def sha256_of(value: object) -> str:
    """Lower-case hexadecimal SHA-256 of the canonical bytes."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _sorted(value: object, depth: int) -> object:
    if depth == 0:
        raise InvalidRequest(f"A recorded value is nested at most {MAX_DEPTH} deep; a deeper one came.")
    if isinstance(value, dict):
        return {key: _sorted(value[key], depth - 1) for key in sorted(value, key=_utf16)}
    if isinstance(value, list | tuple):
        return [_sorted(item, depth - 1) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return value
    raise InvalidRequest(
        "A recorded value is null, a boolean, an integer up to 2^53-1, text, a list or a mapping; "
        f"a {type(value).__name__} came. Write fractions and longer numbers as text."
    )


def _utf16(key: object) -> bytes:
    """Sort order of RFC 8785 section 3.2.3: UTF-16 code units, which differ from code points above U+FFFF."""
    if not isinstance(key, str):
        raise InvalidRequest(f"A recorded key is text; a {type(key).__name__} came.")
    return key.encode("utf-16-be", "surrogatepass")
