"""The names of a log's incarnations, and what the first record of one says of the log that it replaced.

Law: a fork keeps the keys and changes the name, `<first>.<k>` for the k-th; the first record is under the signed root.
No I/O.
"""

import re
from typing import Any

from .canonical import record_of
from .notes import Head, b64decode

PLATFORM = "system"
_NAME = re.compile(r"(.+)\.([1-9][0-9]{0,8})").fullmatch


def first_name(origin: str) -> str:
    """The name of the first incarnation of a log: that of the k-th is `<first>.k`."""
    found = _NAME(origin)
    return found[1] if found and int(found[2]) > 1 else origin


def replaced_of(entry: bytes) -> list[Head]:
    """What a log's first record says that it replaced; nothing where it is no `log.created` of a successor."""
    try:
        body, _ = record_of(entry.decode())
        ours = body["action"] == "log.created" and body["tenant"] == PLATFORM
        return [_head(one) for one in body["data"]["replaced"]] if ours else []
    except (ValueError, LookupError, TypeError, RecursionError):
        return []


def _head(value: dict[str, Any]) -> Head:
    if type(value["size"]) is not int or type(value["origin"]) is not str:
        raise ValueError("origin and size were expected")
    return Head(value["origin"], value["size"], b64decode(value["root"]))
