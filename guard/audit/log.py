"""The log as the commit pipeline writes it: numbers, leaves, right edge, full tiles, and the signed checkpoints.

Law: one writer; what is in memory is what the last COMMIT made durable, and a rolled-back group leaves no trace. A
checkpoint is signed only after the new entries were read back from storage and hashed again, since one flipped bit in
a stored hash would otherwise be signed for ever.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.audit import anchor, note, store
from guard.audit.anchor import Replaced
from guard.audit.anchors import Anchors, Own
from guard.audit.checkpoint import Checkpoint, Head, Verdict, may_publish
from guard.audit.entry import entry
from guard.audit.note import Kind, Note, VerifierKey
from guard.audit.reader import Reader
from guard.audit.store import Placed
from guard.audit.tiles import WIDTH
from guard.audit.tree import Edge, consistency_proof, edge_of, leaf_hash, root_of
from guard.db.commit import Entry
from guard.db.engine import Tx
from guard.errors import Conflict, StoreDamaged

SIGNING_SECONDS = 2  # for another signature of this process that waits for the anchor's volume
LEVELS = 8  # tiles of 256: eight levels hold 2^64 records


@dataclass(slots=True)
class _State:
    """Where the log stands: right edge, next number per tenant, and the hashes of the unfinished tile of each level."""

    edge: Edge
    numbers: Mapping[str, int]
    open_tiles: tuple[tuple[bytes, ...], ...]


class Log:
    """One log of one origin. `append`, `committed` and `aborted` are called by the pipeline's writer only."""

    def __init__(self, origin: str, signer: Ed25519PrivateKey) -> None:
        self.first = origin
        self._signer = signer
        self._become(origin)
        self._state = _State(Edge(), {}, ((),) * LEVELS)
        self._draft: _State | None = None
        self._left: tuple[str, _State] | None = None
        self._reread = Edge()
        self.anchors: Anchors | None = None
        self._signing = threading.Lock()  # from reading the anchor to moving it: two signers would accuse each other
        self._staged: Head | None = None
        self._staged_note = ""
        self.replaced: Sequence[Replaced] = ()

    def _become(self, origin: str) -> None:
        self.origin = origin
        self.verifier = VerifierKey(origin, Kind.ED25519, self._signer.public_key().public_bytes_raw())

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._state.edge.size

    def reader(self, tx: Tx) -> Reader:
        """What reads this log in the transaction *tx*."""
        return Reader(tx)

    def load(self, tx: Tx, now_us: int) -> None:
        """Read the head, or create it in a new store.

        Raises:
            StoreDamaged: the store holds the log of another origin.
        """
        head = store.read_head(tx)
        if head is None:
            store.create_head(tx, self.origin, now_us)
            return
        origin, edge = head
        if not anchor.incarnation(origin, self.first):
            raise StoreDamaged(
                f"Expected the log {self.origin} in this store, got {origin}; an origin never changes, so set it back."
            )
        self._become(origin)
        self._state = _State(edge, store.read_numbers(tx), _open_tiles(tx, edge.size))
        self.replaced = self._replaced(tx)

    def _replaced(self, tx: Tx) -> Sequence[Replaced]:
        try:
            return anchor.replaced_of(next(self.reader(tx).entries(0, min(self.size, 1)), b'{"b":{"action":""}}'))
        except StoreDamaged:  # pruned or damaged: then it vouches for nothing
            return ()

    def append(self, tx: Tx, entries: Sequence[Entry]) -> None:
        """Write *entries* as the next records; durable with the caller's COMMIT."""
        self._draft = None
        if not entries:
            return
        state = self._state
        numbers: dict[str, int] = {}
        placed = []
        for offset, one in enumerate(entries):
            n = numbers.get(one.tenant, state.numbers.get(one.tenant, 0))
            numbers[one.tenant] = n + 1
            data = entry(one.body, n)
            placed.append(Placed(state.edge.size + offset, n, data, leaf_hash(data), one))
        leaves = [one.leaf for one in placed]
        edge = state.edge.extend(leaves)
        open_tiles, finished = _fill_tiles(state, leaves)
        store.append(tx, placed)
        store.add_tiles(tx, finished)
        store.write_numbers(tx, numbers, state.numbers.keys())
        store.move_head(tx, state.edge.size, edge, entries[-1].time_us)
        self._draft = _State(edge, {**state.numbers, **numbers}, open_tiles)

    def committed(self) -> None:
        """The last `append` is durable."""
        if self._draft is not None:
            self._state, self._draft = self._draft, None
        self._left = None

    def aborted(self) -> None:
        """The last `append` was rolled back."""
        self._draft = None
        if self._left is not None:
            self._become(self._left[0])
            self._state, self._left = self._left[1], None

    def succeed(self, tx: Tx, now_us: int, replaced: Sequence[Replaced]) -> None:
        """Leave this incarnation: the store's log is empty from here on, and bears the next one's origin."""
        self._left = (self.origin, self._state)
        store.clear(tx)
        self._become(anchor.named(self.first, anchor.incarnation(self.origin, self.first) + 1))
        self._state, self._reread, self.replaced = _State(Edge(), {}, ((),) * LEVELS), Edge(), replaced
        store.create_head(tx, self.origin, now_us)

    def own(self, tx: Tx) -> Own:
        """What the anchors are compared with."""
        found = store.read_head(tx)
        edge = found[1] if found else Edge()
        last = store.last_checkpoint(tx, self.origin)
        node = self.reader(tx).node
        head = Checkpoint(self.origin, edge.size, edge.root())
        return Own(head, lambda size: edge_of(node, size).root(), last[1] if last else "", self.replaced)

    def recover(self, tx: Tx, now_us: int) -> None:
        """At the start: judge the log by its anchors, then publish the note that a crash left in one."""
        if self.anchors is not None:
            self.anchors.check(self.own(tx))
            if self.anchors.standing.sound:
                self.adopt(tx, now_us)

    def adopt(self, tx: Tx, now_us: int) -> bool:
        """Publish the anchor's note where it is ahead of the store: it was signed, and no other of its size may be."""
        held = self.anchors.held(self.own(tx)) if self.anchors else None
        return held is not None and self._add_if_ahead(tx, Head(held.head, now_us), held.note)

    def _add_if_ahead(self, tx: Tx, signed: Head, text: str) -> bool:
        last = store.last_checkpoint(tx, self.origin)
        if signed.checkpoint.origin != self.origin or (last and signed.checkpoint.size <= last[0].checkpoint.size):
            return False
        after = last[0].time_us + 1 if last else 0
        store.add_checkpoint(tx, Head(signed.checkpoint, max(signed.time_us, after)), text)
        return True

    def stage(self, tx: Tx, now_us: int) -> bool:
        """The first step of publishing, on a reader's connection: sign, and move the anchor. *tx* has read nothing yet.

        A slow or hanging volume then holds up the next checkpoint and not one request.
        """
        new, text, verdict = self.sign(tx, now_us)
        if verdict is Verdict.PUBLISH:
            self._staged, self._staged_note = new, text
        return verdict is Verdict.PUBLISH

    @property
    def staged(self) -> bool:
        """Whether a note is signed and anchored, and not yet published."""
        return self._staged is not None

    def publish_staged(self, tx: Tx) -> bool:
        """The second step: publish what `stage` signed. It touches the store alone."""
        staged, self._staged = self._staged, None
        return staged is not None and self._add_if_ahead(tx, staged, self._staged_note)

    def publish(self, tx: Tx, now_us: int) -> tuple[Head, str, Verdict]:
        """Sign the committed head, if it grew; the latest checkpoint, its note and what was decided.

        Raises:
            StoreDamaged: the stored entries do not hash to the stored head, or an earlier checkpoint is no prefix.
            GuardError: an anchor is missing, or contradicts the log.
        """
        found = store.read_head(tx)
        if (found[1] if found else Edge()) != self._state.edge:
            raise StoreDamaged(
                "Expected the log's head as it was committed, but the stored one was changed; restore it."
            )
        self.adopt(tx, now_us - 1)  # what is signed now must be later than what was signed before
        new, signed, verdict = self.sign(tx, now_us)
        if verdict is Verdict.PUBLISH:
            store.add_checkpoint(tx, new, signed)
        return new, signed, verdict

    def sign(self, tx: Tx, now_us: int) -> tuple[Head, str, Verdict]:
        """Sign the stored head, if it grew, and move the anchor to the note; `publish` or `adopt` then publishes it.

        See `publish` for what it raises.
        """
        if not self._signing.acquire(timeout=SIGNING_SECONDS):
            raise Conflict("The anchor's volume is slow, so the last checkpoint is not done yet; try again shortly.")
        try:
            return self._sign(tx, now_us)
        finally:
            self._signing.release()

    def _sign(self, tx: Tx, now_us: int) -> tuple[Head, str, Verdict]:
        own = self.own(tx)
        held = self.anchors.held(own) if self.anchors else None
        last = store.last_checkpoint(tx, self.origin)
        signed_size = last[0].checkpoint.size if last else 0
        if held and held.head.origin == self.origin and held.head.size > signed_size:
            return Head(held.head, now_us), held.note, Verdict.WAIT
        new, verdict = self._next(tx, own.head, last[0] if last else None, now_us)
        if verdict is not Verdict.PUBLISH:
            return (*last, verdict) if last else (new, "", verdict)
        text = new.checkpoint.text()
        signed = Note(text, (note.sign_ed25519(text, self.origin, self._signer),)).encode().decode()
        if self.anchors:
            self.anchors.swap(held, signed)
        return new, signed, verdict

    def _next(self, tx: Tx, head: Checkpoint, last: Head | None, now_us: int) -> tuple[Head, Verdict]:
        """The head to sign, made anew from the stored entries, and whether it may be signed."""
        new = Head(head, now_us)
        signed_size = last.checkpoint.size if last else 0
        if last is not None and last.checkpoint == head:
            return last, Verdict.WAIT
        if signed_size > head.size:
            raise _no_extension(Verdict.ROLLED_BACK)
        if self._read_back(tx, signed_size, head.size).root() != head.root:
            raise StoreDamaged(
                f"Expected the {head.size} stored records to hash to the log's head, but they do not; "
                "no checkpoint was signed. Run guard audit export and guard verify to find the record."
            )
        verdict = may_publish(last, new, consistency_proof(signed_size, head.size, self.reader(tx).node))
        if verdict in {Verdict.ROLLED_BACK, Verdict.FORKED}:
            raise _no_extension(verdict)
        return new, verdict

    def reread(self, tx: Tx) -> int:
        """Hash again, on a reader's connection, what was committed since; `publish` then has little left to read.

        Under load a second brings thousands of records, and hashing them on the writer's connection would hold every
        request for as long. The size up to which the log was read back.
        """
        found = store.read_head(tx)
        last = store.last_checkpoint(tx, self.origin)
        start = max(last[0].checkpoint.size if last else 0, self._reread.size)
        end = found[1].size if found else 0
        if start < end:
            self._reread = self._read_back(tx, start, end)
        return self._reread.size

    def _read_back(self, tx: Tx, start: int, end: int) -> Edge:
        """The edge over what is stored: the peaks of the part signed before, then every new entry hashed again."""
        if start <= self._reread.size <= end:
            start = self._reread.size
            return self._reread.extend(leaf_hash(data) for data in self.reader(tx).entries(start, end))
        edge = edge_of(self.reader(tx).node, start)
        return edge.extend(leaf_hash(data) for data in self.reader(tx).entries(start, end))


