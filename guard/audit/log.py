"""The log as the commit pipeline writes it: numbers, leaves, right edge, full tiles, and the signed checkpoints.

Law: one writer; what is in memory is what the last COMMIT made durable, and a rolled-back group leaves no trace. A
checkpoint is signed only after the new entries were read back from storage and hashed again, since one flipped bit in
a stored hash would otherwise be signed for ever, and published only after the anchor was moved to it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.audit import anchor, archive_store, checkpoint_store, note, store
from guard.audit.anchor import Replaced
from guard.audit.anchors import Anchors, Own
from guard.audit.checkpoint import Checkpoint, Head, Verdict, may_publish
from guard.audit.entry import entry
from guard.audit.files import Files, damaged_tile
from guard.audit.note import Kind, Note, VerifierKey
from guard.audit.reader import Reader
from guard.audit.receipt import DEFAULT_PROMISE_US, Batch, ReceiptKey
from guard.audit.signers import PrivateKey, Signer, newest, sign
from guard.audit.store import Placed
from guard.audit.tiles import WIDTH
from guard.audit.tree import Edge, Node, consistency_proof, edge_of, leaf_hash, root_of
from guard.db.engine import Tx
from guard.db.entry import Entry
from guard.errors import Conflict, RangePruned, StoreDamaged

RECEIPT_NAME = "/receipts"  # after the origin: the name of the key that signs receipts
SCRUB_AFTER_US = 600_000_000  # the first minutes after a start have other work
RENEW_US = (
    600_000_000  # an idle log states every ten minutes that it is still as it was (the ML-DSA line holds the time)
)
SIGNING_SECONDS = 2  # for another signature of this process that waits for the anchor's volume
LEVELS = 8  # tiles of 256: eight levels hold 2^64 records


@dataclass(slots=True)
class _State:
    """Where the log stands: right edge, next number per tenant, and the hashes of the unfinished tile of each level."""

    edge: Edge
    numbers: Mapping[str, int]
    open_tiles: tuple[tuple[bytes, ...], ...]


@dataclass(frozen=True, slots=True)
class _Signed:
    """A signed head, its note, and the right edge that was read back for it."""

    head: Head
    note: str
    edge: Edge


class Log:
    """One log of one origin. `append`, `committed` and `aborted` are for whoever holds the pipeline's connection."""

    def __init__(self, origin: str, *keys: PrivateKey, receipts: Ed25519PrivateKey, files: Files | None = None) -> None:
        self.first = self.origin = origin
        self.files = files
        self.signers = tuple(Signer.of(origin, key) for key in keys)
        self.receipts = ReceiptKey.of(f"{origin}{RECEIPT_NAME}", receipts)
        self.anchors: Anchors | None = None
        self.replaced: Sequence[Replaced] = ()
        self._draft: _State | None = None
        self._left: Mapping[str, Any] | None = None
        self._signing = threading.Lock()  # from reading the anchor to moving it: two signers would accuse each other
        self.scrub_due_us = 0
        self.seal: Callable[[Tx, Sequence[Entry]], None] | None = None  # what entries commit to, in their transaction
        self._begin()

    def _begin(self) -> None:
        """Stand where a new, empty log does."""
        self._state = _State(Edge(), {}, ((),) * LEVELS)
        self._reread = self._signed = Edge()
        self._staged: _Signed | None = None
        self._archived = 0
        self.pruned(0, 0)

    def become(self, origin: str) -> None:
        """Bear the origin of an incarnation: with it go the names of the keys and the place of the files."""
        self.origin = origin
        self.signers = tuple(Signer.of(origin, one.private, one.until_us) for one in self.signers)
        self.receipts = ReceiptKey.of(f"{origin}{RECEIPT_NAME}", self.receipts.key)
        self.files = self.files and self.files.of(anchor.incarnation(origin, self.first))

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._state.edge.size

    @property
    def verifier(self) -> VerifierKey:
        """The Ed25519 key by which a checkpoint is verified."""
        return newest(self.signers)

    def rekey(self, signers: tuple[Signer, ...]) -> None:
        """Sign by these keys from now on; notes by all of them are this log's."""
        self.signers = signers
        if self.anchors is not None:
            self.anchors.publics |= {one.verifier.public for one in signers if one.verifier.kind is Kind.ED25519}

    def replace_keys(self, signers: tuple[Signer, ...], receipts: Ed25519PrivateKey) -> None:
        """Sign by these keys alone, receipts too; after `succeed`, so that a rolled-back group leaves the old ones."""
        self.rekey(signers)
        self.receipts = ReceiptKey.of(f"{self.origin}{RECEIPT_NAME}", receipts)

    def sign(self, text: str) -> bytes:
        """A signed note over *text* by the log's key; for texts that say in their first line what they are."""
        private = next(one.private for one in self.signers if one.verifier == self.verifier)
        assert isinstance(private, Ed25519PrivateKey)
        return Note(text, (note.sign_ed25519(text, self.origin, private),)).encode()

    def reader(self, tx: Tx) -> Reader:
        """What reads this log in the transaction *tx*."""
        return Reader(tx, self.files, self._known)

    @property
    def waiting_bundles(self) -> int:
        """How many bundles could go to files now."""
        return 0 if self.files is None else max(0, self._signed.size // WIDTH - self._archived // WIDTH)

    def archived(self, size: int) -> None:
        """The first *size* records are in files, and that is durable."""
        self._archived = size

    @property
    def in_files(self) -> tuple[int, int, int]:
        """Of which records there are files: the incarnation, the first that is not pruned, and their end."""
        return anchor.incarnation(self.origin, self.first), self._first_kept, self._archived

    def pruned(self, first: int, removed: int) -> None:
        """Records below *first* are pruned, and below *removed* nothing is left of them but hashes."""
        self._first_kept, self.to_remove = first, first - removed

    def load(self, tx: Tx, now_us: int) -> None:
        """Read the head, or create it in a new store.

        Raises:
            StoreDamaged: the store holds the log of another origin.
        """
        self.scrub_due_us = now_us + SCRUB_AFTER_US
        head = store.read_head(tx)
        if head is None:
            store.create_head(tx, self.origin, now_us)
            archive_store.create(tx, self.origin)
            return
        origin, edge = head
        if not anchor.incarnation(origin, self.first):
            raise StoreDamaged(
                f"Expected the log {self.first} in this store, got {origin}; an origin never changes, so set it back."
            )
        self.become(origin)
        archive_store.create(tx, self.origin)
        reader = Reader(tx, self.files)
        open_tiles = _open_tiles(reader, edge.size)
        if _edge_of(edge.size, open_tiles) != edge:
            raise _unlike_head(reader, edge.size)
        self._state = _State(edge, store.read_numbers(tx), open_tiles)
        self._archived = reader.span.archived
        self.pruned(reader.span.first, reader.span.removed)
        if reader.span.signed <= edge.size:
            self._signed = edge_of(self.reader(tx).node, reader.span.signed)
        self.replaced = () if origin == self.first else self._replaced(tx)

    def _replaced(self, tx: Tx) -> Sequence[Replaced]:
        try:
            return anchor.replaced_of(next(self.reader(tx).entries(0, min(self.size, 1)), b""))
        except (StoreDamaged, RangePruned):  # then it vouches for nothing
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
        if self.seal is not None and any(one.personal for one in entries):
            self.seal(tx, entries)
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
            self.__dict__.update(self._left)
            self._left = None

    @property
    def successor(self) -> str:
        """The origin of the next incarnation."""
        return anchor.named(self.first, anchor.incarnation(self.origin, self.first) + 1)

    def succeed(self, tx: Tx, now_us: int, replaced: Sequence[Replaced]) -> None:
        """Leave this incarnation: the store's log is empty from here on, and bears the next one's origin."""
        store.clear(tx)
        store.create_head(tx, self.successor, now_us)
        archive_store.create(tx, self.successor)
        self._left = dict(self.__dict__)  # of a group that is rolled back nothing may be left here either
        self.become(self.successor)
        self._begin()
        self.replaced = replaced

    def own(self, tx: Tx) -> Own:
        """What the anchors are compared with."""
        found = store.read_head(tx)
        edge = found[1] if found else Edge()
        last = store.last_checkpoint(tx, self.origin)
        head = Checkpoint(self.origin, edge.size, edge.root())
        return Own(head, lambda size: self._edge_at(tx, size).root(), last[1] if last else "", self.replaced)

    def recover(self, tx: Tx, now_us: int) -> None:
        """At the start: judge the log by its anchors, then publish the note that a crash left in one."""
        if self.anchors is not None:
            shown = {name: row.evidence for name, row in checkpoint_store.witnesses(tx).items() if row.evidence}
            self.anchors.check(self.own(tx), shown)
            if self.anchors.standing.sound:
                self.adopt(tx, now_us)

    def promise(self, entries: Sequence[Entry]) -> Callable[[int], str]:
        """Signed promises that these durable records are in the log, in checkpoints from a minute from now on."""
        origin, key = self.origin, self.receipts  # of now: both may be others when somebody asks
        made: list[Batch] = []

        def text(place: int) -> str:
            if not made:
                by_us = max(one.time_us for one in entries) + DEFAULT_PROMISE_US
                made.append(Batch(origin, key, [(one.id, one.body) for one in entries], by_us))
            return made[0].text(place)

        return text

    def adopt(self, tx: Tx, now_us: int) -> bool:
        """Publish the anchor's note where it is ahead of the store: it was signed, and no other of its size may be."""
        held = self.anchors.held(self.own(tx)) if self.anchors else None
        if held is None or held.head.origin != self.origin:
            return False
        return self._insert(tx, _Signed(Head(held.head, now_us), held.note, self._edge_at(tx, held.head.size)))

    def _insert(self, tx: Tx, signed: _Signed, *, renewal: bool = False) -> bool:
        """Put a signed head into the store, unless one of its size is there; a renewal takes the place of that one."""
        last = store.last_checkpoint(tx, self.origin)
        size, time_us = signed.head.checkpoint.size, signed.head.time_us
        if last is None or size > last[0].checkpoint.size:
            accepted_us = checkpoint_store.accepted_clock(tx, last[0].time_us) if last else None
            after_us = last[0].time_us + 1 if last and accepted_us is None else 0
            store.add_checkpoint(tx, Head(signed.head.checkpoint, max(time_us, after_us)), signed.note)
        elif renewal and size == last[0].checkpoint.size and time_us > last[0].time_us and signed.note != last[1]:
            checkpoint_store.renew_checkpoint(tx, signed.head, signed.note)
        else:
            return False
        self._signed = signed.edge
        return True

    def stage(self, tx: Tx, now_us: int) -> bool:
        """The first step of publishing, on a reader's connection: sign, and move the anchor. *tx* has read nothing yet.

        A slow or hanging volume then holds up the next checkpoint and not one request. What an earlier step left in
        the anchor, because the writer could not publish it, is staged again.
        """
        if self._staged is not None:
            return False
        made, verdict = self._sign_head(tx, now_us)
        last = store.last_checkpoint(tx, self.origin)
        left = made.head.checkpoint.size > (last[0].checkpoint.size if last else 0) and made.note != ""
        if verdict is Verdict.PUBLISH or left:
            self._staged = made
        return self._staged is not None

    @property
    def staged(self) -> bool:
        """Whether a note is signed and anchored, and not yet published."""
        return self._staged is not None

    def publish_staged(self, tx: Tx) -> Head | None:
        """The second step: publish what `stage` signed; its head, if it was. It touches the store alone."""
        staged, self._staged = self._staged, None
        return staged.head if staged is not None and self._insert(tx, staged, renewal=True) else None

    def publish(self, tx: Tx, now_us: int) -> tuple[Head, str, Verdict]:
        """Sign the committed head, if it grew or its note is old; the latest checkpoint, its note, what was decided.

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
        made, verdict = self._sign_head(tx, now_us)
        if verdict is Verdict.PUBLISH:
            self._insert(tx, made, renewal=True)
        return made.head, made.note, verdict

    def sign_head(self, tx: Tx, now_us: int) -> tuple[Head, str, Verdict]:
        """Sign the stored head and move the anchor to the note; `publish` or `adopt` then publishes it.

        See `publish` for what it raises.
        """
        made, verdict = self._sign_head(tx, now_us)
        return made.head, made.note, verdict

    def _sign_head(self, tx: Tx, now_us: int) -> tuple[_Signed, Verdict]:
        if not self._signing.acquire(timeout=SIGNING_SECONDS):
            raise Conflict("The anchor's volume is slow, so the last checkpoint is not done yet; try again shortly.")
        try:
            return self._anchored_head(tx, now_us)
        finally:
            self._signing.release()

    def _anchored_head(self, tx: Tx, now_us: int) -> tuple[_Signed, Verdict]:
        own = self.own(tx)
        held = self.anchors.held(own) if self.anchors else None
        last = store.last_checkpoint(tx, self.origin)
        signed_size = last[0].checkpoint.size if last else 0
        if held and held.head.origin == self.origin and held.head.size > signed_size:
            return _Signed(Head(held.head, now_us), held.note, self._edge_at(tx, held.head.size)), Verdict.WAIT
        head, edge, verdict = self._next(tx, own.head, last[0] if last else None, now_us)
        if verdict is not Verdict.PUBLISH:
            return _Signed(last[0] if last else head, last[1] if last else "", edge), verdict
        signed = Note(head.checkpoint.text(), sign(self.signers, head.checkpoint, now_us)).encode().decode()
        if self.anchors:
            self.anchors.swap(held, signed)
        return _Signed(head, signed, edge), verdict

    def _next(self, tx: Tx, head: Checkpoint, last: Head | None, now_us: int) -> tuple[Head, Edge, Verdict]:
        """The head to sign, made anew from the stored entries, with its edge, and whether it may be signed."""
        signed_size = last.checkpoint.size if last else 0
        if last is not None and last.checkpoint == head and now_us - last.time_us < RENEW_US:
            return last, self._signed, Verdict.WAIT
        if signed_size > head.size:
            raise _no_extension(Verdict.ROLLED_BACK)
        edge = self._read_back(tx, signed_size, head.size)
        new = Head(Checkpoint(self.origin, head.size, edge.root()), now_us)
        if new.checkpoint != head:
            raise StoreDamaged(
                f"Expected the {head.size} stored records to hash to the log's head, but they do not; "
                "no checkpoint was signed. Run guard audit export and guard verify to find the record."
            )
        proof = consistency_proof(signed_size, head.size, self._node_at(tx, signed_size))
        verdict = may_publish(last, new, proof)
        if last is not None and verdict is Verdict.CLOCK_REGRESSION:
            accepted_us = checkpoint_store.accepted_clock(tx, last.time_us)
            verdict = verdict if accepted_us is None else may_publish(replace(last, time_us=accepted_us), new, proof)
        if verdict in {Verdict.ROLLED_BACK, Verdict.FORKED}:
            raise _no_extension(verdict)
        return new, edge, verdict

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
        reread = self._reread  # once: another thread may be reading on
        edge = reread if start <= reread.size <= end else self._edge_at(tx, start)
        return edge.extend(leaf_hash(data) for data in self.reader(tx).entries(edge.size, end))

    def _edge_at(self, tx: Tx, size: int) -> Edge:
        """The right edge of the first *size* records; the one that was signed last is in memory."""
        signed = self._signed
        return signed if size == signed.size else edge_of(self.reader(tx).node, size)

    def _node_at(self, tx: Tx, size: int) -> Node:
        """Nodes for a proof from *size* on; what lies before it is the signed edge, which is in memory.

        Checkpoints are signed on the writer's thread, where reading files would hold every request.
        """
        node, signed = self.reader(tx).node, self._signed
        if size != signed.size:
            return node
        peaks = dict(zip(_peak_places(size), signed.peaks, strict=True))
        return lambda level, index: peaks.get((level, index)) or node(level, index)

    def _known(self, level: int, n: int, width: int) -> Sequence[bytes] | None:
        state = self._state
        if level >= LEVELS or n != (state.edge.size >> (8 * level)) // WIDTH:
            return None
        hashes = state.open_tiles[level]
        return hashes[:width] if len(hashes) >= width else None


def _peak_places(size: int) -> list[tuple[int, int]]:
    """(level, index) of each perfect subtree of a tree of this size, largest first."""
    levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
    return [(level, (size >> level) - 1) for level in levels]


def _edge_of(size: int, open_tiles: Sequence[Sequence[bytes]]) -> Edge:
    return Edge(size, tuple(peak for level in reversed(open_tiles) for peak in Edge().extend(level).peaks))


def _unlike_head(reader: Reader, size: int) -> StoreDamaged:
    """Which stored hashes do not lead to the head: a tile unlike the search index, as far as that can be told."""
    for n in range(size // WIDTH):
        indexed = reader.indexed(n)
        if indexed and list(reader.hashes(0, n)) != indexed:
            return damaged_tile(0, n, "other bytes than the search index")
    return StoreDamaged(
        f"Expected the stored hashes of the {size} records to lead to the log's head, but they do not; "
        "stop the service and run guard audit rebuild."
    )


def _no_extension(verdict: Verdict) -> StoreDamaged:
    return StoreDamaged(f"Expected the log to extend its last checkpoint, but it is {verdict.value}; restore it.")


def _open_tiles(reader: Reader, size: int) -> tuple[tuple[bytes, ...], ...]:
    counts = [size >> (8 * level) for level in range(LEVELS)]
    return tuple(
        tuple(reader.hashes(level, count // WIDTH)) if count % WIDTH else () for level, count in enumerate(counts)
    )


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
