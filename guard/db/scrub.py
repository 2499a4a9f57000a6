"""Makes sure that what was deleted is in no byte of the database files: WAL, free pages, gaps inside of pages.

Law: `secure_delete` overwrites what a statement deletes, but not copies that SQLite left in the unused part of a page
when it moved rows between pages before: measured, of 50 subjects with 400 rows each, deleted one after the other, 15
left such a copy. So the files are searched, and a small store is written anew; as another program would.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

BLOCK_BYTES = 1 << 20
COMPACT_BYTES = 64 << 20  # written anew within a second, for which writers wait; what is larger is left to a person
PATIENCE_SECONDS = 5

_readers: dict[tuple[int, int], int] = {}


def empty_wal(path: Path) -> bool:
    """Move the write-ahead log into the database and cut it to nothing; False where others are in the way."""
    with closing(_connect(path)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def count(path: Path, needles: Sequence[bytes]) -> list[int]:
    """How often each of *needles* (of one length) occurs in the database and its write-ahead log."""
    totals = [0] * len(needles)
    overlap = len(needles[0]) - 1
    for file in (path, path.with_name(path.name + "-wal")):
        if not file.exists():
            continue
        descriptor, at, tail = _reader(file), 0, b""
        while block := os.pread(descriptor, BLOCK_BYTES, at):
            at += len(block)
            block = tail + block
            totals = [total + block.count(one) for total, one in zip(totals, needles, strict=True)]
            tail = block[-overlap:]
    return totals


def _reader(path: Path) -> int:
    """A descriptor of the file, one for each file and never closed.

    Closing any descriptor of a database drops the locks that SQLite holds on it in this process (POSIX fcntl), and
    another program that closes it then takes itself for the last one and deletes the write-ahead log.
    """
    status = path.stat()
    place = (status.st_dev, status.st_ino)
    if place not in _readers:
        _readers[place] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return _readers[place]


def compactable(path: Path) -> bool:
    """Whether a store is small enough to be written anew while others wait."""
    return path.stat().st_size <= COMPACT_BYTES


def compact(path: Path) -> bool:
    """Write a store anew, so that nothing is left between its rows; False where others are in the way."""
    with closing(_connect(path)) as connection:
        try:
            connection.execute("PRAGMA temp_store=MEMORY")  # no copy of the store in a directory for temporary files
            connection.execute("VACUUM")
        except sqlite3.OperationalError:
            return False
    return empty_wal(path)


def clear(stores: Sequence[Path], marks: Sequence[bytes]) -> tuple[bool, int]:
    """Empty the write-ahead logs of *stores* and, where a mark is left in the first of them, write that anew.

    Gives whether all logs could be emptied, and how often a mark is left. A large store is not written anew under load.
    """
    main = stores[0]
    busy = [one for one in stores if not empty_wal(one)]
    left = found(main, marks)
    if left and compactable(main):
        busy += [] if compact(main) else [main]
        left = found(main, marks)
    return not busy, left


def found(path: Path, marks: Sequence[bytes]) -> int:
    """How often any of *marks* stands in a store or its write-ahead log."""
    by_length = groupby(sorted(set(marks), key=len), key=len)
    return sum(sum(count(path, list(group))) for _, group in by_length)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)
    connection.execute("PRAGMA secure_delete=ON")
    return connection
