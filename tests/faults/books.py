"""Examines a store: are the indices and numbers dense, does everything recompute, is what was acknowledged there.

It reads what guard's own reader gives and recomputes the tree by itself; a checker that trusted stored hashes would
believe the store's account of its own damage.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from guard.audit import checkpoint, note
from guard.audit.log import Log
from guard.audit.tree import EMPTY_ROOT, Edge, leaf_hash
from guard.db.engine import Store
from guard.errors import StoreDamaged
from tests.faults.tally import Verdict


@dataclass
class Books:
    """What is in a store, and what is wrong with it."""

    verdict: Verdict = field(default_factory=Verdict)
    unopened: bool = False  # the home refused to open, with a named error
    size: int = 0
    records: list[dict] = field(default_factory=list)  # bodies in order
    ids: Counter = field(default_factory=Counter)
    signed: set[int] = field(default_factory=set)  # sizes of the stored checkpoints
    roots: dict[int, bytes] = field(default_factory=dict)  # of each size that a checkpoint has, and of the whole

    def acknowledged(self, ids: Iterable[str]) -> None:
        """Each of these records is there exactly once."""
        self.verdict.lost += [one for one in ids if not self.ids[one]]

    def attempted(self, ids: Iterable[str]) -> None:
        """Nothing is there that nobody wrote."""
        strangers = [one for one in self.ids if one not in set(ids)]
        self.verdict.expect(not strangers, f"records that nobody attempted: {strangers[:3]}")

    def promised(self, notes: Iterable[str], key: note.VerifierKey | None = None) -> None:
        """Each of these signed checkpoints is a prefix of the log."""
        for text in notes:
            parsed = note.parse(text.encode())
            head = checkpoint.parse(parsed.text)
            if head.size > self.size:
                self.verdict.lost += [f"record {index}" for index in range(self.size, head.size)]
            elif head.size not in self.signed:
                self.verdict.lost.append(f"checkpoint {head.size}")
            elif self.roots.get(head.size) != head.root:
                self.verdict.faults.append(f"the checkpoint of size {head.size} is no prefix of the log")
            if key is not None:
                note.verify(parsed, [key])


def examine(store: Store, log: Log, wanted: Iterable[int] = ()) -> Books:
    """Everything that can be said of the store without knowing what was asked of it."""
    books = Books()
    with store.read() as tx:
        integrity = tx.exec_driver_sql("PRAGMA integrity_check").scalar()
        books.verdict.expect(integrity == "ok", f"integrity_check says {integrity}")
        head = tx.exec_driver_sql("SELECT size, edge, root FROM audit_head").first()
        if head is None:
            books.verdict.expect(False, "the log has no head")
            return books
        index = list(tx.exec_driver_sql("SELECT idx, id, tenant, n, leaf FROM audit_index ORDER BY idx"))
        signed = list(tx.exec_driver_sql("SELECT size, root, note FROM audit_checkpoints ORDER BY size"))
        books.signed = {row[0] for row in signed}
        _numbers(books.verdict, index, head[0])
        books.ids = Counter(row[1] for row in index)
        books.verdict.doubled += sum(count - 1 for count in books.ids.values())
        _recompute(books, log, tx, index, books.signed | set(wanted))
        books.verdict.expect(books.roots[books.size] == head[2], "the head's root does not recompute")
        books.verdict.expect(Edge.parse(head[1]).root() == head[2], "the head's edge is not that of its root")
        books.promised([row[2] for row in signed if row[2]], log.verifier)
    return books


def sizes(notes: Iterable[str]) -> list[int]:
    """The tree size of each signed checkpoint."""
    return [checkpoint.parse(note.parse(text.encode()).text).size for text in notes]


def _numbers(verdict: Verdict, index: list, size: int) -> None:
    """Indices and per-tenant numbers without a gap."""
    verdict.holes += len(set(range(size)) - {row[0] for row in index})
    verdict.expect(len(index) <= size, f"{len(index)} records and a head of {size}")
    tenants: dict[str, list[int]] = {}
    for _, _, tenant, n, _ in index:
        tenants.setdefault(tenant, []).append(n)
    for numbers in tenants.values():
        verdict.holes += len(set(range(max(numbers) + 1)) - set(numbers))
        verdict.doubled += len(numbers) - len(set(numbers))


def _recompute(books: Books, log: Log, tx, index: list, sizes: set[int]) -> None:
    edge = Edge()
    books.roots = {0: EMPTY_ROOT}
    size = index[-1][0] + 1 if index else 0
    try:
        for row, data in zip(index, log.reader(tx).entries(0, size), strict=True):
            leaf = leaf_hash(data)
            found = json.loads(data)
            books.verdict.expect(leaf == row[4], f"record {row[0]} does not hash to its leaf")
            books.verdict.expect((found["n"], found["b"]["id"]) == (row[3], row[1]), f"record {row[0]} is another")
            books.records.append(found["b"])
            edge = edge.extend([leaf])
            if edge.size in sizes:
                books.roots[edge.size] = edge.root()
    except (StoreDamaged, ValueError) as error:
        books.verdict.holes += 1
        books.verdict.faults.append(f"the log cannot be read to its end: {error}")
    books.size = edge.size
    books.roots[edge.size] = edge.root()
