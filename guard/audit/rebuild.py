"""Makes the search index, the tenants' numbers, the head and the hash tiles again, from the records alone.

Law: records are the truth, and every signed checkpoint must come out of them, or nothing is changed. A damaged record
stops the rebuild with its index: what does not fit its hash tile is only suspected at first, since the tile may be what
changed; the first checkpoint that does not come out convicts it.
"""

from collections.abc import Callable, Iterator, Sequence

from guard.audit import checkpoint_store, note, rebuild_store, store
from guard.audit.files import Files, checked_tile, damaged_record, tiles_ending_at
from guard.audit.indexing import placed
from guard.audit.log import Log
from guard.audit.note import VerifierKey
from guard.audit.store import Placed
from guard.audit.tiles import WIDTH, Tile, decode_bundle, tile_bytes
from guard.audit.tree import Edge, leaf_hash, root_of
from guard.db.engine import Tx
from guard.errors import GuardError, InvalidInput, StoreDamaged
from guard.wire.archive import Rebuilt

Progress = Callable[[int, int], None]
"""`progress(done, total)` records."""


def rebuild(tx: Tx, log: Log, files: Files, progress: Progress) -> Rebuilt:
    """Rebuild in the transaction *tx*, which the caller commits; hash tiles in files are mended when all is verified.

    Raises:
        StoreDamaged: a record is missing or not what was logged; `extra` names its index. Nothing was changed.
    """
    return _Rebuild(tx, log, files, progress).run()


