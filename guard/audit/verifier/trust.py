"""Whom a verification believes: keys, quorum and ranges, and every signed text that is opened with them.

Law: a signature by a known key that fails refuses its note. A signature by an unknown key is believed for nothing, and
is a fault unless a manifest vouches for its bytes. Without keys from elsewhere those inside are taken at their word.
No I/O.
"""

from hashlib import sha256
from typing import NamedTuple

from .incarnation import first_name
from .notes import ED25519, Head, Note, holds, parse_checkpoint, parse_manifest_note
from .policy import Policy, Range
from .stolen import refuse_stolen


class Opened(NamedTuple):
    """A note whose signatures are good: its head, and the labels of the log's keys and of the witnesses that signed."""

    head: Head
    signers: list[str]
    cosigners: list[str]
    time: int = 0  # POSIX seconds, the latest that a witness or the log's ML-DSA key states; 0 if none does


class Trust:
    """The keys of the log, the policy and the ranges, as far as they are known."""

    def __init__(self, given: dict[str, bytes], policy: Policy | None, ranges: dict[str, Range] | None) -> None:
        self.given, self.policy, self.ranges = given, policy or Policy(quorum="none"), ranges
        self.logs = given | self.policy.logs
        self.fixed = policy is not None  # a policy from elsewhere is not widened by the one inside
        self.fixed_ranges = ranges is not None

    def widen(self, policy: Policy) -> None:
        """Take the policy that lies in what is verified, unless one came from elsewhere."""
        if not self.fixed:
            self.policy, self.logs = policy, self.given | policy.logs

    def limit(self, ranges: dict[str, Range]) -> None:
        """Take the ranges that lie in what is verified, unless some came from elsewhere."""
        if not self.fixed_ranges:
            self.ranges = ranges

    def open(self, text: str, *, vouched: bool) -> Opened:
        """The head of a checkpoint that a key of its log signed; raises ValueError for any other."""
        note = parse_checkpoint(text)
        self.follow(note.head.origin)
        signers, cosigners = self._signed(note, self.policy.keys | self.logs, vouched=vouched)
        if not signers:
            raise ValueError("a signature by a known key of the log itself was expected, none came")
        for label in signers:
            self._in_range(label, note.head.size, note.head.root)
        timed = {
            label for label, key in (self.logs | dict(self.policy.witnesses.values())).items() if key[0] != ED25519
        }
        counted = {*signers, *cosigners} & timed
        times = [int.from_bytes(one.signature[:8]) for one in note.lines if one.label in counted]
        return Opened(note.head, signers, cosigners, max(times, default=0))

    def open_manifest(self, text: str, origin: str, size: int) -> str:
        """The SHA-256 in hex that a manifest note signs; raises ValueError unless a key of the log signed it."""
        note = parse_manifest_note(text)
        self.follow(note.head.origin)
        keys = {label: key for label, key in self.logs.items() if key[0] == ED25519}
        signers, _ = self._signed(note, keys, vouched=False)
        if note.head.origin != origin or not signers or (self.given and not self.given.keys() & set(signers)):
            raise ValueError(f"a signature by a known key of {origin} over this manifest was expected, none came")
        for label in signers:
            self._in_range(label, size)
        return note.digest

    def follow(self, origin: str) -> None:
        """Know the keys from elsewhere under the name of this incarnation too: a fork keeps keys and changes names."""
        for known in (self.given, self.policy.logs if self.fixed else {}):
            for label, material in list(known.items()):
                name = label.rpartition("+")[0]
                if name != origin and first_name(name) == first_name(origin):
                    known[self._renamed(label, origin, material)] = material
        self.logs |= self.given | self.policy.logs

    def _renamed(self, label: str, origin: str, material: bytes) -> str:
        own_id = sha256(origin.encode() + b"\n" + material).hexdigest()[:8]
        other = f"{origin}+{own_id}"
        if self.fixed_ranges and self.ranges and other not in self.ranges and label in self.ranges:
            self.ranges[other] = Range(0, self.ranges[label].last)
        return other

    def _signed(self, note: Note, keys: dict[str, bytes], *, vouched: bool) -> tuple[list[str], list[str]]:
        witnesses = dict(self.policy.witnesses.values())
        signers, cosigners = list[str](), list[str]()
        for name, label, signature in note.lines:
            if label not in keys and not vouched:
                raise ValueError(f"a signature is by the unknown key {label}, and no manifest vouches for it")
            if label in keys and not holds(name, keys[label], note.head, note.text.encode(), signature):
                raise ValueError(f"the signature by {label} is wrong: the text or the signature was changed")
            signers += [label] if label in self.logs and name == note.head.origin else []
            cosigners += [label] if label in witnesses else []
        return signers, cosigners

    def _in_range(self, label: str, size: int, root: bytes = b"") -> None:
        if self.ranges is None:
            return
        found = self.ranges.get(label)
        if found:
            refuse_stolen(label, found, size, root)
        if found is None or not found.first <= size <= found.last:
            allowed = f"sizes {found.first} to {found.last}" if found else "no size at all"
            raise ValueError(f"the key {label} may sign {allowed} (ranges.json), and it signed size {size}")
