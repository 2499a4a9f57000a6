"""Offline inclusion proofs as one text: c2sp.org/tlog-proof.

Law: a proof is complete in itself: index, sibling hashes and the signed checkpoint; with the log's key it is checked
years later without guard. One spelling only. No I/O.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from guard.audit.checkpoint import Checkpoint
from guard.audit.note import MAX_NOTE_BYTES, VerifierKey, open_checkpoint
from guard.audit.tree import HASH_BYTES, MAX_PROOF, verify_inclusion
from guard.errors import InvalidInput

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = MAX_NOTE_BYTES + (1 << 16)  # the checkpoint, 64 hashes of 45 characters, and extra data

_HEAD = re.compile(r"c2sp\.org/tlog-proof@v1\n(?:extra ([A-Za-z0-9+/=]+)\n)?index (0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True)
class LogProof:
    """An inclusion proof with its checkpoint. `extra` is not authenticated by anything; guard writes none."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def encode(self) -> bytes:
        """The text of a `.tlog-proof` file."""
        extra = [f"extra {_b64(self.extra)}"] if self.extra else []
        lines = [HEADER, *extra, f"index {self.index}", *map(_b64, self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint


def parse(data: bytes) -> LogProof:
    """The parts of a proof. Checks no hash and no signature.

    Raises:
        InvalidInput: another form, or more than 64 hashes.
    """
    try:
        text = data.decode("utf-8") if len(data) <= MAX_PROOF_BYTES else ""
    except UnicodeDecodeError:
        text = ""
    head = _HEAD.match(text)
    if not head:
        raise InvalidInput(f"Expected a proof that begins with {HEADER} and its index, got another text.")
    siblings, gap, note = text[head.end() - 1 :].partition("\n\n")
    lines = siblings.split("\n")[1:]
    if not gap or len(lines) > MAX_PROOF:
        raise InvalidInput(f"Expected at most {MAX_PROOF} hashes, an empty line and a checkpoint in a proof.")
    found = LogProof(int(head[2]), tuple(map(_unb64, lines)), note.encode(), _unb64(head[1] or ""))
    if any(len(item) != HASH_BYTES for item in found.hashes) or found.encode() != data:
        raise InvalidInput("Expected the base64 of a 32-byte hash on each proof line, got another text.")
    return found


def verify(proof: LogProof, leaf: bytes, origin: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint under which the leaf hash is proved to stand at `proof.index` of the log `origin`.

    Raises:
        InvalidInput: the checkpoint has no valid form.
        VerificationFailed: wrong signature, origin or hash.
    """
    head = open_checkpoint(proof.checkpoint, origin, keys)
    verify_inclusion(proof.index, head.size, leaf, proof.hashes, head.root)
    return head


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
