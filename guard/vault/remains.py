"""What a destroyed key leaves in the files of the two stores: named while it is there, and written over soon after.

Law: a row that is deleted still stands in the write-ahead log, and maybe in the unused part of a page that SQLite moved
rows out of; so after each destruction the logs are emptied and the main database is searched. What is searched for is
held in memory only, or it would be one more copy; after a crash the logs are emptied all the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from guard.catalogue import PLATFORM

RETRY_US = 30_000_000  # after a reader kept a write-ahead log from being emptied
MAX_MARKS = 256  # searched for at a time; more are forgotten like anybody's, but not looked for
MIN_MARK_BYTES = 6  # a shorter id stands in any file by chance


class Remains:
    """What is to be looked for, and since when. The writer adds, the worker takes."""

    def __init__(self, *, unsure: bool) -> None:
        self._due_us: int | None = 0 if unsure else None
        self._marks: tuple[bytes, ...] = ()

    def left(self, *marks: bytes) -> None:
        """Something was deleted that had these bytes."""
        fresh = tuple(mark for mark in marks if len(mark) >= MIN_MARK_BYTES)
        self._marks = (*self._marks, *fresh)[-MAX_MARKS:]
        self._due_us = 0

    def due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Whether files are to be emptied and searched now."""
        return [(PLATFORM, {})] if self._due_us is not None and now_us >= self._due_us else []

    def take(self) -> tuple[bytes, ...]:
        """What to look for; what is left behind meanwhile is due anew."""
        marks, self._marks, self._due_us = self._marks, (), None
        return marks

    def again(self, marks: tuple[bytes, ...], now_us: int) -> None:
        """They were not all gone; look later."""
        self._marks = (*marks, *self._marks)[-MAX_MARKS:]
        self._due_us = now_us + RETRY_US
