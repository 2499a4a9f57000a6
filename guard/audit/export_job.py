"""An export as a job: a fixed prefix of the log, its parts, and where it stands. No I/O.

Law: requested (the intent on record) -> frozen (size and root of a signed checkpoint) -> running -> ready; or failed
with the place of the damage; or cancelled. The prefix never changes, so a part that is made again has the same bytes.
"""

import base64
from dataclasses import dataclass
from typing import Any

from guard.audit.checkpoint import Checkpoint
from guard.audit.selection import Filter
from guard.audit.tree import EMPTY_ROOT, Edge
from guard.wire import audit_exports as wire

PART_RECORDS = 1 << 16  # 256 full tiles of the lowest level, which is one hash of the third
OPEN = frozenset({"frozen", "running"})
TILES = "tiles"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is durable: records [first, last), matches, bytes in its file, right edge over its leaves."""

    first: int
    last: int
    matched: int
    sha256: str
    length: int
    edge: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """An export. `note` is the checkpoint, verbatim; `manifest` and `sha256` (of the archive) are hex or None."""

    id: str
    tenant: str
    format: str
    filter: Filter
    purpose: str
    state: str
    size: int
    root: bytes
    note: str
    prove: tuple[int, ...]
    matched: int
    detail: str
    manifest: str | None
    sha256: str | None
    created_by: str
    created_us: int
    changed_us: int

    def head(self, origin: str) -> Checkpoint:
        """The checkpoint that the export stands under."""
        return Checkpoint(origin, self.size, self.root)

    def view(self, done: int, part_records: int = PART_RECORDS) -> wire.ExportView:
        """As the API shows it, with so many parts done."""
        same: dict[str, Any] = {name: getattr(self, name) for name in wire.ExportView.model_fields if name in _SAME}
        return wire.ExportView(
            filter=wire.ExportFilter(**self.filter.given()),
            root=base64.b64encode(self.root).decode("ascii"),
            parts=-(-self.size // part_records),
            done=done,
            **same,
        )


_SAME = frozenset(Job.__dataclass_fields__) - {"filter", "root"}


def root_of_parts(parts: list[Part]) -> bytes:
    """The root over all leaves of consecutive parts, of which each but the last has the same power of two of them."""
    edges = [Edge.parse(part.edge) for part in parts]
    if not edges:
        return EMPTY_ROOT
    whole, last = edges[:-1], edges[-1]
    before = Edge().extend(edge.root() for edge in whole)
    return Edge(sum(edge.size for edge in edges), before.peaks + last.peaks).root()
