"""The archived part of a log as files: full entry bundles and full hash tiles, in the layout of c2sp.org/tlog-tiles.

Law: only full ones are stored and none is ever changed. What is read is held against hashes: a bundle against its
level-0 tile, a tile against its parent, so that damage is named by its exact index and never passed on.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Self

from guard.audit.disk import Disk, Folder
from guard.audit.tiles import LENGTH_BYTES, WIDTH, Tile, decode_bundle, tile_bytes, tile_hashes
from guard.audit.tree import leaf_hash
from guard.errors import InvalidInput, StoreDamaged

FOLDER = "log"  # below the home directory; in it one folder for each incarnation


class Files:
    """Bundles and tiles of one incarnation of a log."""

    def __init__(self, disk: Disk, home: PurePath | None = None) -> None:
        self._disk = disk
        self._home = home

    @classmethod
    def below(cls, home: PurePath, number: int = 1) -> Self:
        """The files of an incarnation in a home directory; nothing is made before the first is stored."""
        return cls(Disk(Folder(home / FOLDER / str(number))), home)

    def of(self, number: int) -> Self:
        """The files of another incarnation in the same home; these where they lie in none."""
        return self if self._home is None else self.below(self._home, number)

    def read(self, tile: Tile) -> bytes | None:
        """The bytes of a full tile, or of a full bundle where its level is None; None where there is none."""
        return self._disk.read(tile.path())

    def store(self, bundles: Mapping[int, Sequence[bytes]], tiles: Mapping[tuple[int, int], Sequence[bytes]]) -> None:
        """Store full bundles and full tiles (level, number); durable when it returns.

        A file that a crash left behind is written again. One that holds another history is evidence and stays.

        Raises:
            StoreDamaged: a bundle of that number exists and holds other records.
        """
        content = {Tile(None, n).path(): _bundle(entries) for n, entries in bundles.items()}
        for path, data in content.items():
            found = self._disk.read(path)
            if found not in {None, data} and _is_bundle(found):
                raise StoreDamaged(
                    f"Expected no other records in {path} than the database holds; one of them was put back to another "
                    "state. Keep both, and compare them with a checkpoint that an auditor kept."
                )
        content |= {Tile(*place).path(): tile_bytes(hashes) for place, hashes in tiles.items()}
        self._disk.store(content)

    def restore(self, content: Mapping[str, bytes]) -> None:
        """Store full bundles and tiles by their paths as they were copied elsewhere; a rebuild judges them."""
        self._disk.store(content)

    def remove_bundles(self, numbers: range) -> None:
        """Remove bundles; their hash tiles stay, so that every proof still works."""
        self._disk.remove([Tile(None, n).path() for n in numbers])


def tiles_ending_at(end: int) -> list[tuple[int, int]]:
    """(level, number) of every tile whose last leaf is record *end* - 1."""
    found, level = [], 0
    while end % WIDTH == 0 and end:
        end //= WIDTH
        found.append((level, end - 1))
        level += 1
    return found


def checked_bundle(n: int, data: bytes | None, hashes: Sequence[bytes]) -> list[bytes]:
    """The 256 entries of bundle *n*, each of which has its leaf hash in *hashes*.

    Raises:
        StoreDamaged: it is missing, or not what was logged; `extra` names the index.
    """
    first = n * WIDTH
    if data is None:
        raise StoreDamaged(
            f"Expected records {first} to {first + WIDTH - 1} in {Tile(None, n).path()}, got no such file; "
            "restore it from a backup or an export.",
            index=first,
        )
    entries, at = [], 0
    for offset, wanted in enumerate(hashes):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        if leaf_hash(data[start:at]) != wanted:
            raise damaged_record(first + offset, Tile(None, n).path())
        entries.append(data[start:at])
    if at != len(data):
        raise damaged_record(first + WIDTH - 1, Tile(None, n).path())
    return entries


def checked_tile(level: int, n: int, data: bytes | None) -> list[bytes]:
    """The 256 hashes of a tile that a file holds; whether they are the right ones is for its parent to say.

    Raises:
        StoreDamaged: it is missing or not 8,192 bytes.
    """
    try:
        return tile_hashes(data or b"", WIDTH)
    except InvalidInput:
        raise damaged_tile(level, n, "no such file" if data is None else f"{len(data)} bytes") from None


def damaged_record(index: int, where: str) -> StoreDamaged:
    """The error that names one record whose bytes are not those that were logged."""
    return StoreDamaged(
        f"Expected record {index} in {where} as it was logged, got other bytes; restore it from a backup or an export.",
        index=index,
    )


def damaged_tile(level: int, n: int, what: str) -> StoreDamaged:
    """The error that names one hash tile."""
    tile = Tile(level, n)
    return StoreDamaged(
        f"Expected the hashes of records from {tile.start} on in {tile.path()}, got {what}; "
        "stop the service and run guard audit rebuild.",
        index=tile.start,
        tile=tile.path(),
    )


def _bundle(entries: Sequence[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(LENGTH_BYTES, "big") + entry for entry in entries)


def _is_bundle(data: bytes | None) -> bool:
    try:
        entries = decode_bundle(data or b"")
    except InvalidInput:
        return False
    return len(entries) == WIDTH and all(one.startswith(b'{"b":{') for one in entries)
