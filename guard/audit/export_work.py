"""Makes the parts of an export and what frames them; entries are compared with the log's hashes while they are read.

Law: memory is a page of records and the leaf hashes of one part (2 MiB), whatever the size of the log. No read
transaction outlives a page, since the WAL cannot shrink under one. Damage stops the export and is named by its index.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import BinaryIO

from guard import plugins
from guard.audit import archive, export_store
from guard.audit.export import bundles, cut, leaf_tiles, unfinished
from guard.audit.export_job import OPEN, PART_RECORDS, TILES, Job, Part, root_of_parts
from guard.audit.log import Log
from guard.audit.manifest import PartFile, Request, manifest, note_text
from guard.audit.proof import LogProof
from guard.audit.reader import Reader
from guard.audit.row import Row
from guard.audit.shelf import Shelf
from guard.audit.tiles import MAX_LEVEL, TILE_LEVELS, WIDTH
from guard.audit.tree import HASH_BYTES, Edge, inclusion_proof, leaf_hash, root_of
from guard.audit.trust import Trust
from guard.db.engine import Store, Tx
from guard.errors import InternalError, StoreDamaged, VerificationFailed

FOLDER = "audit/exports"
PAGE_RECORDS = WIDTH  # about 150 kB and 3 ms in one read transaction
BREATH_RECORDS = 32  # about a millisecond of work, then other threads have their turn
HALF = WIDTH // 2


class Exports:
    """Exports of one process: makes their files, and knows which of them are at work."""

    def __init__(
        self,
        store: Store,
        log: Log,
        trust: Trust,
        shelf: Shelf,
        breathe: Callable[[], None],
        part_records: int = PART_RECORDS,
    ) -> None:
        self._store = store
        self._log = log
        self._trust = trust
        self.shelf = shelf
        # A thread that computes gives the interpreter away every 5 ms only, and a request needs it some four times.
        self._breathe = breathe
        self.part_records = part_records  # a power of two of at least one tile
        self._running: dict[str, str] = {}
        self._later: dict[str, int] = {}

    def load(self, tx: Tx) -> None:
        """Go on with what an earlier process began, and remove what it left unfinished."""
        known = export_store.known_jobs(tx)
        self.shelf.keep_only({export for export, (_, state) in known.items() if state in OPEN | {"ready"}})
        self._running = {export: tenant for export, (tenant, state) in known.items() if state in OPEN}

    def start(self, export: str, tenant: str) -> None:
        """An export is at work from now on."""
        self._running = {**self._running, export: tenant}

    def stop(self, export: str) -> None:
        """An export is at work no more."""
        self._running = {other: tenant for other, tenant in self._running.items() if other != export}
        self._later.pop(export, None)

    def discard(self, export: str) -> None:
        """Remove the files of an export that was cancelled; where that fails the next start does it."""
        self.stop(export)
        with suppress(OSError):
            self.shelf.remove(export)

    def postpone(self, export: str, until_us: int) -> None:
        """The disk refused; try again then."""
        self._later[export] = until_us

    def due(self, now_us: int) -> list[tuple[str, Mapping[str, str]]]:
        """(tenant, request) of every export at work, for the worker."""
        ready = {export: of for export, of in self._running.items() if self._later.get(export, 0) <= now_us}
        return [(tenant, {"export": export}) for export, tenant in ready.items()]

    def part_name(self, job: Job, n: int) -> str:
        """The name of a part below the export's own folder."""
        return f"parts/{n:05d}.{'zip' if job.format == TILES else plugins.load(FOLDER, job.format).SUFFIX}"

    def make_part(self, job: Job, n: int) -> Part:
        """Write part *n* of an export.

        Raises:
            VerificationFailed: an entry is missing or was changed; `index` says which.
        """
        first = n * self.part_records
        last = min(first + self.part_records, job.size)
        leaves = bytearray()
        name = f"{job.id}/{self.part_name(job, n)}"
        rows = self._rows(first, last, leaves)
        if job.format == TILES:
            with self._store.read() as tx:
                kept = max(first, self._log.reader(tx).span.first)
            matched, stored = max(0, last - kept), self.shelf.zip(name, self._tiles(job, first, last, rows))
        else:
            write: Callable[[Iterable[Row], BinaryIO], int] = plugins.load(FOLDER, job.format).write
            chosen = (row for row in rows if row.entry and job.filter.holds(row))
            matched, stored = self.shelf.put(name, lambda out: write(chosen, out))
            self.shelf.put(f"{job.id}/hashes/{n:05d}", lambda out: out.write(leaves))
        if len(leaves) != (last - first) * HASH_BYTES:
            raise InternalError(f"The format {job.format} did not take every record that it was given.")
        edge = Edge().extend(cut(leaves)).serialise()
        return Part(first, last, matched, stored.sha256, stored.length, edge)

    def finish(self, job: Job, parts: list[Part]) -> Job:
        """Write the frame of an export whose parts are all there: checkpoint, keys, proofs, signed manifest.

        Raises:
            VerificationFailed: the parts have not the root that the checkpoint signs.
        """
        if root_of_parts(parts) != job.root:
            raise VerificationFailed(
                f"The root of the {job.size} entries is not the one that the checkpoint signs; nothing was exported.",
                size=job.size,
            )
        files = self._files(job)
        named = [] if job.format == TILES else parts
        listed = [
            PartFile(self.part_name(job, n), part.first, part.last, part.matched, part.sha256, part.length)
            for n, part in enumerate(named)
        ]
        asked = Request(job.id, job.format, job.filter.given(), job.purpose, job.created_by, job.created_us)
        matched = sum(part.matched for part in parts)
        with self._store.read() as tx:
            first = self._log.reader(tx).span.first
        written = manifest(job.head(self._log.origin), asked, matched, listed, files, first)
        text = note_text(self._log.origin, written)
        checkpoint = files.pop("checkpoint")  # last: a directory without one is unfinished
        ends = {"manifest.json": written, "manifest.note": self._log.sign(text), "checkpoint": checkpoint}
        self.shelf.zip(f"{job.id}/frame.zip", (files | ends).items())
        return replace(job, state="ready", matched=matched, manifest=text.split("\n")[2])

    def pack(self, job: Job) -> Job:
        """Make the archive of a finished export of one part: the directory that an auditor gets, as one file."""
        if job.format == TILES:
            parts: Iterable[tuple[str, bytes]] = self.shelf.members(f"{job.id}/parts/00000.zip")
        else:
            name = self.part_name(job, 0)
            tiles = leaf_tiles(0, self.shelf.read(f"{job.id}/hashes/00000"))
            parts = chain([(name, self.shelf.read(f"{job.id}/{name}"))], tiles)
        frame = self.shelf.members(f"{job.id}/frame.zip")
        return replace(job, sha256=self.shelf.zip(f"{job.id}.zip", chain(parts, frame)).sha256)

    def _files(self, job: Job) -> dict[str, bytes]:
        """The files of the frame but for the manifest: the root vouches for none of them."""
        with self._store.read() as tx:
            policy, ranges = self._trust.policy(tx, job.size), self._trust.ranges(tx)
        files = {"policy.txt": policy.encode(), "ranges.json": ranges, archive.VERIFIER: archive.verifier()}
        files["receipts.vkey"] = self._trust.receipts()
        if job.format == TILES:
            files["vkey"] = f"{self._log.verifier.encode()}\n".encode()
            with self._store.read() as tx:
                older = export_store.older_checkpoints(tx, job.size)
            files |= {f"checkpoints/{size}": note.encode() for size, note in older}
        for index in sorted(set(job.prove)):
            with self._store.read() as tx:
                hashes = inclusion_proof(index, job.size, self._log.reader(tx).node)
            files[f"proofs/{index}.tlog-proof"] = LogProof(index, tuple(hashes), job.note.encode()).encode()
        return files | {"checkpoint": job.note.encode()}

    def _tiles(self, job: Job, first: int, last: int, rows: Iterable[Row]) -> Iterator[tuple[str, bytes]]:
        with self._store.read() as tx:
            levels = _levels(self._log.reader(tx), first)
        yield from bundles(levels, first // WIDTH, ((row.entry, row.leaf) for row in rows))
        if last == job.size:
            yield from unfinished(levels, job.size)

    def _rows(self, first: int, last: int, leaves: bytearray) -> Iterator[Row]:
        """Records [first, last); their leaf hashes are added to *leaves* as they pass."""
        for start in range(first, last, PAGE_RECORDS):
            with self._store.read() as tx:
                page = read_page(self._log.reader(tx), start, min(start + PAGE_RECORDS, last))
            for row in page:
                leaves += row.leaf
                yield row
                if not row.index % BREATH_RECORDS:
                    self._breathe()


def read_page(reader: Reader, start: int, end: int) -> list[Row]:
    """Records [start, end), each compared with the hashes of the log; *start* is the first of a tile.

    Pruned ones have an empty entry; what is left of them is the leaf hash.

    Raises:
        VerificationFailed: one is missing or was changed; `index` says which.
    """
    kept = min(max(start, reader.span.first), end)
    pruned = [Row(index, b"", reader.node(0, index), 0, {}) for index in range(start, kept)]
    return pruned + (_read(reader, kept, end) if kept < end else [])


def _read(reader: Reader, start: int, end: int) -> list[Row]:
    try:
        entries = list(reader.entries(start, end))
    except StoreDamaged:
        raise _missing(reader, start, end) from None
    leaves = [leaf_hash(entry) for entry in entries]
    for at in range(0, len(leaves), WIDTH):
        _compare(reader, start + at, leaves[at : at + WIDTH])
    return [Row.of(index, entry) for index, entry in enumerate(entries, start)]


def _compare(reader: Reader, start: int, leaves: list[bytes]) -> None:
    """Two nodes a tile tell as much as 256 leaves; the leaves are asked for only where those differ."""
    if len(leaves) == WIDTH:
        halves = [root_of(leaves[:HALF]), root_of(leaves[HALF:])]
        node = 2 * (start // WIDTH)
        if halves == [reader.node(TILE_LEVELS - 1, node), reader.node(TILE_LEVELS - 1, node + 1)]:
            return
    for index, leaf in enumerate(leaves, start):
        if reader.node(0, index) != leaf:
            raise VerificationFailed(
                f"Entry {index} does not match its stored leaf hash: one of them was changed after it was logged.",
                index=index,
            )


def _missing(reader: Reader, start: int, end: int) -> VerificationFailed:
    for index in range(start, end):
        try:
            list(reader.entries(index, index + 1))
        except StoreDamaged:
            return VerificationFailed(
                f"Expected {end} entries or more, got fewer: entry {index} is missing.", index=index
            )
    return VerificationFailed(
        f"Expected entries {start} to {end - 1} at once, got them one by one only; check the disk."
    )


def _levels(reader: Reader, size: int) -> list[list[bytes]]:
    """The hashes of the unfinished tile of each level in a log of *size*, which is a whole number of tiles."""
    levels: list[list[bytes]] = []
    for level in range(MAX_LEVEL + 1):
        count = size >> (TILE_LEVELS * level)
        levels.append([reader.node(TILE_LEVELS * level, index) for index in range(count - count % WIDTH, count)])
    return levels
