"""What a fault's runs came to: acknowledged records that are lost, holes, doubled ones, and whether a control can see."""

from dataclasses import dataclass, field


class Unfit(Exception):
    """This machine lacks what a fault needs; the message names it."""


@dataclass
class Tally:
    """The sums of one fault. A *control* is a run that must lose something: where it does not, the harness is blind."""

    name: str
    control: bool = False
    runs: int = 0
    lost: int = 0
    holes: int = 0
    doubled: int = 0
    named: int = 0  # homes that refused to open by a named error, before anything was ever acknowledged in them
    faults: list[str] = field(default_factory=list)  # anything else that is wrong, as a sentence
    note: str = ""

    def add(self, verdict: "Verdict", where: str = "") -> None:
        """Count one run."""
        self.runs += 1
        self.lost += len(verdict.lost)
        self.holes += verdict.holes
        self.doubled += verdict.doubled
        self.faults += [f"{where}: {fault}" for fault in verdict.faults]
        if verdict.lost and not self.control:
            self.faults.append(f"{where}: lost {verdict.lost[:3]}")

    @property
    def blind(self) -> bool:
        return self.control and not (self.lost or self.holes or self.faults)

    @property
    def good(self) -> bool:
        if self.control:
            return self.runs > 0 and not self.blind
        return self.runs > 0 and not (self.lost or self.holes or self.doubled or self.faults)

    def line(self) -> str:
        """The one line that is printed."""
        kind = "negative control, must lose: " + ("BLIND" if self.blind else "sees") if self.control else ""
        more = "; ".join(
            part for part in (kind, self.note, f"{len(self.faults)} faults" if self.faults else "") if part
        )
        figures = f"runs {self.runs} | lost {self.lost} | holes {self.holes} | doubled {self.doubled}"
        return f"{self.name} | {figures}" + (f" | {more}" if more else "")


@dataclass
class Verdict:
    """What one check of a store found."""

    lost: list[str] = field(default_factory=list)
    holes: int = 0
    doubled: int = 0
    faults: list[str] = field(default_factory=list)

    def expect(self, holds: bool, fault: str) -> None:
        """Note *fault* where something does not hold."""
        if not holds:
            self.faults.append(fault)
