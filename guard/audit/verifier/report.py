"""What a verification found: faults, each with its file and index, and what was counted. No I/O.

Law: what an attacker wrote into a name can neither forge a second line of the report nor move the cursor.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_FAULTS = 1000  # more tell nothing new
COUNTED = ("records", "tenants", "open_intents", "checkpoints", "proofs", "manifest", "since")
COUNTED_TOO = ("parts", "rows", "cosignatures", "openings", "stamps", "pruned")  # shown where there are any

Progress = Callable[[int, int], None]


class Unusable(Exception):
    """There is nothing to verify: the path or an argument is wrong."""


class Fault(NamedTuple):
    """One thing that is wrong: in which file, what was expected and came, and at which index if there is one."""

    path: str
    detail: str
    at: int | None = None

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.detail}")


def printable(text: str) -> str:
    """The text on one line, with every mark that is not printable escaped."""
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)


@dataclass(slots=True)
class Report:
    """What was checked and found; `signers` are the log keys whose signature on `checkpoint` is good.

    `kind` is log, export or evidence; `stamps` are the times that others vouch for; `unchecked` names what could not be
    looked at, with the reason. Entries below `min_index` were pruned, and `vouched` is who says so.
    `replaced` are the heads that the first record says this log replaced, `follows` the copy that has one of them.
    `receipts` are the verdicts on receipts.
    """

    path: str
    kind: str = "log"
    origin: str = ""
    size: int = 0
    root: str = ""
    signers: list[str] = field(default_factory=list)
    cosigners: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED + COUNTED_TOO, 0))
    stamps: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    min_index: int = 0
    vouched: list[str] = field(default_factory=list)
    replaced: list[dict[str, Any]] = field(default_factory=list)
    follows: str = ""
    receipts: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def add(self, path: str, detail: object, at: int | None = None) -> None:
        """Note a fault."""
        fault = Fault(path, str(detail), at)
        if len(self.faults) < MAX_FAULTS and fault not in self.faults:
            self.faults.append(fault)
