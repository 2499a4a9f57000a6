"""The log as the commit pipeline writes it: numbers, leaves, right edge, full tiles, and the signed checkpoints.

Law: one writer; what is in memory is what the last COMMIT made durable, and a rolled-back group leaves no trace. A
checkpoint is signed only after the new entries were read back from storage and hashed again, since one flipped bit in
a stored hash would otherwise be signed for ever.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.audit import archive_store, checkpoint_store, note, store
from guard.audit.checkpoint import Checkpoint, Head, Verdict, may_publish
from guard.audit.entry import entry
from guard.audit.files import Files, damaged_tile
from guard.audit.note import Note, VerifierKey
from guard.audit.reader import Reader
from guard.audit.receipt import DEFAULT_PROMISE_US, Batch, ReceiptKey
from guard.audit.signers import PrivateKey, Signer, newest, sign
from guard.audit.store import Placed
from guard.audit.tiles import WIDTH
from guard.audit.tree import Edge, Node, consistency_proof, leaf_hash, root_of
from guard.db.engine import Tx
from guard.db.entry import Entry
from guard.errors import StoreDamaged

RECEIPT_NAME = "/receipts"  # after the origin: the name of the key that signs receipts
SCRUB_AFTER_US = 600_000_000  # the first minutes after a start have other work
RENEW_US = (
    600_000_000  # an idle log states every ten minutes that it is still as it was (the ML-DSA line holds the time)
)
LEVELS = 8  # tiles of 256: eight levels hold 2^64 records


@dataclass(slots=True)
class _State:
    """Where the log stands: right edge, next number per tenant, and the hashes of the unfinished tile of each level."""

    edge: Edge
    numbers: Mapping[str, int]
    open_tiles: tuple[tuple[bytes, ...], ...]


class Log:
    """One log of one origin. `append`, `committed` and `aborted` are called by the pipeline's writer only."""

    def __init__(self, origin: str, *keys: PrivateKey, receipts: Ed25519PrivateKey, files: Files | None = None) -> None:
        self.origin = origin
        self.files = files
        self.signers = tuple(Signer.of(origin, key) for key in keys)
        self.receipts = ReceiptKey.of(f"{origin}{RECEIPT_NAME}", receipts)
        self._state = _State(Edge(), {}, ((),) * LEVELS)
        self._draft: _State | None = None
        self._reread = Edge()
        self._signed = Edge()
        self._archived = 0
        self.scrub_due_us = 0
        self.pruned(0, 0)
        self.seal: Callable[[Tx, Sequence[Entry]], None] | None = None  # what entries commit to, in their transaction

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._state.edge.size

    @property
    def verifier(self) -> VerifierKey:
        """The Ed25519 key by which a checkpoint is verified."""
        return newest(self.signers)

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

    def pruned(self, first: int, removed: int) -> None:
        """Records below *first* are pruned, and below *removed* nothing is left of them but hashes."""
        self.to_remove = first - removed

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
        if origin != self.origin:
            raise StoreDamaged(
                f"Expected the log {self.origin} in this store, got {origin}; an origin never changes, so set it back."
            )
        archive_store.create(tx, self.origin)
        reader = Reader(tx, self.files)
        open_tiles = _open_tiles(reader, edge.size)
        if _edge_of(edge.size, open_tiles) != edge:
            raise _unlike_head(reader, edge.size)
        self._state = _State(edge, store.read_numbers(tx), open_tiles)
        self._archived = reader.span.archived
        self.pruned(reader.span.first, reader.span.removed)
        if reader.span.signed <= edge.size:
            self._signed = Edge(reader.span.signed, _peaks(reader.span.signed, self.reader(tx).node))

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

    def aborted(self) -> None:
        """The last `append` was rolled back."""
        self._draft = None

    def promise(self, entries: Sequence[Entry]) -> Callable[[int], str]:
        """Signed promises that these durable records are in the log, in checkpoints from a minute from now on."""
        by_us = max(one.time_us for one in entries) + DEFAULT_PROMISE_US
        return Batch(self.origin, self.receipts, [(one.id, one.body) for one in entries], by_us).text

    def publish(self, tx: Tx, now_us: int) -> tuple[Head, str, Verdict]:
        """Sign the committed head, if it grew or its note is old; the latest checkpoint, its note, what was decided.

        Raises:
            StoreDamaged: the stored entries do not hash to the stored head, or an earlier checkpoint is no prefix.
        """
        found = store.read_head(tx)
        edge = found[1] if found else Edge()
        if edge != self._state.edge:
            raise StoreDamaged(
                "Expected the log's head as it was committed, but the stored one was changed; restore it."
            )
        last = store.last_checkpoint(tx, self.origin)
        signed_size = last[0].checkpoint.size if last else 0
        same = last is not None and signed_size == edge.size and last[0].checkpoint.root == edge.root()
        if last is not None and same and now_us - last[0].time_us < RENEW_US:
            return last[0], last[1], Verdict.WAIT
        if signed_size > edge.size:
            raise _no_extension(Verdict.ROLLED_BACK)
        read_back = self._read_back(tx, signed_size, edge.size).root()
        new = Head(Checkpoint(self.origin, edge.size, read_back), now_us)
        if read_back != edge.root():
            raise StoreDamaged(
                f"Expected the {edge.size} stored records to hash to the log's head, but they do not; "
                "no checkpoint was signed. Run guard audit export and guard verify to find the record."
            )
        proof = consistency_proof(signed_size, edge.size, self._node_at(tx, signed_size))
        verdict = may_publish(last[0] if last else None, new, proof)
        if last and verdict is Verdict.CLOCK_REGRESSION:
            accepted_us = checkpoint_store.accepted_clock(tx, last[0].time_us)
            verdict = verdict if accepted_us is None else may_publish(replace(last[0], time_us=accepted_us), new, proof)
        if verdict in {Verdict.ROLLED_BACK, Verdict.FORKED}:
            raise _no_extension(verdict)
        if verdict is not Verdict.PUBLISH:
            return (*last, verdict) if last else (new, "", verdict)
        signed = Note(new.checkpoint.text(), sign(self.signers, new.checkpoint, now_us)).encode().decode()
        (checkpoint_store.renew_checkpoint if same else store.add_checkpoint)(tx, new, signed)
        self._signed = edge
        return new, signed, verdict

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
        known = start == self._signed.size
        edge = self._signed if known else Edge(start, _peaks(start, self.reader(tx).node))
        return edge.extend(leaf_hash(data) for data in self.reader(tx).entries(start, end))

    def _node_at(self, tx: Tx, size: int) -> Node:
        """Nodes for a proof from *size* on; what lies before it is the signed edge, which is in memory.

        Checkpoints are signed on the writer's thread, where reading files would hold every request.
        """
        node = self.reader(tx).node
        if size != self._signed.size:
            return node
        peaks = dict(zip(_peak_places(size), self._signed.peaks, strict=True))
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


def _peaks(size: int, node: Node) -> tuple[bytes, ...]:
    return tuple(node(level, index) for level, index in _peak_places(size))


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
