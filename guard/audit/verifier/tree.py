"""Merkle tree, tile paths and entry bundles, as a verifier needs them (RFC 6962 section 2.1, c2sp.org/tlog-tiles).

Law: leaves are prefixed 0x00 and nodes 0x01, so neither can pass for the other. It repeats what guard/audit/tree.py and
tiles.py do, on purpose: written twice, each is a check on the other. No I/O.
"""

from collections.abc import Sequence
from hashlib import sha256

WIDTH, HASH, LEVELS = 256, 32, 8  # hashes in a tile, bytes in a hash, tile levels (256^8 is above any size)
MAX_BUNDLE = WIDTH * (2 + 65_535)
EMPTY = sha256(b"").digest()
BEGUN = sha256(b"\x00")  # of every leaf; to copy it costs less than to begin anew


def leaf_hash(entry: bytes) -> bytes:
    """The leaf of an entry's exact bytes."""
    return sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    """The leaves of many entries."""
    leaves = list[bytes]()
    for entry in entries:  # a call of `leaf_hash` for each would cost a tenth of a verification
        leaf = BEGUN.copy()
        leaf.update(entry)
        leaves.append(leaf.digest())
    return leaves


def root_of(*levels: Sequence[bytes]) -> bytes:
    """The root of a tree (RFC 6962 section 2.1) from its unfinished tiles, lowest level first."""
    row: Sequence[bytes] = ()
    for level in levels:
        row = [*level, *row]
        while len(row) > 1:
            couples = zip(row[::2], row[1::2], strict=False)  # an odd last hash moves up as it is
            pairs = [sha256(b"\x01" + left + right).digest() for left, right in couples]
            row = [*pairs, *row[len(pairs) * 2 :]]
    return row[0] if row else EMPTY


def climb(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root to which an inclusion proof leads (RFC 9162 section 2.1.3); no root at all if its length is wrong."""
    if size <= 1 or not proof:
        return b"" if size != 1 or proof else leaf
    half, *rest, last = 1 << (size - 1).bit_length() - 1, *proof
    if index < half:
        return root_of([climb(index, half, leaf, rest), last])
    return root_of([last, climb(index - half, size - half, leaf, rest)])


def tile_path(kind: object, n: int, width: int = WIDTH) -> str:
    """The path of a hash tile (kind = level) or bundle (kind = "entries") in three-digit groups."""
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.insert(0, f"x{n % 1000:03d}")
    return f"tile/{kind}/{'/'.join(groups)}" + (f".p/{width}" if width < WIDTH else "")


def unframe(data: bytes, width: int) -> tuple[list[bytes], bool]:
    """The entries of a bundle, and whether they are so many and nothing else."""
    entries, at, end = list[bytes](), 0, len(data)
    for _ in range(width):
        if at + 1 >= end:
            break
        start = at + 2
        at = start + (data[at] << 8 | data[at + 1])
        entries.append(data[start:at])
    return entries[: -1 if at > end else None], at == end and len(entries) == width
