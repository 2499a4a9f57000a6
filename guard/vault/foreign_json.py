"""JSON of keysets and backups of other systems, read so that two readers of one text see the same keys.

Law: RFC 8259 section 4 leaves open what a name that comes twice means, so a text with one is refused: whoever approved
it with another reader may have seen another primary key. Every failure is a ValueError, and none repeats the text,
which holds keys. No I/O.
"""

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """What *text* holds.

    Raises:
        ValueError: no JSON, too deep, a name twice in one object, or a number that JSON has not (NaN, Infinity).
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_name: str) -> None:
    raise ValueError
