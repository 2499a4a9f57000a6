"""Tiles and entry bundles of c2sp.org/tlog-tiles: paths, widths and bytes.

Law: a partial tile or bundle is the prefix of the later full one, so only full ones are stored and partials are cut on
request; nothing wider than the published checkpoint is ever named. No I/O.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from guard.audit.tree import HASH_BYTES, Node, root_of
from guard.errors import InvalidInput

WIDTH = 256
TILE_LEVELS = 8  # tree levels in one tile: 256 hashes
MAX_LEVEL = 7  # of 8 tree levels each; 2^64 leaves need no more, though the format would allow 63
MAX_ENTRY_BYTES = 65_535  # the length before an entry is a u16
MAX_BUNDLE_BYTES = WIDTH * (MAX_ENTRY_BYTES + 2)
LENGTH_BYTES = 2

_PATH = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?").fullmatch


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, or one entry bundle where `level` is None; `width` is 1 to 256."""

    level: int | None
    n: int
    width: int = WIDTH

    def path(self) -> str:
        """The path below the log's prefix, for example `tile/0/x001/x234/067.p/112`."""
        groups = [f"{self.n % 1000:03d}"]
        rest = self.n // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        kind = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{kind}/{'/'.join(reversed(groups))}{partial}"

    @property
    def start(self) -> int:
        """The index of the first leaf below this tile."""
        return (self.n * WIDTH) << (TILE_LEVELS * (self.level or 0))


def parse_path(path: str) -> Tile:
    """The tile of a path; the one spelling of each tile is accepted and no other.

    Raises:
        InvalidInput: no tile has this path.
    """
    found = _PATH(path)
    if found:
        level = None if found[1] == "entries" else int(found[1])
        tile = Tile(level, int(re.sub("[x/]", "", found[2])), int(found[3] or WIDTH))
        if tile.path() == path:
            return tile
    raise InvalidInput("Expected the path of a tile such as tile/0/x001/x234/067.p/112, got another form.")


def width_of(level: int, size: int, n: int) -> int:
    """How many hashes tile `n` of a level has in a tree of this size: 0 to 256."""
    complete = size >> (TILE_LEVELS * level)
    return max(0, min(WIDTH, complete - n * WIDTH))


def tiles_of(size: int) -> Iterator[Tile]:
    """Every bundle and tile of a tree of this size, bundles first, each level in order."""
    for level in (None, *range(MAX_LEVEL + 1)):
        complete = size >> (TILE_LEVELS * (level or 0))
        for n in range(complete // WIDTH):
            yield Tile(level, n)
        if complete % WIDTH:
            yield Tile(level, complete // WIDTH, complete % WIDTH)


def tile_bytes(hashes: Sequence[bytes]) -> bytes:
    """The bytes of a tile of 1 to 256 hashes."""
    if not 1 <= len(hashes) <= WIDTH or any(len(item) != HASH_BYTES for item in hashes):
        raise InvalidInput(f"Expected 1 to {WIDTH} hashes of {HASH_BYTES} bytes for a tile.")
    return b"".join(hashes)


def tile_hashes(data: bytes, width: int) -> list[bytes]:
    """The first `width` hashes of a tile that has at least as many.

    Raises:
        InvalidInput: it is shorter, or no whole number of hashes.
    """
    if len(data) % HASH_BYTES or not width * HASH_BYTES <= len(data) <= WIDTH * HASH_BYTES:
        raise InvalidInput(
            f"Expected a tile of {width} to {WIDTH} hashes of {HASH_BYTES} bytes, got {len(data)} bytes."
        )
    return [data[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries in order, each behind its length as u16.

    Raises:
        InvalidInput: an entry is over 65,535 bytes, or there are not 1 to 256.
    """
    framed = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise InvalidInput(f"Expected entries of at most {MAX_ENTRY_BYTES} bytes, got {len(entry)}.")
        framed.append(len(entry).to_bytes(LENGTH_BYTES, "big") + entry)
    if not 1 <= len(framed) <= WIDTH:
        raise InvalidInput(f"Expected 1 to {WIDTH} entries for a bundle, got {len(framed)}.")
    return b"".join(framed)


def decode_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        InvalidInput: an entry runs past the end, or there are not 1 to 256.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < WIDTH:
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
    if at != len(data) or not entries:
        raise InvalidInput(f"Expected 1 to {WIDTH} whole entries in a bundle; {len(data)} bytes do not end with one.")
    return entries


def cut_bundle(data: bytes, width: int) -> bytes:
    """The bundle of the first `width` entries of a wider one: what is served as its partial."""
    at = 0
    for _ in range(width):
        if at + LENGTH_BYTES > len(data):
            raise InvalidInput(f"Expected a bundle of at least {width} entries, got fewer.")
        at += LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
    if not 1 <= width <= WIDTH or at > len(data):
        raise InvalidInput(f"Expected a width of 1 to {WIDTH} that the bundle has, got {width}.")
    return data[:at]


def node_reader(size: int, read: Callable[[Tile], bytes]) -> Node:
    """A reader of perfect subtrees for proofs in a tree of this size, over a reader of tiles.

    `read` gets the tile with its width in this tree and may answer with a wider one.
    """

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_LEVELS)
        first = index << height
        n, offset = divmod(first, WIDTH)
        width = width_of(tile_level, size, n)
        if offset + (1 << height) > width:
            raise InvalidInput(f"Expected a complete subtree of a tree of size {size}, got level {level} {index}.")
        hashes = tile_hashes(read(Tile(tile_level, n, width)), width)
        return root_of(hashes[offset : offset + (1 << height)])

    return node
