"""The witnesses of this log: what each is asked, what its answer means, and when it is asked again.

Law: no cosignature is kept before it was verified under the vkey in the settings. A witness that is down costs one
second of a loop and no request anything. A witness alone proves nothing against the log: only a note that the log's own
key signed does, so a claim without one alarms and no more (c2sp.org/tlog-witness).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from guard.audit import note
from guard.audit.checkpoint import Checkpoint, Head
from guard.audit.note import Kind, VerifierKey
from guard.audit.witness import Submission, parse_lines, parse_size, path_of
from guard.catalogue import PLATFORM
from guard.errors import InvalidInput, InvalidSetting, VerificationFailed
from guard.settings import Witness

Keys = Collection[VerifierKey]

MAX_TRIES = 3  # a size that was wrong, one that moved while we asked, and one more
MAX_PAUSE_US = 300_000_000  # between questions to a witness that does not answer

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT, UNPROCESSABLE = 200, 400, 403, 404, 409, 422


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; status 0 for nothing in time."""

    status: int
    body: bytes


class Carrier(Protocol):
    """Whoever speaks HTTP for this room."""

    def post(self, url: str, body: bytes) -> Reply:
        """Send *body*."""
        ...

    def get(self, url: str) -> Reply:
        """Fetch."""
        ...


class Copy(Protocol):
    """The log as it stands, read anew at each call; no transaction stays open between two."""

    def latest(self) -> tuple[Head, str]:
        """The latest checkpoint and its note."""
        ...

    def prove(self, first: int, second: int) -> Sequence[bytes]:
        """The consistency proof between two sizes."""
        ...

    def root(self, size: int) -> bytes:
        """The root over the first *size* records."""
        ...


class Finding(Enum):
    """What came of asking a witness."""

    COSIGNED = "cosigned"
    UNREACHABLE = "unreachable"
    INVALID = "invalid"  # an answer that is none, or a cosignature that does not verify
    MALFORMED = "malformed"  # 400: it does not understand us
    UNTRUSTED = "untrusted"  # 403: it knows other keys of this log
    UNKNOWN_LOG = "unknown_log"  # 404: its operator has not added this log
    AHEAD = "ahead"  # it cosigned a larger log than this: the store was put back
    INCONSISTENT = "inconsistent"  # it cosigned another history than this


CONTRADICTIONS = frozenset({Finding.AHEAD, Finding.INCONSISTENT})
BY_STATUS = {BAD_REQUEST: Finding.MALFORMED, FORBIDDEN: Finding.UNTRUSTED, NOT_FOUND: Finding.UNKNOWN_LOG}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a witness says. *evidence* is a note that the log's own key signed and that contradicts the log."""

    witness: str
    finding: Finding
    head: Checkpoint
    line: str = ""
    size: int = 0
    evidence: str = ""

    @property
    def contradicts(self) -> bool:
        """Whether it speaks against the log."""
        return self.finding in CONTRADICTIONS


def ask(witness: Witness, key: VerifierKey, known: int, copy: Copy, carrier: Carrier, keys: Keys) -> Claim:
    """Send the latest checkpoint to *witness*, which is believed to be at the size *known*; what came of it.

    *keys* are the log's own, by which evidence against it is judged.
    """
    head, text = copy.latest()
    old = min(known, head.checkpoint.size)
    for _ in range(MAX_TRIES):
        at = head.checkpoint
        submission = Submission(old, tuple(copy.prove(old, at.size)), text.encode())
        reply = carrier.post(f"{witness.url}/add-checkpoint", submission.encode())
        if reply.status == OK:
            return _cosigned(witness, key, at, reply)
        if reply.status == UNPROCESSABLE:
            return _against(witness, Finding.INCONSISTENT, old, copy, carrier, keys)
        if reply.status != CONFLICT:
            none = Finding.INVALID if reply.status else Finding.UNREACHABLE
            return Claim(witness.name, BY_STATUS.get(reply.status, none), at, size=old)
        try:
            theirs = parse_size(reply.body)
        except InvalidInput:
            return Claim(witness.name, Finding.INVALID, at, size=old)
        if theirs == old:  # until 2026 the protocol said 409, not 422, where the roots of one size differ
            return _against(witness, Finding.INCONSISTENT, old, copy, carrier, keys)
        if theirs > at.size:
            head, text = copy.latest()  # somebody may have shown it a checkpoint younger than ours
            if theirs > head.checkpoint.size:
                return _against(witness, Finding.AHEAD, theirs, copy, carrier, keys)
        old = theirs
    return Claim(witness.name, Finding.INVALID, head.checkpoint, size=old)


