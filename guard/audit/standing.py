"""How the service stands: STARTING, RECOVERING, SERVING, READ_ONLY with a reason, or HALTED. No I/O.

Law: what was found once holds until the process ends, and only a full disk mends itself. While the service does not
serve, whatever needs a record is refused with the error that names the state and the next command, since an operation
without its record must not happen and a record on a log of doubt would hide where the doubt began. Any part may call
`trip`. States and reasons: NIST SP 800-53 AU-5, AU-5(1).
"""

from collections.abc import Callable
from enum import Enum

from guard.errors import AnchorMissing, DiskLow, FileLost, ForkDetected, GuardError, Halted, RollbackDetected

FORK = (
    "If the database was restored on purpose, stop guard and run guard audit fork --reason TEXT; "
    "otherwise stop guard and put the newer database back."
)


class Reason(Enum):
    """Why the service does not serve."""

    ROLLBACK_DETECTED = "the store is behind an anchor"
    FORK_DETECTED = "the store and an anchor hold two histories"
    ANCHOR_MISSING = "an anchor is not there"
    FILE_LOST = "a file was taken away while it was in use"
    DISK_LOW = "the disk is nearly full"
    IO_UNKNOWN = "a commit's outcome is unknown"


ERRORS: dict[Reason, type[GuardError]] = {
    Reason.ROLLBACK_DETECTED: RollbackDetected,
    Reason.FORK_DETECTED: ForkDetected,
    Reason.ANCHOR_MISSING: AnchorMissing,
    Reason.FILE_LOST: FileLost,
    Reason.DISK_LOW: DiskLow,
    Reason.IO_UNKNOWN: Halted,
}
NEXT = {
    Reason.ROLLBACK_DETECTED: FORK,
    Reason.FORK_DETECTED: FORK,
    Reason.ANCHOR_MISSING: (
        "Mount its volume or put the file back, then start guard again; "
        "only where it is lost for good, run guard audit anchor create PATH."
    ),
    Reason.FILE_LOST: (
        "Copy what is still open from /proc/PID/fd before you stop guard, then restore and start guard again."
    ),
    Reason.DISK_LOW: "Free some space; guard goes on by itself.",
    Reason.IO_UNKNOWN: "Start guard again; it reads from disk what happened.",
}
RETRY_AFTER_SECONDS = 5  # of a full disk: space is looked at once a second


class Phase(Enum):
    """How far the start has come."""

    STARTING = "STARTING"
    RECOVERING = "RECOVERING"
    SERVING = "SERVING"


class Standing:
    """Where one process stands. `admit` is called under the pipeline's lock, so `refused` is exact."""

    def __init__(self, told: Callable[[str, str], None] = lambda _state, _detail: None) -> None:
        self._told = told  # the operator's log hears of each change once
        self._phase = Phase.STARTING
        self._found: tuple[Reason, str] | None = None
        self._low = ""
        self._repairing = False
        self.refused = 0

    @property
    def name(self) -> str:
        """The state as `/readyz` and the operator's log show it."""
        reason = self.reason
        if reason is None:
            return self._phase.value
        return f"{'HALTED' if reason is Reason.IO_UNKNOWN else 'READ_ONLY'}({reason.name})"

    @property
    def reason(self) -> Reason | None:
        """Why nothing is taken; None while everything is."""
        if self._found is not None:
            return self._found[0]
        return Reason.DISK_LOW if self._low else None

    @property
    def serving(self) -> bool:
        """Whether the start is over and everything is taken."""
        return self._phase is Phase.SERVING and self.reason is None

    @property
    def sound(self) -> bool:
        """Whether nothing was found that only a person can mend."""
        return self._found is None

    @property
    def low(self) -> bool:
        """Whether the disk is low."""
        return bool(self._low)

    def move(self, phase: Phase) -> None:
        """The start has come to *phase*."""
        self._phase = phase

    def trip(self, reason: Reason, detail: str) -> bool:
        """Take nothing more for *reason*; *detail* is one sentence with both sizes, or what is missing. True if new.

        The first finding stays: what follows from it would hide it. Only HALTED comes over another.
        """
        if reason is Reason.DISK_LOW:
            fresh, self._low = not self._low, detail
            if fresh:
                self._told(self.name, detail)
            return fresh
        if self._found is not None and reason is not Reason.IO_UNKNOWN:
            return False
        self._found = (reason, detail)
        self._told(self.name, detail)
        return True

    def relieve(self) -> int:
        """The disk has room again: go on; how many were refused meanwhile."""
        refused, self._low, self.refused = self.refused, "", 0
        self._told(self.name, f"The disk has room again; {refused} operations were refused.")
        return refused

    def repair(self) -> None:
        """In the process of an offline command that mends what was found: admit what it does."""
        self._repairing = True

    def mended(self) -> None:
        """What was found no longer holds: the next incarnation of the log is durable."""
        self._found = None

    def error(self) -> GuardError | None:
        """The error that names the state and the next command; None where there is nothing to name."""
        reason = self.reason
        if reason is None:
            return None
        detail = self._found[1] if self._found is not None else self._low
        later = {"retry_after_seconds": RETRY_AFTER_SECONDS} if reason is Reason.DISK_LOW else {}
        return ERRORS[reason](f"{self.name}: {detail}", hint=NEXT[reason], state=self.name, **later)

    def admit(self, vital: bool = False) -> None:
        """Let something be written, or not. *vital*: it signs or closes what was acknowledged before.

        Raises:
            GuardError: the one of the state, while the service is read-only or halted.
        """
        if (self._found is None and not self._low) or self._repairing or (vital and self._found is None):
            return
        self.refused += 1
        error = self.error()
        if error is not None:
            raise error
