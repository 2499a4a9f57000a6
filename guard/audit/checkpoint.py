"""Checkpoints of c2sp.org/tlog-checkpoint, and when a new one may be published.

Law: a log never signs two checkpoints of which one is no prefix of the other. No extension lines: an ML-DSA cosignature
does not cover them. No I/O; the caller reads what was stored.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from guard.audit.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, verify_consistency
from guard.errors import InvalidInput, VerificationFailed

MAX_ORIGIN_BYTES = 255  # the signed ML-DSA message has one byte for its length
REGRESSION_US = 1_000_000  # a clock this far behind the last checkpoint has been set back, not merely adjusted

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}").fullmatch


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log promises: its origin, its size, and the 32-byte root of its first `size` leaves."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text that is signed: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


def parse(text: str) -> Checkpoint:
    """The checkpoint of a note text; the one spelling of each value is accepted and no other.

    Raises:
        InvalidInput: it has not exactly three lines, or a line has not its form.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not is_origin(lines[0]):  # noqa: PLR2004  three lines and what follows the last
        raise InvalidInput("Expected a checkpoint of three lines: origin, size, root hash.")
    if not _SIZE(lines[1]) or int(lines[1]) > MAX_SIZE:
        raise InvalidInput("Expected a tree size below 2^63 without leading zeros on line 2 of a checkpoint.")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        root = b""
    found = Checkpoint(lines[0], int(lines[1]), root)
    if len(root) != HASH_BYTES or found.text() != text:
        raise InvalidInput("Expected the base64 of a 32-byte root hash on line 3 of a checkpoint.")
    return found


def is_origin(text: str) -> bool:
    """Whether `text` may name a log: 1 to 255 bytes, neither white space, control characters nor `+`."""
    # isprintable is false for control characters and for every white space but U+0020.
    return text.isprintable() and not {" ", "+"} & set(text) and 0 < len(text.encode()) <= MAX_ORIGIN_BYTES


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint with the time, in microseconds UTC, at which it is or was signed."""

    checkpoint: Checkpoint
    time_us: int


class Verdict(Enum):
    """What to do with a new head."""

    PUBLISH = "publish"
    WAIT = "wait"  # the clock has not passed the last checkpoint yet; try again
    CLOCK_REGRESSION = "clock_regression"  # the clock was set back: record it, alarm, go on without checkpoints
    ROLLED_BACK = "rolled_back"  # smaller than what was signed: the store was put back to an older state
    FORKED = "forked"  # not an extension of what was signed: two histories exist


def may_publish(last: Head | None, new: Head, proof: Sequence[bytes] = ()) -> Verdict:
    """Whether `new` may be signed after `last`, the head signed before it (None: nothing was ever signed).

    `proof` is the consistency proof from the last size to the new one, made from the entries as re-read from storage.
    The same size may be signed again with the same root: an idle log renews the time of its signature.

    A rollback or a fork is named before the clock is looked at, since it stays true when the clock is right again.
    """
    if last is None:
        return Verdict.PUBLISH
    old = last.checkpoint
    if new.checkpoint.origin != old.origin:
        return Verdict.FORKED
    if new.checkpoint.size < old.size:
        return Verdict.ROLLED_BACK
    if not _extends(old, new.checkpoint, proof):
        return Verdict.FORKED
    if new.time_us > last.time_us:
        return Verdict.PUBLISH
    return Verdict.CLOCK_REGRESSION if last.time_us - new.time_us > REGRESSION_US else Verdict.WAIT


def _extends(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> bool:
    if not old.size and new.size:
        return old.root == EMPTY_ROOT
    try:
        verify_consistency(old.size, new.size, old.root, new.root, proof)
    except VerificationFailed:
        return False
    return True
