"""Inclusion proofs in the form of c2sp.org/tlog-proof, which carry the checkpoint to which they lead.

Law: a proof is as long as the tree is high (RFC 9162 section 2.1.3); one hash more or less is no proof. No I/O.
"""

import re
from dataclasses import dataclass

from .notes import Head, b64decode
from .tree import climb

_PROOF = re.compile(
    r"c2sp\.org/tlog-proof@v1\nindex (0|[1-9][0-9]{0,18})\n((?:[A-Za-z0-9+/]{43}=\n){0,64})\n(.+)", re.DOTALL
).fullmatch


@dataclass(frozen=True, slots=True)
class Proof:
    """An inclusion proof: the index, the sibling hashes from the leaf up, and the text of its checkpoint."""

    index: int
    hashes: list[bytes]
    note: str

    def check(self, head: Head, leaf: bytes) -> None:
        """Raise ValueError unless the proof leads from this leaf to the root of the head."""
        if self.index >= head.size or climb(self.index, head.size, leaf, self.hashes) != head.root:
            at = f"from entry {self.index} to the root at size {head.size}"
            raise ValueError(f"it does not lead {at}: one was changed")


def parse_proof(text: str) -> Proof:
    """The parts of a tlog-proof; nothing is checked."""
    found = _PROOF(text)
    if not found:
        raise ValueError("a proof was expected: c2sp.org/tlog-proof@v1, index, hashes, an empty line, a checkpoint")
    return Proof(int(found[1]), list(map(b64decode, found[2].split())), found[3])