class _Rebuild:
    def __init__(self, tx: Tx, log: Log, files: Files, progress: Progress) -> None:
        self.tx, self.log, self.files, self.progress = tx, log, files, progress
        self.first, self.archived, self.size = self._extent()
        self.edge = Edge()
        self.levels: list[list[bytes]] = [[] for _ in range(8)]
        self.suspect: StoreDamaged | None = None
        self.wrong_tiles: list[tuple[int, int]] = []
        self.numbers: dict[str, int] = {}
        self.last_time_us = 0
        self.checkpoints = rebuild_store.roots(tx)
        self.at = 0  # of the next checkpoint to come out

    def run(self) -> Rebuilt:
        self._check_signature()
        before = rebuild_store.clear(self.tx)
        if self.first and not before:
            raise StoreDamaged(
                "Expected the tenants' next numbers in a log whose oldest records were pruned, got none: no record "
                "says them. Restore a backup of the database."
            )
        for start, leaves, records in self._blocks():
            self._take(start, leaves, records)
            self.progress(self.edge.size, self.size)
        if self.at < len(self.checkpoints):
            raise self._missing(self.edge.size)
        numbers = before | {tenant: max(n, before.get(tenant, 0)) for tenant, n in self.numbers.items()}
        rebuild_store.finish(self.tx, self.log.origin, self.edge, self.last_time_us, numbers)
        rebuild_store.note_archive(self.tx, self.log.origin, self.first, self.archived)
        self._mend()
        signed = self.checkpoints[-1][0] if self.checkpoints else 0
        return Rebuilt(
            size=self.edge.size,
            signed=signed,
            archived=self.archived,
            tenants=len(numbers),
            mended=[Tile(*place).path() for place in self.wrong_tiles],
        )

    def _extent(self) -> tuple[int, int, int]:
        """First kept record, end of the files, end of the log."""
        first, archived = rebuild_store.read_archive(self.tx, self.log.origin)
        tail = rebuild_store.tail(self.tx)
        if tail is None:
            n = archived // WIDTH
            while self.files.read(Tile(None, n)) is not None:
                n += 1
            return first, n * WIDTH, n * WIDTH
        start, end, gapless = tail
        if start % WIDTH or start < archived:
            raise self._missing(start - start % WIDTH)
        if gapless != end:
            raise self._missing(gapless)
        return first, start, end

    def _missing(self, index: int) -> StoreDamaged:
        return StoreDamaged(f"Expected record {index} in the log, but it is missing; restore a backup.", index=index)

    def _check_signature(self) -> None:
        if rebuild_store.head_size(self.tx) > self.size:
            raise self._missing(self.size)
        if not self.checkpoints:
            return
        size, root, signed = self.checkpoints[-1]
        try:
            keys = [VerifierKey.decode(row.vkey) for row in checkpoint_store.log_keys(self.tx, self.log.origin)]
            head = note.open_checkpoint(signed.encode(), self.log.origin, keys)
        except GuardError as error:
            raise StoreDamaged(f"Expected a signed checkpoint of size {size} in the store: {error.detail}") from None
        if (head.size, head.root) != (size, root):
            raise StoreDamaged(f"Expected the checkpoint of size {size} as it was signed, got another; restore it.")

    def _blocks(self) -> Iterator[tuple[int, list[bytes], list[Placed]]]:
        """(first index, leaf hashes, records) of each bundle; of pruned ones there are hashes only."""
        for start in range(0, self.first, WIDTH):
            n = start // WIDTH
            yield start, checked_tile(0, n, self.files.read(Tile(0, n))), []
        for start in range(self.first, self.archived, WIDTH):
            yield self._placed(start, self._bundle(start // WIDTH))
        for start in range(self.archived, self.size, WIDTH):
            yield self._placed(start, list(store.entries(self.tx, start, min(start + WIDTH, self.size))))

    def _placed(self, start: int, entries: Sequence[bytes]) -> tuple[int, list[bytes], list[Placed]]:
        leaves = [leaf_hash(entry) for entry in entries]
        if self.suspect is None and start < self.archived:
            self._compare(start, leaves)
        try:
            records = [placed(start + offset, entry) for offset, entry in enumerate(entries)]
        except StoreDamaged as error:
            raise self.suspect or error from None
        return start, leaves, records

    def _bundle(self, n: int) -> list[bytes]:
        data = self.files.read(Tile(None, n))
        if data is None:
            raise self._missing(n * WIDTH)
        try:
            entries = decode_bundle(data)
        except InvalidInput:
            entries = []
        if len(entries) != WIDTH:
            raise self._undecodable(n, data)
        return entries

    def _undecodable(self, n: int, data: bytes) -> StoreDamaged:
        """A bundle whose lengths do not add up: its hash tile says at which record that begins."""
        at = 0
        for offset, leaf in enumerate(checked_tile(0, n, self.files.read(Tile(0, n)))):
            start = at + 2
            at = start + int.from_bytes(data[at:start], "big")
            if leaf_hash(data[start:at]) != leaf:
                return damaged_record(n * WIDTH + offset, Tile(None, n).path())
        return damaged_record(n * WIDTH + WIDTH - 1, Tile(None, n).path())

    def _compare(self, start: int, leaves: Sequence[bytes]) -> None:
        stored = self.files.read(Tile(0, start // WIDTH)) or b""
        for offset, leaf in enumerate(leaves):
            if len(stored) == WIDTH * len(leaf) and stored[offset * len(leaf) :][: len(leaf)] != leaf:
                self.suspect = damaged_record(start + offset, Tile(None, start // WIDTH).path())
                return

    def _take(self, start: int, leaves: list[bytes], records: list[Placed]) -> None:
        done = 0
        while self.at < len(self.checkpoints) and self.checkpoints[self.at][0] <= start + len(leaves):
            size, root, _ = self.checkpoints[self.at]
            self.edge = self.edge.extend(leaves[done : size - start])
            done = size - start
            if self.edge.root() != root:
                raise self._unlike(size)
            self.at += 1
            if self.suspect is not None and self.suspect.extra["index"] in range(size):
                self.suspect = None  # the checkpoint came out, so it was the tile that changed
        self.edge = self.edge.extend(leaves[done:])
        self._count(records)
        store.add_index(self.tx, records)
        self._tile(leaves)

    def _unlike(self, size: int) -> StoreDamaged:
        if self.suspect is not None:
            return self.suspect
        sound = self.checkpoints[self.at - 1][0] if self.at else 0
        return StoreDamaged(
            f"Expected the records {sound} to {size - 1} to hash to the signed checkpoint of size {size}, but they do "
            "not: one of them, or its hash tile with it, was changed. Restore them from a backup or an export.",
            index=sound,
        )

    def _count(self, records: Sequence[Placed]) -> None:
        for one in records:
            expected = self.numbers.get(one.entry.tenant, one.n if self.first else 0)
            if one.n != expected:
                raise StoreDamaged(
                    f"Expected number {expected} of its tenant at index {one.index}, got {one.n}; restore it.",
                    index=one.index,
                )
            self.numbers[one.entry.tenant] = one.n + 1
            self.last_time_us = one.entry.time_us

    def _tile(self, leaves: list[bytes]) -> None:
        """Full tiles: those of the tail go to the database, those of the archive are compared with their files."""
        self.levels[0] = leaves
        if len(leaves) < WIDTH:
            return
        for level, n in tiles_ending_at(self.edge.size):
            hashes = tile_bytes(self.levels[level])
            if self.edge.size > self.archived:
                store.add_tiles(self.tx, [(level, n, hashes)])
            elif self.files.read(Tile(level, n)) != hashes:
                self.wrong_tiles.append((level, n))
            self.levels[level + 1].append(root_of(self.levels[level]))
            self.levels[level] = []

    def _mend(self) -> None:
        """Write the hash tiles that were missing or wrong, from the bottom up."""
        for level, n in sorted(self.wrong_tiles):
            if level == 0:
                hashes = [leaf_hash(entry) for entry in self._bundle(n)]
            else:
                children = range(n * WIDTH, (n + 1) * WIDTH)
                hashes = [
                    root_of(checked_tile(level - 1, child, self.files.read(Tile(level - 1, child))))
                    for child in children
                ]
            self.files.store({}, {(level, n): hashes})
