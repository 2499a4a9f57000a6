"""What is looked for in the records while they pass: an earlier log, receipt keys, and the records of receipts.

Law: records are read once, so whoever looks for one asks here before they are. No I/O.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from .canonical import record_of
from .incarnation import PLATFORM, replaced_of
from .notes import Head

START = b'{"b":{"action":"services.start"'  # "action" is the first key of every canonical body
IDS = re.compile(rb'"id":"([0-9a-f-]{36})"').findall


class Found(NamedTuple):
    """Where a record stands, and the SHA-256 of its body."""

    at: int
    body: bytes


class Watch:
    """Sees every entry that is read, each with its index."""

    def __init__(self) -> None:
        self.first, self.replaced = False, list[Head]()
        self.wanted, self.found = set[bytes](), dict[str, list[Found]]()
        self.keys, self.begin_us = set[tuple[str, str]](), 0  # (origin, vkey) of receipts; time of the first record

    def see(self, index: int, entries: Sequence[bytes]) -> None:
        """Entries from this index on, one after the other."""
        if index == 0 and entries:
            self.first, self.replaced = True, replaced_of(entries[0])
        if self.wanted:
            for at, entry in enumerate(entries, index):
                if not self.begin_us or entry.startswith(START) or not self.wanted.isdisjoint(IDS(entry)):
                    self._look(at, entry)

    def _look(self, index: int, entry: bytes) -> None:
        try:
            body, _ = record_of(entry.decode())
            if not self.begin_us:
                self.begin_us = int(datetime.fromisoformat(body["time"]).timestamp() * 1_000_000)
            if body["id"].encode() in self.wanted:
                exact = entry[len(b'{"b":') : entry.rindex(b',"n":')]
                self.found.setdefault(body["id"], []).append(Found(index, sha256(exact).digest()))
            if entry.startswith(START) and body["tenant"] == PLATFORM:
                self.keys.add((body["data"]["origin"], body["data"]["receipts"]))
        except (ValueError, LookupError, TypeError, RecursionError):
            return  # whoever reads the record for its own sake names it
