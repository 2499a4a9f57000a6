"""Canonical JSON, and a record of version 1 in it, as the parser reads them.

Law: RFC 8785 without fractions: one spelling of each value, so that a text is canonical if it is what its value is
written as. No I/O.
"""

import json
import re
from typing import Any

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_FORMS = {"id": f'"{_UUID}"', "intent": f'"{_UUID}"', "phase": '"(?:event|intent|outcome|unknown|late)"', "v": "1"}
_FORMS |= {"action": '"[^"]+"', "salt": '"[A-Za-z0-9_-]{22}"', "tenant": '"[^"]+"', "time": f'"{_TIME}"'}


def canonical(text: str) -> Any:
    """The value of canonical JSON without floats: int() takes neither fraction nor exponent nor NaN."""
    value = json.loads(text, parse_float=int, parse_constant=int, object_pairs_hook=_members)
    if dumped(value) != text:
        raise ValueError("canonical JSON was expected")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Python sorts by code point and RFC 8785 by UTF-16 unit; they differ only where a key has a surrogate pair.
    if any(key and max(key) > "\uffff" for key, _ in pairs):
        raise ValueError("keys of the basic multilingual plane were expected")
    return dict(pairs)


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
