"""A record as one flat row of columns, for formats that have no nesting. No I/O.

Law: columns are read from the entry and never the other way round; the exact entry and its leaf hash go beside them, so
that a row in a spreadsheet can still be proved. What a record lacks is None, never an empty text.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from guard.audit.row import Row

TEXTS = (
    *("time", "tenant", "phase", "id", "intent", "actor", "actor_type", "actor_auth", "action", "resource", "rule"),
    *("policy", "status", "code", "request", "node", "trace", "replay_of", "behalf", "data", "hmac", "sealed"),
)
NAMES = ("index", "n", "allow", *TEXTS)


def cells(row: Row) -> tuple[int | bool | str | None, ...]:
    """The values of `NAMES`; maps such as `data` are their compact JSON."""
    body = row.body
    actor, decision, result = part(body, "actor"), part(body, "decision"), part(body, "result")
    texts = (
        *(body.get("time"), body.get("tenant"), body.get("phase"), body.get("id"), body.get("intent")),
        *(actor.get("id"), actor.get("type"), actor.get("auth"), body.get("action"), part(body, "resource").get("id")),
        *(decision.get("rule"), decision.get("policy"), result.get("status"), result.get("code")),
        *(part(body, "request").get("id"), body.get("node"), body.get("trace"), body.get("replay_of")),
        *(body.get("behalf"), body.get("data"), body.get("hmac"), body.get("sealed")),
    )
    return row.index, row.n, decision.get("allow"), *map(text, texts)


def part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The map under *name*; an empty one where there is none."""
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def text(value: Any) -> str | None:
    """*value* as a cell: text as it is, anything else as compact JSON."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def leaf_text(row: Row) -> str:
    """The leaf hash in base64."""
    return base64.b64encode(row.leaf).decode("ascii")


def time_us(row: Row) -> int:
    """The record's time in microseconds UTC."""
    moment = datetime.fromisoformat(row.body["time"])
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
