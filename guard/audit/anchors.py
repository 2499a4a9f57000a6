"""The anchors of one log: read and judged at the start and at every checkpoint, and moved on with the log.

Law: nothing is signed that an anchor contradicts. An anchor that the settings name and that is not there makes the
service read-only; so does one that holds more than the store, or another history. The compare-and-swap stands between
signing and publishing, so a note that left this process is in the anchor before anybody sees it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from guard.audit import anchor, anchor_store
from guard.audit.anchor import Anchored, Finding, Replaced
from guard.audit.anchor_settings import Authority
from guard.audit.anchor_store import AnchorFile
from guard.audit.checkpoint import Checkpoint
from guard.audit.standing import Reason, Standing
from guard.audit.worm_store import Worm
from guard.errors import AnchorMissing, ForkDetected, GuardError, InvalidInput, Unreachable, VerificationFailed


@dataclass(frozen=True, slots=True)
class Own:
    """The log as a transaction sees it: its head, the root at any smaller size, its last note, what it follows."""

    head: Checkpoint
    root_at: Callable[[int], bytes]
    note: str = ""
    replaced: Sequence[Replaced] = ()


@dataclass(slots=True)
class Anchors:
    """What the settings name. `first` is the origin of the log's first incarnation."""

    home: PurePath
    first: str
    standing: Standing
    file: AnchorFile | None = None
    worm: Worm | None = None
    authorities: tuple[Authority, ...] = ()
    required: int = 0
    publics: frozenset[bytes] = frozenset()  # every Ed25519 key that the log ever had
    stolen: frozenset[bytes] = frozenset()  # those of them that others may have
    answered: list[Anchored] = field(default_factory=list)

    def check(self, own: Own, shown: Mapping[str, str] | None = None) -> None:
        """At the start: read every anchor outside the store and judge the log by it; trips the standing.

        *shown* are notes that witnesses showed before, by the witness's name: they count no anchor, and hold as ever.
        """
        self.answered = []
        answers = 0
        for read in (self._from_file, self._from_worm):
            answer = read()
            answers += answer is not None
            if answer:
                self.answered.append(answer[0])
                self.judge(own, answer[0])
        for witness, text in (shown or {}).items():
            self.hear(own, witness, text)
        if answers < self.required and self.standing.sound:
            detail = f"{answers} of the {self.required} anchors that anchors_required asks for answered."
            self.standing.trip(Reason.ANCHOR_MISSING, detail)

    def held(self, own: Own) -> Anchored | None:
        """What the anchor file holds, judged; None where there is no file, or it is new.

        Raises:
            GuardError: the file is missing, or contradicts the log.
        """
        found = self._from_file()
        if found:
            self.judge(own, found[0])
        self._refuse_unless_sound()
        return found[0] if found else None

    def swap(self, old: Anchored | None, new: str) -> None:
        """Move the anchor file from what was held to *new*.

        Raises:
            AnchorMissing, ForkDetected: nothing was written, and the service is read-only.
        """
        if self.file is None:
            return
        try:
            self.file.swap(old.note if old else "", new)
        except AnchorMissing as error:
            self.standing.trip(Reason.ANCHOR_MISSING, error.detail)
            raise
        except ForkDetected as error:
            self.standing.trip(Reason.FORK_DETECTED, error.detail)
            raise

    def judge(self, own: Own, found: Anchored) -> None:
        """Trip the standing where an anchor contradicts the log, and keep both notes; for witnesses too."""
        finding = anchor.judge(own.head, self.first, own.root_at, found, own.replaced)
        if finding is not None:
            self.accuse(finding, own)

    def hear(self, own: Own, witness: str, text: str) -> None:
        """Judge the log by a checkpoint of it that a witness showed; one that none of its keys signed says nothing."""
        try:
            # Whoever stole a key could stop the service with a note to a witness, so such a note says nothing there.
            seen = anchor.opened(f"witness {witness}", text, self.first, self.publics - self.stolen)
        except (InvalidInput, VerificationFailed) as error:
            anchor_store.say("no_checkpoint_of_this_log", place=f"witness {witness}", detail=error.detail)
            return
        self.answered.append(seen)
        self.judge(own, seen)

    def accuse(self, finding: Finding, own: Own) -> None:
        """Keep the two notes as evidence and take nothing more."""
        seen = finding.anchored.head
        folder = anchor_store.keep_evidence(
            self.home,
            f"{finding.reason.name.lower()}-{seen.size}-{own.head.size}",
            {"anchor.note": finding.anchored.note, "log.note": own.note, "log.head": own.head.text()},
        )
        self.standing.trip(finding.reason, f"{finding.detail} Both notes are kept in {folder}.")

    def opened(self, place: str, text: str) -> Anchored:
        """The anchor of a note of this log."""
        return anchor.opened(place, text, self.first, self.publics)

    def _from_file(self) -> tuple[Anchored, ...] | None:
        """What the anchor file holds: empty where it is new; None where there is none."""
        if self.file is None:
            return None
        try:
            text = self.file.read()
            return (self.opened(self.file.place, text),) if text else ()
        except (InvalidInput, VerificationFailed, AnchorMissing) as error:
            detail = error.detail
            if not isinstance(error, AnchorMissing):
                detail = f"Expected a note of {self.first} in the anchor ({self.file.place}): {detail}"
            self.standing.trip(Reason.ANCHOR_MISSING, detail)
            return None

    def _from_worm(self) -> tuple[Anchored, ...] | None:
        """The largest checkpoint in the bucket. A bucket that cannot be reached is told and looked at again later."""
        if self.worm is None:
            return None
        try:
            for text in self.worm.notes():
                try:
                    return (self.opened(self.worm.place, text),)
                except (InvalidInput, VerificationFailed):
                    anchor_store.say("no_checkpoint_of_this_log", place=self.worm.place)
        except Unreachable as error:
            anchor_store.say("anchor_unreachable", place=self.worm.place, detail=error.detail)
            return None
        return ()

    def fetched(self) -> Anchored | None:
        """What the bucket holds now; asked with no transaction open."""
        found = self._from_worm()
        return found[0] if found else None

    def recheck(self, own: Own, held: Anchored | None) -> None:
        """Judge by what the bucket holds: it may not have answered at the start.

        Raises:
            GuardError: it contradicts the log.
        """
        if held is not None:
            self.judge(own, held)
        self._refuse_unless_sound()

    @property
    def beside_home(self) -> bool:
        """Whether the anchor file lies on the volume of the home, so that both are put back together."""
        return self.file is not None and anchor_store.same_volume(self.file.path.parent, self.home)

    def _refuse_unless_sound(self) -> None:
        error: GuardError | None = None if self.standing.sound else self.standing.error()
        if error is not None:
            raise error
