"""The log directory: what is written for a fixed size, so that anybody can verify it offline.

Law: every byte is vouched for: bundles and tiles by the signed root, checkpoints and proofs by their signatures, the
rest by `manifest.json`. Entries are compared with their leaf hashes as they pass, so damage stops with its index, and
the checkpoint comes last: a directory without one is unfinished. Memory is one bundle and 256 hashes a level. No I/O.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from guard.audit import checkpoint, note
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import VerifierKey
from guard.audit.tiles import MAX_LEVEL, WIDTH, Tile, encode_bundle, tile_bytes
from guard.audit.tree import HASH_BYTES, Edge, leaf_hash, root_of
from guard.errors import InvalidInput, VerificationFailed

FOLDERS = ("tile/", "checkpoints/", "proofs/")
FILES = frozenset({"checkpoint", "policy.txt", "manifest.json"})

Part = tuple[str, bytes]


def layout(
    origin: str,
    notes: Sequence[bytes],
    entries: Iterable[bytes],
    leaves: Iterable[bytes],
    policy: str,
    *,
    proofs: Mapping[int, bytes] | None = None,
    documents: Mapping[str, bytes] | None = None,
    first: int = 0,
) -> Iterator[Part]:
    """Path and content of each file, in the order in which they are to be written.

    `notes` are signed checkpoints of this log; the largest becomes `checkpoint` and fixes the size, the others go to
    `checkpoints/<size>`. `entries` and `leaves` (the stored leaf hashes) run from index 0 in order; what lies beyond
    the size is not read. Of a pruned log `entries` run from `first` on, a multiple of 256; there are no bundles before
    that, and the manifest says so as `min_index`. `proofs` are tlog-proof texts by index, `documents` further files by
    path, such as a README.
    Signatures are not checked here: the verifier does that.

    Raises:
        InvalidInput: no note, a note that is no checkpoint, or a document under a name of the log's own.
        VerificationFailed: an entry does not match its leaf hash or is missing, the root is not the signed one, two
            notes contradict each other, or a note is of another log.
    """
    heads = _heads(origin, notes)
    head, signed = heads.pop()
    yield from _tree(head, entries, leaves, first)
    small = {"policy.txt": policy.encode()}
    small |= {f"checkpoints/{older.size}": data for older, data in heads}
    small |= {f"proofs/{index}.tlog-proof": data for index, data in sorted((proofs or {}).items())}
    for path, data in (documents or {}).items():
        if path.startswith(FOLDERS) or path in FILES:
            raise InvalidInput(f"Expected a document under a name of its own, got {path}, which is the log's.")
        small[path] = data
    yield from small.items()
    yield "manifest.json", manifest(head, small | {"checkpoint": signed}, first)
    yield "checkpoint", signed


def leaf_tiles(first: int, hashes: bytes) -> Iterator[tuple[str, bytes]]:
    """The tiles of the lowest level that hold these leaf hashes, of which the first has index *first*."""
    for at in range(0, len(hashes), WIDTH * HASH_BYTES):
        tile = hashes[at : at + WIDTH * HASH_BYTES]
        n = (first + at // HASH_BYTES) // WIDTH
        yield Tile(0, n, len(tile) // HASH_BYTES).path(), tile_bytes(cut(tile))


def cut(hashes: bytes | bytearray) -> list[bytes]:
    """Hashes that stand one after the other."""
    return [bytes(hashes[at : at + HASH_BYTES]) for at in range(0, len(hashes), HASH_BYTES)]


def policy_text(keys: Iterable[VerifierKey]) -> str:
    """A policy of c2sp.org/tlog-policy that accepts the log under any of these keys and asks for no witness."""
    return "".join(f"log {key.encode()}\n" for key in keys) + "quorum none\n"


def manifest(head: Checkpoint, files: Mapping[str, bytes], first: int = 0) -> bytes:
    """The manifest of the files that the root does not cover: canonical JSON with the SHA-256 of each in hex."""
    content: dict[str, object] = {
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
        "origin": head.origin,
        "root": head.text().split("\n")[2],
        "size": head.size,
    }
    if first:
        content["min_index"] = first
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _heads(origin: str, notes: Sequence[bytes]) -> list[tuple[Checkpoint, bytes]]:
    found: dict[int, tuple[Checkpoint, bytes]] = {}
    for data in notes:
        head = checkpoint.parse(note.parse(data).text)
        if head.origin != origin or found.get(head.size, (head,))[0] != head:
            raise VerificationFailed(
                f"Expected one root for each size of {origin}; the note of size {head.size} contradicts that.",
                size=head.size,
            )
        found[head.size] = (head, data)
    if not found:
        raise InvalidInput("Expected at least one signed checkpoint to export under, got none.")
    return [found[size] for size in sorted(found)]


def _tree(head: Checkpoint, entries: Iterable[bytes], leaves: Iterable[bytes], first: int) -> Iterator[Part]:
    levels: list[list[bytes]] = [[] for _ in range(MAX_LEVEL + 1)]
    yield from bundles(levels, 0, _matched(head.size, entries, leaves, first))
    edge = Edge(head.size, tuple(peak for level in reversed(levels) for peak in Edge().extend(level).peaks))
    if edge.root() != head.root:
        raise VerificationFailed(
            f"The root of the {head.size} entries is not the one that the checkpoint signs; nothing was exported.",
            size=head.size,
        )
    yield from unfinished(levels, head.size)


def bundles(levels: list[list[bytes]], first: int, source: Iterable[tuple[bytes, bytes]]) -> Iterator[Part]:
    """The bundles of (entry, leaf hash) pairs from tile number *first*, and each tile that they fill.

    `levels` are the hashes of the unfinished tile of each level before them, and after the last one those after them.
    Of a pruned bundle only the hashes are left: its entries are empty, and none is written.
    """
    pairs = iter(source)
    n = first
    while tile := list(islice(pairs, WIDTH)):
        levels[0] = [leaf for _, leaf in tile]
        if tile[0][0]:
            yield Tile(None, n, len(tile)).path(), encode_bundle(entry for entry, _ in tile)
        yield from _full_tiles(levels, n)
        n += 1


def unfinished(levels: Sequence[Sequence[bytes]], size: int) -> Iterator[Part]:
    """The last tile of each level of a log of this size, where it is not full."""
    for level, hashes in enumerate(levels):
        if hashes:
            yield Tile(level, size >> (8 * (level + 1)), len(hashes)).path(), tile_bytes(hashes)


def _full_tiles(levels: list[list[bytes]], n: int) -> Iterator[Part]:
    for level, hashes in enumerate(levels):
        if len(hashes) < WIDTH:
            return
        yield Tile(level, n >> (8 * level)).path(), tile_bytes(hashes)
        levels[level + 1].append(root_of(hashes))
        levels[level] = []


def _matched(size: int, entries: Iterable[bytes], leaves: Iterable[bytes], first: int) -> Iterator[tuple[bytes, bytes]]:
    known, count = iter(leaves), first
    yield from ((b"", leaf) for leaf in islice(known, first))
    for entry, leaf in islice(zip(entries, known, strict=False), size - first):
        if leaf_hash(entry) != leaf:
            raise VerificationFailed(
                f"Entry {count} does not match its stored leaf hash: one of them was changed after it was logged.",
                index=count,
            )
        yield entry, leaf
        count += 1
    if count != size:
        raise VerificationFailed(f"Expected {size} entries, got {count}: entry {count} is missing.", index=count)
