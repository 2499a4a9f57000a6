"""The row of the search index that belongs to an entry, made from the entry alone.

Law: the index holds nothing that the record does not say, so it can be made again and compared.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from guard.audit.row import Row
from guard.audit.store import Placed
from guard.db.entry import Entry
from guard.errors import StoreDamaged

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def placed(index: int, data: bytes) -> Placed:
    """The entry *data* at its place, with the columns that it is found by.

    Raises:
        StoreDamaged: it is no record of this form; `extra` names the index.
    """
    row = Row.of(index, data)
    try:
        return Placed(index, row.n, data, row.leaf, _entry(row.body))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoreDamaged(
            f"Expected a record of version 1 at index {index} of the log, got another form; restore it.", index=index
        ) from None


def _entry(body: Mapping[str, Any]) -> Entry:
    time_us = (datetime.fromisoformat(body["time"]) - EPOCH) // timedelta(microseconds=1)
    result = body.get("result") or {}
    return Entry(
        body=b"",
        id=body["id"],
        tenant=body["tenant"],
        time_us=time_us,
        phase=body["phase"],
        intent=body.get("intent"),
        actor=body["actor"]["id"],
        action=body["action"],
        resource=(body.get("resource") or {}).get("id", ""),
        allowed=bool((body.get("decision") or {}).get("allow", False)),
        status=result.get("status", ""),
        code=result.get("code"),
    )
