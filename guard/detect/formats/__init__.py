"""Log formats: one file per format, found by its name.

Contract of a format module: a function `parse(line: bytes) -> Fields | Rejected`. `line` is one line without its LF,
of any bytes and any length; the function never raises, keeps no state that changes a result, and returns in time
linear in the line. Strict means that the format's whole grammar held; lenient that time, address and status were
found in their places; anything else is rejected with a reason that can be counted. Nothing is dropped. No I/O.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from guard.detect.event import Fields

MAX_LINE_BYTES: Final = 65_536
"""Web servers limit a request line to 8 KiB and header fields likewise; more is kept to this length and flagged."""

TRUNCATED: Final = "truncated"
RAW_BYTES: Final = "raw_bytes"
SHORT: Final = "short"
EXTRA: Final = "extra"
BROKEN_QUOTES: Final = "broken_quotes"


class Reason(StrEnum):
    """Why a line is no event."""

    EMPTY = "empty"
    HEAD = "head"
    ADDRESS = "address"
    TIME = "time"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is no event."""

    reason: Reason


class Format(Protocol):
    """What the modules of this folder are."""

    @staticmethod
    def parse(line: bytes) -> Fields | Rejected:
        """One line, without its LF, to fields or a reason."""
