"""The tree built anew, from the entries of a whole log or from the leaf hashes of an export.

Law: a stored hash is only compared. The tree stands on the stored leaf hashes, after each was compared with its entry:
if it gives the signed root they are the logged ones, and an entry that differs was changed; if not, the tile was.
"""

from .files import Files
from .ledger import Ledger
from .notes import Head
from .pruning import approved
from .report import MAX_FAULTS, Fault, Progress, Report
from .tree import EMPTY, HASH, LEVELS, MAX_BUNDLE, WIDTH, leaf_hash, leaf_hashes, root_of, tile_path, unframe
from .watching import Watch


class Walk:
    """One pass over a log of the size of `head`; with `bare`, over leaf hashes alone, as exports have them."""

    def __init__(self, files: Files, report: Report, head: Head, watch: Watch, *, bare: bool = False) -> None:
        self.watch, self.matched = watch, set[Head]()
        self.files, self.report, self.add, self.head, self.bare = files, report, report.add, head, bare
        self.ledger, self.approved = Ledger(report), 0
        self.wanted = dict[int, list[tuple[Head, str]]]()
        self.levels: list[list[bytes]] = [[] for _ in range(LEVELS)]
        self.if_good, self.if_bad = list[Fault](), list[Fault]()  # faults if the tree gives the signed root, or not

    def _gone(self, n: int, path: str) -> bool:
        """Was this bundle pruned? One below the minimum index may be there: the log may be pruned during an export."""
        return n * WIDTH < self.report.min_index and path not in self.files.names

    def promise(self, older: Head, path: str = "") -> None:
        """Compare the root of an earlier checkpoint when the tree has grown to its size; a path is to blame."""
        self.wanted.setdefault((older.size - 1) // WIDTH, []).append((older, path))

    def leaf(self, index: int) -> bytes:
        """The leaf hash of one entry, made anew where the entry is there; empty if it cannot be read."""
        n, at = divmod(index, WIDTH)
        width = min(WIDTH, self.head.size - n * WIDTH)
        if self.bare or self._gone(n, tile_path("entries", n, width)):
            return self._stored(tile_path(0, n, width))[at * HASH : at * HASH + HASH]
        data = self.files.read(tile_path("entries", n, width), MAX_BUNDLE)
        return leaf_hash(b"".join(unframe(data or b"", WIDTH)[0][at : at + 1]))

    def run(self, progress: Progress) -> None:
        """Read all tiles and bundles from the checkpoint `since` on, and name each fault once the root is known."""
        size, first = self.head.size, 0 if self.bare else self.report.counts["since"] // WIDTH
        self._start(first)
        for n in range(first, -(-size // WIDTH)):
            self._bundle(n, min(WIDTH, size - n * WIDTH))
            progress(min(size, (n + 1) * WIDTH), size)
            if len(self.report.faults) + len(self.if_good) >= MAX_FAULTS:
                break
        for level in range(1, LEVELS):
            self._compare(level, size >> (8 * (level + 1)))
        self._judge()
        if not self.bare:
            self.ledger.count()

    def _start(self, first: int) -> None:
        for level in range(1, LEVELS):  # an incremental run starts from tiles, for which the root at `since` vouches
            n, width = divmod(first >> (8 * (level - 1)), WIDTH)
            if width:
                tile = tile_path(level, n, min(WIDTH, (self.head.size >> (8 * level)) - n * WIDTH))
                self.levels[level] = self._hashes(tile)[:width]
        self._promised(first - 1, first * WIDTH)

    def _judge(self) -> None:
        source = "leaf hashes" if self.bare else "entries"
        other = [Fault("checkpoint", f"the {source} give another root: some were replaced or cut")]
        good = root_of(*self.levels) == self.head.root
        if good and self.approved >= self.report.min_index > 0:
            self.report.vouched.append("the log's own record of prunes.approve")
        early, late = (self.if_good, []) if good else (self.if_bad, [] if self.if_bad else other)
        self.report.faults = [*early, *self.report.faults, *late][:MAX_FAULTS]

    def _stored(self, path: str) -> bytes:
        """The bytes of a tile; empty, and named, unless it is exactly as long as its path says."""
        size = int(path.partition(".p/")[2] or WIDTH) * HASH
        data = self.files.read(path, 2 * size)
        if data is not None and len(data) != size:
            self.add(path, f"{size} bytes were expected, {len(data)} came")
        return data if data and len(data) == size else b""

    def _hashes(self, path: str) -> list[bytes]:
        data = self._stored(path)
        return [data[at : at + HASH] for at in range(0, len(data), HASH)]

    def _bundle(self, n: int, width: int) -> None:
        tile, first = tile_path(0, n, width), n * WIDTH
        stored = self._stored(tile)
        leaves = self._hashed(n, width, stored)
        if b"".join(leaves) != stored:
            hashes = [stored[at : at + HASH] for at in range(0, len(stored), HASH)]
            leaves += hashes[len(leaves) :] or [EMPTY] * (width - len(leaves))
            self._differ(leaves, hashes or leaves, tile, tile_path("entries", n, width), first)
            leaves = hashes or leaves
        elif not stored:
            leaves = [EMPTY] * width
        self.levels[0], level = leaves, 0
        if n in self.wanted:
            self._promised(n, 0)
        while len(self.levels[level]) == WIDTH:
            self._compare(level, n >> (8 * level))
            self.levels[level + 1].append(root_of(self.levels[level]))
            self.levels[level], level = [], level + 1

    def _hashed(self, n: int, width: int, stored: bytes) -> list[bytes]:
        """The leaf hashes of a bundle made anew; as they are stored where there are no entries."""
        path = tile_path("entries", n, width)
        if not self.bare and not self._gone(n, path):
            return self._leaves(n, width, stored)
        if not self.bare:
            last = n * WIDTH + width
            self.report.counts["pruned"] += width
            self.ledger.skip(last, tile_path("entries", n + 1, min(WIDTH, self.head.size - last)))
        return [stored[at : at + HASH] for at in range(0, len(stored), HASH)]

    def _leaves(self, n: int, width: int, stored: bytes) -> list[bytes]:
        """The leaf hashes of a bundle's entries, up to where the bundle breaks."""
        path, first = tile_path("entries", n, width), n * WIDTH
        data = self.files.read(path, MAX_BUNDLE)
        entries, whole = unframe(data or b"", width)
        leaves = leaf_hashes(entries)
        if data is not None and not whole:  # after a broken length nothing is an entry, however it reads
            kept = [stored[at * HASH : at * HASH + HASH] for at in range(len(leaves))]
            good = next((at for at, leaf in enumerate(leaves) if leaf != kept[at]), len(leaves))
            del entries[good:], leaves[good:]
            self.add(path, f"{width} entries and no more were expected, it breaks at {first + good}", first + good)
        self.report.counts["records"] += len(entries)
        self.watch.see(first, entries)
        if self.report.min_index:
            self.approved = max(self.approved, approved(entries))
        self.ledger.read(entries, range(first, first + len(entries)), path)
        return leaves

    def _differ(self, leaves: list[bytes], stored: list[bytes], tile: str, path: str, first: int) -> None:
        for at, (leaf, hashed) in enumerate(zip(leaves, stored, strict=True)):
            if leaf != hashed:
                text = f"entry {first + at} does not match its leaf hash in {tile}"
                self.if_good.append(Fault(path, f"{text}: the entry was changed after it was logged", first + at))
                self.if_bad.append(Fault(tile, f"{text}: one of the two was changed", first + at))

    def _compare(self, level: int, n: int) -> None:
        hashes, path = self.levels[level], tile_path(level, n, len(self.levels[level]))
        for at, item in enumerate(self._hashes(path) if level and hashes and not self.bare else ()):
            if item != hashes[at]:
                below = tile_path(level - 1, n * WIDTH + at)
                self.add(path, f"hash {at} is not the root of {below}: one of the two was changed", at)

    def _promised(self, n: int, least: int) -> None:
        for older, path in self.wanted.get(n, ()):
            size, root = older.size, older.root
            if size < least:
                continue
            if root_of(self.levels[0][: size - n * WIDTH], *self.levels[1:]) == root:
                self.matched.add(older)
            elif path:
                text = f"signs another root than the first {size} entries give: it is no earlier state of this log"
                self.if_good.append(Fault(path, text, size))
