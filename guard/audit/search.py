"""A search hit with its evidence: the exact entry, compared with what the index said of it, and its inclusion proof.

Law: a search is answered from an index that whoever holds the database can alter; so with a proof, every column of a
hit is compared with the record itself, and the record's leaf hash with the root that the log signed. What this cannot
show is a record that the index hides: `guard audit rebuild` makes the index anew, and a tenant's numbers have no gaps.
No I/O.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from guard.audit.checkpoint import Checkpoint
from guard.audit.entry import rfc3339
from guard.audit.proof import LogProof
from guard.audit.row import Row
from guard.audit.tree import Node, inclusion_proof, verify_inclusion
from guard.errors import IndexMismatch
from guard.wire.audit import RecordEvidence, RecordView


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of the search index."""

    idx: int
    id: str
    tenant: str
    n: int
    time_us: int
    phase: str
    intent: str | None
    actor: str
    action: str
    resource: str
    allowed: int
    status: str
    code: str | None
    leaf: bytes


class Reading(Protocol):
    """What reads entries and nodes of the log."""

    @property
    def node(self) -> Node:
        """`node(level, index)`: the root of a perfect subtree."""
        ...

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Entries [start, end)."""
        ...


def compare(hit: Hit, entry: bytes) -> None:
    """Hold every column of a hit against the record.

    Raises:
        IndexMismatch: they differ; `extra` names the index and the columns, and no value.
        StoreDamaged: the entry is none.
    """
    row = Row.of(hit.idx, entry)
    told = {
        "allowed": bool(hit.allowed),
        "time_us": rfc3339(hit.time_us),
        **{name: getattr(hit, name) for name in ("id", "tenant", "phase", "intent", "actor", "action", "code")},
        **{name: getattr(hit, name) for name in ("n", "leaf", "resource", "status")},
    }
    columns = sorted(name for name, value in _columns(row).items() if told[name] != value)
    if columns:
        raise IndexMismatch(
            f"Expected the search index to say of record {hit.idx} what the record says, but {', '.join(columns)} "
            "differ: one of the two was changed. Verify an export, then run guard audit rebuild.",
            index=hit.idx,
            columns=columns,
        )


def prove(hit: Hit, head: Checkpoint, note: str, node: Node) -> bytes | None:
    """The inclusion proof of a hit under a checkpoint; None where the checkpoint does not cover it yet.

    Raises:
        VerificationFailed: the record's hash does not lead to the signed root.
    """
    if hit.idx >= head.size:
        return None
    hashes = tuple(inclusion_proof(hit.idx, head.size, node))
    verify_inclusion(hit.idx, head.size, hit.leaf, hashes, head.root)
    return LogProof(hit.idx, hashes, note.encode()).encode()


def view(hit: Hit) -> RecordView:
    """A hit as it is shown."""
    names = ("id", "n", "time_us", "phase", "actor", "action", "resource", "status", "code")
    same = {name: getattr(hit, name) for name in names}
    return RecordView(index=hit.idx, allowed=bool(hit.allowed), **same)


def proven(hit: Hit, reader: Reading, head: Checkpoint, note: str) -> RecordView:
    """A hit with its evidence.

    Raises:
        IndexMismatch, VerificationFailed: see `compare` and `prove`.
    """
    entry = next(iter(reader.entries(hit.idx, hit.idx + 1)))
    compare(hit, entry)
    proof = prove(hit, head, note, reader.node)
    evidence = RecordEvidence(entry=entry.decode(), proof=None if proof is None else proof.decode())
    return view(hit).model_copy(update={"evidence": evidence})


def _columns(row: Row) -> Mapping[str, Any]:
    body = row.body
    result = _map(body, "result")
    return {
        "id": body.get("id"),
        "tenant": body.get("tenant"),
        "n": row.n,
        "time_us": body.get("time"),
        "phase": body.get("phase"),
        "intent": body.get("intent"),
        "actor": _map(body, "actor").get("id"),
        "action": body.get("action"),
        "resource": _map(body, "resource").get("id"),
        "allowed": _map(body, "decision").get("allow"),
        "status": result.get("status"),
        "code": result.get("code"),
        "leaf": row.leaf,
    }


def _map(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}
