"""What every check of one verification shares: the files, the report, whom it believes, and the head once it is known.

Law: whatever is wrong with a text is a fault under its name, and never an exception that ends the verification.
"""

import base64
from collections.abc import Callable
from typing import Any

from .files import Files
from .notes import Head
from .report import Report
from .stolen import doubts
from .trust import Opened, Trust
from .watching import Watch


class Reading:
    """The state of one verification. `vouched` are the files that the manifest lists with their right hash."""

    def __init__(self, files: Files, report: Report, trust: Trust) -> None:
        self.files, self.report, self.add, self.trust = files, report, report.add, trust
        self.vouched, self.manifest, self.head = set[str](), dict[str, Any](), Head("", 0, b"")
        self.given_min_index, self.tsa_ca = 0, b""  # known from elsewhere
        self.watch, self.signed, self.complete = Watch(), False, True  # is the manifest signed; was every record read
        self.dated = list[tuple[int, int]]()  # size and time (us) of checkpoints that somebody dated
        self.promised, self.led_to = list[Head](), set[Head]()  # heads that a later log names, and those found here

    def read(self, name: str, parse: Callable[[str, str], Any], data: bytes = b"") -> Any:
        """What a text file says, or None; whatever is wrong with it is a fault."""
        found = data or self.files.read(name)
        try:
            return None if found is None else parse(name, found.decode())
        except (ValueError, RecursionError) as error:
            self.add(name, error)
        return None

    def open(self, name: str, text: str) -> Opened:
        """A checkpoint of this log, signed by one of its keys."""
        opened = self.trust.open(text, vouched=name in self.vouched)
        if self.head.origin and opened.head.origin != self.head.origin:
            raise ValueError(f"a checkpoint of {self.head.origin} was expected, not of {opened.head.origin}")
        if opened.time:
            self.dated.append((opened.head.size, opened.time * 1_000_000))
        return opened

    def believe(self, opened: Opened) -> None:
        """Take this as the head of what is verified."""
        report, self.head = self.report, opened.head
        report.origin, report.size = self.head.origin, self.head.size
        report.root = base64.b64encode(self.head.root).decode()
        report.signers, report.cosigners = opened.signers, opened.cosigners
        report.counts["cosignatures"] = len(set(opened.cosigners))
        if self.trust.given and not self.trust.given.keys() & set(opened.signers):
            self.add("checkpoint", "a signature by the given key was expected, none came")
        self.report.unchecked += doubts(self.trust.ranges or {}, opened)
        if short := self.trust.policy.shortfall(set(opened.cosigners)):
            self.add("checkpoint", short)
