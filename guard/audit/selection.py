"""Which records an export is to hold: a filter over the record itself, not over any index of it. No I/O.

Law: what is chosen is read from the entry that was hashed, so a search index that somebody changed can hide nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from guard.audit.columns import part
from guard.audit.entry import rfc3339
from guard.audit.row import Row


@dataclass(frozen=True, slots=True)
class Filter:
    """All given conditions hold together; None is no condition. A trailing `*` in `action` and `resource` is any rest.

    `from_us` and `first` are inclusive, `to_us` and `last` exclusive. Of several resources of a record one is enough.
    """

    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    resource: str | None = None
    outcome: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    first: int | None = None
    last: int | None = None

    def given(self) -> Mapping[str, Any]:
        """The conditions that are set, for a manifest."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def holds(self, row: Row) -> bool:
        """Whether the record is wanted."""
        body = row.body
        return (
            (self.first is None or row.index >= self.first)
            and (self.last is None or row.index < self.last)
            and self.tenant in {None, body.get("tenant")}
            and self.actor in {None, part(body, "actor").get("id")}
            and self.outcome in {None, part(body, "result").get("status")}
            and (self.action is None or _fits(self.action, str(body.get("action"))))
            and (self.resource is None or self._acts_on(str(part(body, "resource").get("id", ""))))
            and self._in_time(str(body.get("time")))
        )

    def _acts_on(self, names: str) -> bool:
        return any(_fits(self.resource or "", name) for name in names.split(" "))

    def _in_time(self, time: str) -> bool:
        """Times of records have one form with microseconds, so that their texts sort as they do."""
        if self.from_us is not None and time < rfc3339(self.from_us):
            return False
        return self.to_us is None or time < rfc3339(self.to_us)


def _fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
