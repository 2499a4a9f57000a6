"""What an anchor holds, and whether the log is still the one that it saw. No I/O.

Law: an anchor is a signed checkpoint kept where a restored or rewritten database does not reach. A log that is smaller
than an anchor was rolled back; one of the same size or larger with another root under it was rewritten. A log whose
first record names an earlier incarnation's note is its successor, and of that note no more is asked.
Source: c2sp.org/tlog-checkpoint; RFC 9162 section 2.1.4 for what "the same log" means.
"""

import base64
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import orjson

from guard.audit import checkpoint, note
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import Kind, VerifierKey
from guard.audit.standing import Reason
from guard.errors import VerificationFailed

_INCARNATION = re.compile(r"(.+)\.([1-9][0-9]{0,8})").fullmatch
Replaced = tuple[str, int, bytes]
"""Origin, size and root of a checkpoint that a fork left behind."""


def incarnation(origin: str, first: str) -> int:
    """Which incarnation of the log *first* this origin names: 1 is the log itself, k the origin `<first>.k`; 0 none."""
    if origin == first:
        return 1
    found = _INCARNATION(origin)
    return int(found[2]) if found and found[1] == first and int(found[2]) > 1 else 0


def named(first: str, number: int) -> str:
    """The origin of an incarnation."""
    return first if number == 1 else f"{first}.{number}"


def replaced_of(entry: bytes) -> list[Replaced]:
    """What a log's first record says that it follows; nothing where it is no `log.created` of a successor."""
    try:
        body = orjson.loads(entry)["b"]
        left = body.get("data", {}).get("replaced", []) if body.get("action") == "log.created" else []
        return [(one["origin"], one["size"], base64.b64decode(one["root"])) for one in left]
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ):  # damaged, so it vouches for nothing
        return []


@dataclass(frozen=True, slots=True)
class Anchored:
    """What one anchor holds: where it lies, its note, and the checkpoint in it."""

    place: str
    note: str
    head: Checkpoint


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a log is not the one that an anchor saw."""

    reason: Reason
    detail: str
    anchored: Anchored


def opened(place: str, text: str, first: str, publics: Iterable[bytes]) -> Anchored:
    """The anchor of a note of any incarnation of the log *first*, signed by one of its Ed25519 keys.

    Raises:
        InvalidInput, VerificationFailed: no such note.
    """
    parsed = note.parse(text.encode())
    head = checkpoint.parse(parsed.text)
    if not incarnation(head.origin, first):
        raise VerificationFailed(f"A checkpoint of {first} was expected; that of another log came.", size=head.size)
    note.verify(parsed, [VerifierKey(head.origin, Kind.ED25519, public) for public in publics])
    return Anchored(place, text, head)


def judge(
    own: Checkpoint,
    first: str,
    root_at: Callable[[int], bytes],
    anchored: Anchored,
    replaced: Collection[Replaced] = (),
) -> Finding | None:
    """Why the log with the head *own* is not the one that the anchor saw, or None.

    `root_at(size)` is the root of the log's first *size* records, asked for sizes that it has; *replaced* is what the
    first record of this incarnation says that it follows.
    """
    seen = anchored.head
    mine, other = incarnation(own.origin, first), incarnation(seen.origin, first)
    if other < mine:
        if (seen.origin, seen.size, seen.root) in replaced:
            return None
        return _found(Reason.FORK_DETECTED, own, anchored, "and this log's first record names no such checkpoint")
    if other > mine or seen.size > own.size:
        return _found(Reason.ROLLBACK_DETECTED, own, anchored, "so records are gone")
    if root_at(seen.size) != seen.root:
        return _found(Reason.FORK_DETECTED, own, anchored, f"with another root over the first {seen.size}")
    return None


def _found(reason: Reason, own: Checkpoint, anchored: Anchored, so: str) -> Finding:
    seen = anchored.head
    return Finding(
        reason,
        f"the anchor ({anchored.place}) holds size {seen.size} of {seen.origin}, "
        f"this database size {own.size} of {own.origin}, {so}.",
        anchored,
    )


def largest(found: Iterable[Anchored], first: str) -> Anchored | None:
    """The anchor of the latest incarnation and the largest size."""
    return max(found, key=lambda one: (incarnation(one.head.origin, first), one.head.size), default=None)