def _cosigned(witness: Witness, key: VerifierKey, head: Checkpoint, reply: Reply) -> Claim:
    try:
        found = parse_lines(head.text(), reply.body)
        note.verify(found, [key])
    except (InvalidInput, VerificationFailed):
        return Claim(witness.name, Finding.INVALID, head)
    own = next(line for line in found.signatures if (line.name, line.key_id) == (key.name, key.key_id))
    return Claim(witness.name, Finding.COSIGNED, head, own.encode(), head.size)


def _against(witness: Witness, finding: Finding, size: int, copy: Copy, carrier: Carrier, keys: Keys) -> Claim:
    """The claim with its evidence, if the witness shows any that holds."""
    head, _ = copy.latest()
    bare = Claim(witness.name, finding, head.checkpoint, size=size)
    reply = carrier.get(f"{witness.url}/{path_of(head.checkpoint.origin)}/checkpoint")
    try:
        theirs = note.open_checkpoint(reply.body, head.checkpoint.origin, keys)
    except (InvalidInput, VerificationFailed):
        return bare
    if theirs.size > copy.latest()[0].checkpoint.size:
        finding = Finding.AHEAD
    elif copy.root(theirs.size) != theirs.root:
        finding = Finding.INCONSISTENT
    else:
        return bare
    return Claim(witness.name, finding, head.checkpoint, size=theirs.size, evidence=reply.body.decode())


class Witnesses:
    """The witnesses of the settings, and when each is asked next. *contradicted* is told of every proven claim."""

    def __init__(self, settings: Sequence[Witness], quorum: int, seconds: int, carrier: Carrier) -> None:
        self.settings = {one.name: one for one in settings}
        self.keys = {one.name: _key(one) for one in settings}
        if len({key.public for key in self.keys.values()}) < len(self.keys):
            raise InvalidSetting("Expected each witness once, got one public key twice; it must not count double.")
        self.quorum = quorum
        self.carrier = carrier
        self.contradicted: Callable[[Claim], None] = lambda _claim: None
        self._period_us = seconds * 1_000_000
        self._next_us: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._done: dict[str, Head] = {}

    def due(self, now_us: int, head: Head | None) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """`checkpoints.witness` for each witness that has not cosigned *head*, the latest, and may be asked again."""
        for name in self.settings if head is not None else ():
            # A pause longer than any there is comes of a clock that was set back meanwhile.
            paused = 0 < self._next_us.get(name, 0) - now_us <= MAX_PAUSE_US + self._period_us
            if self._done.get(name) != head and not paused:
                self._next_us[name] = now_us + self._period_us
                yield PLATFORM, {"witness": name}

    def heard(self, claim: Claim, head: Head | None, now_us: int) -> None:
        """Note what came of asking; a witness that fails is asked less and less often."""
        if claim.finding is Finding.COSIGNED and head is not None:
            self._failures[claim.witness] = 0
            if head.checkpoint == claim.head:
                self._done[claim.witness] = head
            return
        failures = self._failures[claim.witness] = min(self._failures.get(claim.witness, 0) + 1, 16)
        self._next_us[claim.witness] = now_us + min(self._period_us << failures, MAX_PAUSE_US)
        if claim.evidence:
            self.contradicted(claim)


def _key(witness: Witness) -> VerifierKey:
    try:
        key = VerifierKey.decode(witness.vkey)
    except InvalidInput as error:
        raise InvalidSetting(f"witness {witness.name}: {error.detail} Copy the vkey that it prints.") from None
    if key.kind is Kind.ED25519:
        raise InvalidSetting(f"Expected the vkey of a witness (type 4 or 6) for {witness.name}, got that of a log.")
    return key


def policy_lines(keys: Mapping[str, VerifierKey], quorum: int) -> str:
    """The witnesses and the quorum of a policy (c2sp.org/tlog-policy)."""
    if not quorum:
        return "quorum none\n"
    lines = [f"witness {name} {key.encode()}\n" for name, key in keys.items()]
    # Names of witnesses are lower-case, so the name of the group is none of them.
    return "".join([*lines, f"group Witnesses {quorum} {' '.join(keys)}\n", "quorum Witnesses\n"])
