"""A file of JSON lines, appended to: for a shipper on the same machine, or a volume that is collected.

Law: a batch counts as delivered after fsync of the file, and of its directory if the file is new. A line that a crash
left half-written was not acknowledged and is cut off before the next is written. A file that was renamed or removed
under guard is noticed at the next batch, and a new one is begun.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from guard.audit.exports.jsonl import line
from guard.audit.row import Row
from guard.audit.sinks import lost
from guard.errors import InvalidSetting
from guard.settings import Sink

ACKNOWLEDGED = "the lines are on disk (fsync)"
TAKES = frozenset({"path"})
MAY_TAKE: frozenset[str] = frozenset()
BLOCK_BYTES = 1 << 17  # two entries of the largest kind: the last line end is among these


def check(plan: Sink) -> None:
    """Look at the options.

    Raises:
        InvalidSetting: the path is not absolute, or its directory is not there.
    """
    path = Path(plan.path)
    if not path.is_absolute() or not path.parent.is_dir() or path.is_dir():
        raise InvalidSetting(
            f"Expected an absolute path in a directory that exists for the sink {plan.name}, got {plan.path}; "
            "correct path."
        )


def connect(plan: Sink, index: int) -> "Appended":
    """Open the file; raises SinkUnavailable."""
    del index
    return Appended(Path(plan.path))


class Appended:
    """The open file."""

    doubtful = None

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = _open(path)
        except OSError as error:
            raise lost(error) from None

    def send(self, rows: Sequence[Row]) -> int:
        """Append and sync."""
        try:
            if not self._in_place():
                os.close(self._descriptor)
                self._descriptor = -1
                self._descriptor = _open(self._path)
            rest = memoryview(b"".join(map(line, rows)))
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise lost(error) from None
        return len(rows)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


def _open(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        _cut(descriptor)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _cut(descriptor: int) -> None:
    """Cut off a last line that has no end."""
    size = os.fstat(descriptor).st_size
    start = max(size - BLOCK_BYTES, 0)
    tail = os.pread(descriptor, size - start, start)
    whole = start + tail.rfind(b"\n") + 1
    if whole != size:
        os.ftruncate(descriptor, whole)
