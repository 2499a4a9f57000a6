"""Merkle tree of RFC 6962 section 2.1 and RFC 9162 section 2.1.

Law: leaves are prefixed 0x00 and nodes 0x01, so no node can pass for a leaf; the root of nothing is SHA-256 of nothing.
Proofs are made from a reader of perfect subtrees, so no caller ever holds all leaves. No I/O.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from guard.errors import InvalidInput, VerificationFailed

HASH_BYTES = 32
MAX_SIZE = 2**63 - 1  # what a signed 64-bit database column holds; no log comes near it
MAX_PROOF = 64  # a tree of 2^63 leaves is 63 levels high, plus the seed of a consistency proof

Node = Callable[[int, int], bytes]
"""`node(level, index)` is the root of leaves `[index << level, (index + 1) << level)`, all of which exist."""

_sha256 = hashlib.sha256
EMPTY_ROOT = _sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one leaf (RFC 9162 section 2.1.1)."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node over two 32-byte hashes (RFC 9162 section 2.1.1)."""
    return _sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree: its size and the roots of its perfect subtrees, largest first (at most 63)."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Self:
        """The edge after one more leaf hash."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """The edge after more leaf hashes; one hash of work per leaf on average."""
        size, peaks = self.size, list(self.peaks)
        for leaf in leaves:
            root, full = leaf, size
            while full & 1:
                root = node_hash(peaks.pop(), root)
                full >>= 1
            peaks.append(root)
            size += 1
        return type(self)(size, tuple(peaks))

    def root(self) -> bytes:
        """The root of the whole tree."""
        return _fold(self.peaks)

    def serialise(self) -> bytes:
        """The edge as `u64 size || peaks`, at most 2,024 bytes."""
        return self.size.to_bytes(8, "big") + b"".join(self.peaks)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The edge that `serialise` wrote.

        Raises:
            InvalidInput: the length does not fit the size, or the size is over 2^63 - 1.
        """
        size = int.from_bytes(data[:8], "big")
        if len(data) != 8 + HASH_BYTES * size.bit_count() or size > MAX_SIZE:
            raise InvalidInput(f"A right edge of size {size} was expected to fit its length; {len(data)} bytes came.")
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(8, len(data), HASH_BYTES)))


def edge_of(node: Node, size: int) -> Edge:
    """The right edge of the first *size* leaves, from a reader of perfect subtrees."""
    peaks, at = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            peaks.append(node(level, at >> level))
            at += 1 << level
    return Edge(size, tuple(peaks))


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes in order."""
    return Edge().extend(leaves).root()


def subtree_root(start: int, end: int, node: Node) -> bytes:
    """The root of leaves `[start, end)`; `start` is a multiple of the power of two that covers the range."""
    peaks = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(node(level, start >> level))
        start += 1 << level
    return _fold(peaks)


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Sibling hashes from leaf `index` to the root of the first `size` leaves (RFC 9162 section 2.1.3.1).

    Raises:
        InvalidInput: no leaf of this index is in a tree of this size.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise InvalidInput(f"An index below the tree size {size} was expected; {index} came.")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(subtree_root(middle, end, node))
            end = middle
        else:
            path.append(subtree_root(start, middle, node))
            start = middle
    return path[::-1]


def consistency_proof(first: int, second: int, node: Node) -> list[bytes]:
    """Hashes that prove the tree of size `first` a prefix of that of size `second` (RFC 9162 section 2.1.4.1).

    Empty when both are equal, and when the first is 0, from which nothing can be proved.

    Raises:
        InvalidInput: `first` is larger than `second`.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise InvalidInput(f"Two sizes in rising order were expected; {first} and {second} came.")
    if first in {0, second}:
        return []
    start, end, path = 0, second, []
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(subtree_root(middle, end, node))
            end = middle
        else:
            path.append(subtree_root(start, middle, node))
            start = middle
    if start:
        path.append(subtree_root(start, end, node))
    return path[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` stands at `index` of the tree with this size and root (RFC 9162 section 2.1.3.2).

    Raises:
        VerificationFailed: it does not, or an argument has no possible form.
    """
    if inclusion_root(index, size, leaf, proof) != root:
        raise VerificationFailed(f"The inclusion proof of index {index} does not lead to the root.", index=index)


def inclusion_root(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root to which an inclusion proof leads.

    Raises:
        VerificationFailed: an argument has no possible form.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise VerificationFailed(f"An index below the tree size {size} was expected; {index} came.", index=index)
    _check_form(proof, leaf)
    return _climb(index, size - 1, leaf, proof)[1]


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the first tree is a prefix of the second (RFC 9162 section 2.1.4.2).

    The tree of size 0 has one root only, SHA-256 of nothing; any other is refused, also when both sizes are 0. It is a
    prefix of every tree, so a proof from it to a larger one would prove nothing and is refused.

    Raises:
        VerificationFailed: it is not, or an argument has no possible form.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise VerificationFailed(f"Two sizes in rising order were expected; {first} and {second} came.", size=first)
    if first in {0, second}:
        _verify_trivial(first, second, first_root, second_root, proof)
        return
    _check_form(proof)
    hashes = list(proof) if first & (first - 1) else [first_root, *proof]
    if not proof:
        raise VerificationFailed(f"A consistency proof from {first} to {second} was expected; none came.", size=first)
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old, new = _climb(position, last, hashes[0], hashes[1:])
    if old != first_root or new != second_root:
        raise VerificationFailed(f"The tree of size {first} is no prefix of the tree of size {second}.", size=first)


def _verify_trivial(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise VerificationFailed(f"No proof is needed from {first} to {second}; {len(proof)} hashes came.", size=first)
    if first < second:
        raise VerificationFailed(f"A first size of at least 1 was expected: 0 proves nothing about {second}.", size=0)
    if not first and first_root != EMPTY_ROOT:
        raise VerificationFailed("The root of the empty tree is SHA-256 of nothing; another came.", size=0)
    if first_root != second_root:
        raise VerificationFailed(f"Two different roots came for the one size {first}.", size=first)


def _check_form(proof: Sequence[bytes], *hashes: bytes) -> None:
    if len(proof) > MAX_PROOF:
        raise VerificationFailed(f"A proof of at most {MAX_PROOF} hashes was expected; {len(proof)} came.")
    if any(len(item) != HASH_BYTES for item in (*proof, *hashes)):
        raise VerificationFailed("Every hash is 32 bytes; another length came.")


def _climb(position: int, last: int, seed: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Hash from `seed` to the root; the first result leaves out the siblings on the right, the second takes all."""
    old = new = seed
    for sibling in proof:
        if not last:
            raise VerificationFailed("The proof has more hashes than the tree has levels.")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise VerificationFailed("The proof has fewer hashes than the tree has levels.")
    return old, new


def _fold(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def _split(count: int) -> int:
    """The largest power of two below `count`, for `count` of at least 2."""
    return 1 << (count - 1).bit_length() - 1
