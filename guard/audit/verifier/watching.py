"""What is looked for in the records while they pass: what the first of them says of an earlier log.

Law: records are read once, so whoever looks for one asks here before they are. No I/O.
"""

from collections.abc import Iterable

from .incarnation import replaced_of
from .notes import Head


class Watch:
    """Sees every entry that is read, each with its index."""

    def __init__(self) -> None:
        self.first, self.replaced = False, list[Head]()

    def see(self, index: int, entries: Iterable[bytes]) -> None:
        """Entries from this index on, one after the other."""
        if index == 0 and (first := next(iter(entries), None)):
            self.first, self.replaced = True, replaced_of(first)
