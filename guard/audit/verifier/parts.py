"""The parts of an export in another format: whole, without hole or overlap, and each row a leaf of the signed tree.

Law: the manifest's note vouches for each part by its SHA-256; the level-0 tiles of the whole prefix give the signed
root, although rows were filtered; and each row is compared with its leaf there, in text formats that name it. Rows that
hold the exact entry are hashed anew.
"""

import re
from collections.abc import Iterator
from typing import Any

from . import columns
from .ledger import Ledger
from .reading import Reading
from .rows import READERS, Row
from .tree import HASH, WIDTH, leaf_hash, tile_path

PART = {"path": str, "first": int, "last": int, "matched": int, "sha256": str, "bytes": int}
GROUP = WIDTH  # entries are handed to the ledger in groups, which is faster


class Leaves:
    """Leaf hashes by index, from one level-0 tile at a time."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.n, self.tile = reading, -1, b""

    def __getitem__(self, index: int) -> bytes:
        n, at = divmod(index, WIDTH)
        if n != self.n:
            width = min(WIDTH, self.reading.head.size - n * WIDTH)
            self.n, self.tile = n, self.reading.files.read(tile_path(0, n, width), 2 * WIDTH * HASH) or b""
        return self.tile[at * HASH : at * HASH + HASH]


class Parts:
    """The check of all parts of one export."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.add, self.counts = reading, reading.add, reading.report.counts
        self.leaves, self.ledger = Leaves(reading), Ledger(reading.report)
        manifest = reading.manifest
        self.format, self.parts = manifest.get("format"), manifest["parts"]
        self.parquet = columns.reader() if self.format == columns.FORMAT else None
        self.readable = self.parquet is not None or self.format in READERS
        self.least = reading.report.min_index
        self.complete = not manifest.get("filter") or manifest.get("matched") == reading.head.size
        # A tenant's numbers are dense, so an export of one tenant can be checked for holes; no other filter can.
        self.dense = self.complete or set(manifest.get("filter") or {}) == {"tenant"}

        reading.complete = self.complete

    def run(self) -> None:
        """Check the list of parts and then each part."""
        if type(self.parts) is not list or not all(map(_is_part, self.parts)):
            self.add("manifest.json", f"a list of parts, each with {', '.join(PART)}, was expected")
            return
        if not self.readable:
            why = "pyarrow is not installed" if self.format == columns.FORMAT else "no reader for this format"
            told = f"{self.format}: rows are not looked into, {why}; parts, their SHA-256 and the tree are checked"
            self.reading.report.unchecked.append(told)
            self.reading.complete = False
        self._ranges()
        for part in self.parts:
            self._part(part)
        matched = sum(part["matched"] for part in self.parts)
        if matched != self.reading.manifest.get("matched"):
            self.add("manifest.json", f"{matched} records stand in its parts, and it says another number")
        self.counts["parts"] = len(self.parts)

    def _ranges(self) -> None:
        at, size = 0, self.reading.head.size
        for part in self.parts:
            if part["first"] != at:
                what = "are in no part" if part["first"] > at else "stand in two parts"
                low, high = sorted((at, part["first"]))
                self.add("manifest.json", f"records {low} to {high - 1} {what}", low)
            if not part["first"] <= part["last"] <= size or part["matched"] > part["last"] - part["first"]:
                self.add("manifest.json", f"{part['path']} claims what is not there: its range is wrong", part["first"])
            at = part["last"]
        if at < size:
            self.add("manifest.json", f"records {at} to {size - 1} are in no part", at)
        if len({part["path"] for part in self.parts}) < len(self.parts):
            self.add("manifest.json", "a part stands there twice")

    def _part(self, part: dict[str, Any]) -> None:
        path = part["path"]
        found = self.reading.files.digest(path)
        if found != (part["sha256"], part["bytes"]):
            lines = f"{part['bytes']} bytes with SHA-256 {part['sha256'][:16]}... were expected, {found[1]} came"
            self.add(path, f"{lines}: the part was changed or cut", part["first"])
        if not self.readable or path not in self.reading.files.names:
            return
        count = self._rows(part)
        if count != part["matched"]:
            self.add(path, f"{part['matched']} rows were expected, {count} came", part["first"])
        self.counts["rows"] += count

    def _rows(self, part: dict[str, Any]) -> int:
        path, least, count = part["path"], part["first"], 0
        group = dict[int, bytes]()
        for row in self._read(path):
            count += 1
            if not least <= row.index < part["last"] or row.index >= self.reading.head.size:
                self.add(path, f"row {count} is of record {row.index}, out of order or of its part", row.index)
                continue
            if row.index >= self.least > self.ledger.skipped:
                self._numbers(group, path)
                self.ledger.skip(self.least, path)
            self._hole(path, least, row.index)
            self._leaf(path, row)
            self.reading.watch.see(row.index, [row.entry])
            least = row.index + 1
            group[row.index] = row.entry
            if len(group) == GROUP:
                self._numbers(group, path)
        self._numbers(group, path)
        if count == part["matched"]:
            self._hole(path, least, min(part["last"], self.reading.head.size))
        return count

    def _hole(self, path: str, least: int, index: int) -> None:
        least = max(least, self.least)  # what is below was pruned
        if self.complete and least < index:
            self.add(path, f"records {least} to {index - 1} are missing", least)

    def _numbers(self, group: dict[int, bytes], path: str) -> None:
        if self.dense:
            self.ledger.read(list(group.values()), list(group), path)
            self.counts["records"] += len(group)
            self.ledger.count()
        group.clear()

    def _leaf(self, path: str, row: Row) -> None:
        leaf = self.leaves[row.index]
        if leaf_hash(row.entry) != leaf:
            self.add(path, f"entry {row.index} does not match its leaf hash: one of the two was changed", row.index)
        if row.leaf != leaf:
            self.add(path, f"row of record {row.index} names another leaf hash than the tree has", row.index)

    def _read(self, path: str) -> Iterator[Row]:
        files = self.reading.files
        try:
            if self.format == columns.FORMAT:
                with files.stream(path) as stream:
                    yield from columns.rows(self.parquet, stream)
            else:
                yield from READERS[self.format](files.lines(path))
        except ValueError as error:
            self.add(path, error)


def check_parts(reading: Reading) -> None:
    """Check the parts of an export against its manifest and its tree; the tree itself is built elsewhere."""
    Parts(reading).run()


def _is_part(value: Any) -> bool:
    if type(value) is not dict or value.keys() != PART.keys():
        return False
    typed = all(type(value[name]) is kind for name, kind in PART.items())
    return typed and value["first"] >= 0 and bool(re.fullmatch(r"parts/[0-9]{5,}\.[a-z0-9.]+", value["path"]))
