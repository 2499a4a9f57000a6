"""What a witness is sent and what it decides (c2sp.org/tlog-witness). Both ends of the protocol read this one file.

Law: a witness cosigns a checkpoint only if a key that it trusts for the origin signed it, and only if it extends the
last one that it cosigned; the caller makes deciding and keeping one transaction. What a log signed and a witness
refused is evidence and is kept. No I/O.
"""

import base64
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from guard.audit import checkpoint, note
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import Note, VerifierKey
from guard.audit.tree import EMPTY_ROOT, HASH_BYTES, verify_consistency
from guard.errors import InvalidInput, VerificationFailed

MAX_PROOF_LINES = 63
MAX_BODY_BYTES = 1 << 18  # 63 lines of 45 characters, and a note with 64 signatures of the largest kind
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})").fullmatch
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\n").fullmatch


@dataclass(frozen=True, slots=True)
class Submission:
    """The body of `add-checkpoint`: the size at which the log believes the witness, a proof from it, the checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The body as it is posted."""
        lines = [f"old {self.old}", *(base64.b64encode(one).decode() for one in self.proof), "", ""]
        return "\n".join(lines).encode() + self.note


def parse(body: bytes) -> Submission:
    """The parts of a body. Checks no hash and no signature.

    Raises:
        InvalidInput: another form, more than 63 proof lines, or more than 256 KiB.
    """
    head, gap, rest = body.partition(b"\n\n") if len(body) <= MAX_BODY_BYTES else (b"", b"", b"")
    lines = head.decode("ascii", "replace").split("\n")
    old = _OLD(lines[0])
    if not gap or not old or len(lines) > 1 + MAX_PROOF_LINES:
        raise InvalidInput(f"Expected `old SIZE`, at most {MAX_PROOF_LINES} hashes, an empty line and a checkpoint.")
    found = Submission(int(old[1]), tuple(map(_hash, lines[1:])), rest)
    if any(len(one) != HASH_BYTES for one in found.proof) or found.encode() != body:
        raise InvalidInput("Expected the base64 of a 32-byte hash on each proof line, got another text.")
    return found


def parse_size(body: bytes) -> int:
    """The size in the answer 409.

    Raises:
        InvalidInput: no decimal number and newline.
    """
    found = _SIZE(body.decode("ascii", "replace"))
    if not found:
        raise InvalidInput("Expected a tree size and a newline in the answer of the witness, got another text.")
    return int(found[1])


def parse_lines(text: str, body: bytes) -> Note:
    """A checkpoint's text with the signature lines of the answer 200. Checks no signature.

    Raises:
        InvalidInput: no signature lines.
    """
    return note.parse(f"{text}\n".encode() + body)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to answer. With *head* the checkpoint is to be kept and cosigned; with *evidence*, the note to be kept."""

    status: int
    reason: str
    head: Checkpoint | None = None
    evidence: Checkpoint | None = None
    size: int = 0


def decide(submission: Submission, keys: Collection[VerifierKey], last: Checkpoint | None, origin: str) -> Decision:
    """Whether to cosign *submission*, whose checkpoint names *origin*, after *last*, the last one cosigned of it.

    *keys* are those that are trusted for this origin; none makes the origin unknown.
    """
    if not keys:
        return Decision(404, "unknown origin")
    try:
        head = note.open_checkpoint(submission.note, origin, keys)
    except (InvalidInput, VerificationFailed) as error:
        return Decision(403, error.detail)
    if submission.old > head.size:
        return Decision(400, "the old size is above that of the checkpoint")
    size = 0 if last is None else last.size
    if submission.old != size:
        again = head == last  # what was cosigned and comes once more is evidence of nothing
        return Decision(409, "another size was cosigned last", evidence=None if again else head, size=size)
    if not _extends(last, head, submission.proof):
        return Decision(422, "the checkpoint does not extend the last one cosigned", evidence=head, size=size)
    return Decision(200, "cosigned", head=head, size=head.size)


def origin_of(submission: Submission) -> str:
    """The origin that a submitted checkpoint claims.

    Raises:
        InvalidInput: no note with a checkpoint in it.
    """
    return checkpoint.parse(note.parse(submission.note).text).origin


def path_of(origin: str) -> str:
    """The first part of the path below which a witness shows what it cosigned: the SHA-256 of the origin in hex."""
    return hashlib.sha256(origin.encode()).hexdigest()


def _extends(last: Checkpoint | None, head: Checkpoint, proof: Sequence[bytes]) -> bool:
    if not head.size and head.root != EMPTY_ROOT:
        return False
    if last is None or not last.size:
        return not proof  # from an empty tree nothing can be proved, and nothing needs to be
    try:
        verify_consistency(last.size, head.size, last.root, head.root, proof)
    except VerificationFailed:
        return False
    return True


def _hash(line: str) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except ValueError:
        return b""