def _no_extension(verdict: Verdict) -> StoreDamaged:
    return StoreDamaged(f"Expected the log to extend its last checkpoint, but it is {verdict.value}; restore it.")


def _open_tiles(tx: Tx, size: int) -> tuple[tuple[bytes, ...], ...]:
    node = store.node_reader(tx)
    tiles = []
    for level in range(LEVELS):
        count = size >> (8 * level)
        first = count - count % WIDTH
        tiles.append(tuple(node(8 * level, index) for index in range(first, count)))
    return tuple(tiles)


def _fill_tiles(
    state: _State, leaves: Sequence[bytes]
) -> tuple[tuple[tuple[bytes, ...], ...], list[tuple[int, int, bytes]]]:
    finished: list[tuple[int, int, bytes]] = []
    levels: list[tuple[bytes, ...]] = []
    rising: Sequence[bytes] = leaves
    for level, start in enumerate(state.open_tiles):
        hashes = [*start, *rising]
        number = (state.edge.size >> (8 * level)) // WIDTH
        rising = []
        while len(hashes) >= WIDTH:
            full, hashes = hashes[:WIDTH], hashes[WIDTH:]
            finished.append((level, number, b"".join(full)))
            rising = [*rising, root_of(full)]
            number += 1
        levels.append(tuple(hashes))
    return tuple(levels), finished
