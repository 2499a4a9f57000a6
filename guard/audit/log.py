"""The log as the commit pipeline writes it: numbers, leaves, right edge, full tiles, and the signed checkpoints.

Law: one writer; what is in memory is what the last COMMIT made durable, and a rolled-back group leaves no trace. A
checkpoint is signed only after the new entries were read back from storage and hashed again, since one flipped bit in
a stored hash would otherwise be signed for ever.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.audit import note, store
from guard.audit.checkpoint import Checkpoint, Head, Verdict, may_publish
from guard.audit.entry import entry
from guard.audit.note import Kind, Note, VerifierKey
from guard.audit.reader import Reader
from guard.audit.store import Placed
from guard.audit.tiles import WIDTH
from guard.audit.tree import Edge, consistency_proof, leaf_hash, root_of
from guard.db.commit import Entry
from guard.db.engine import Tx
from guard.errors import StoreDamaged

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
        self.origin = origin
        self._signer = signer
        self.verifier = VerifierKey(origin, Kind.ED25519, signer.public_key().public_bytes_raw())
        self._state = _State(Edge(), {}, ((),) * LEVELS)
        self._draft: _State | None = None
        self._reread = Edge()
        self.seal: Callable[[Tx, Sequence[Entry]], None] | None = None  # what entries commit to, in their transaction

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
        if origin != self.origin:
            raise StoreDamaged(
                f"Expected the log {self.origin} in this store, got {origin}; an origin never changes, so set it back."
            )
        self._state = _State(edge, store.read_numbers(tx), _open_tiles(tx, edge.size))

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

    def publish(self, tx: Tx, now_us: int) -> tuple[Head, str, Verdict]:
        """Sign the committed head, if it grew; the latest checkpoint, its note and what was decided.

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
        if last is not None and signed_size == edge.size and last[0].checkpoint.root == edge.root():
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
        proof = consistency_proof(signed_size, edge.size, self.reader(tx).node)
        verdict = may_publish(last[0] if last else None, new, proof)
        if verdict in {Verdict.ROLLED_BACK, Verdict.FORKED}:
            raise _no_extension(verdict)
        if verdict is not Verdict.PUBLISH:
            return (*last, verdict) if last else (new, "", verdict)
        text = new.checkpoint.text()
        signed = Note(text, (note.sign_ed25519(text, self.origin, self._signer),)).encode().decode()
        store.add_checkpoint(tx, new, signed)
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
        node = self.reader(tx).node
        peaks, at = [], 0
        for level in range(start.bit_length() - 1, -1, -1):
            if start >> level & 1:
                peaks.append(node(level, at >> level))
                at += 1 << level
        edge = Edge(start, tuple(peaks))
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
