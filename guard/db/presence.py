"""Whether database and lock are still the files that the process opened, and whether the disk has room.

Law: what is written to a file that was unlinked is lost at the next start, so an acknowledgement after it is a lie:
this is asked once a second. Device, inode and a size that may only grow; the WAL must hold every frame that its index
counts (SQLite's WAL format, section 2.1: mxFrame at byte 16 of the index, page size at byte 14).
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import structlog

WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
LARGEST_PAGE = 65_536  # written as 1
WARN_PERCENT = 75  # of the disk in use; NIST SP 800-53 AU-5(1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Identity:
    device: int
    inode: int
    size: int


class Presence:
    """Watches the database, its WAL and the lock file."""

    def __init__(self, database: Path, lock: Path) -> None:
        self._wal = database.with_name(database.name + "-wal")
        self._index = database.with_name(database.name + "-shm")
        self._database = database
        self._open = {path: _identity(path) for path in (database, self._wal, lock)}
        self._warned = False
        self._descriptor = -1

    def close(self) -> None:
        """Let go of the index, and only after the database was closed.

        POSIX drops every lock of the process on a file of which it closes one descriptor, and SQLite's locks lie on the
        index. For the same reason the index is opened once and not at each look.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def lost(self) -> str:
        """Which file was removed, replaced or cut since, in one sentence; empty where none was."""
        return self._lost_open() or self._lost_wal()

    def free_bytes(self) -> int:
        """How much room is left for guard; warns once when three quarters of the disk are in use."""
        disk = os.statvfs(self._database.parent)
        used = 100 - 100 * disk.f_bavail // max(disk.f_blocks, 1)
        if used >= WARN_PERCENT and not self._warned:
            log.warning("disk_filling", used_percent=used, free_bytes=disk.f_bavail * disk.f_frsize)
        self._warned = used >= WARN_PERCENT
        return disk.f_bavail * disk.f_frsize

    def _lost_open(self) -> str:
        for path, before in self._open.items():
            now = _identity(path)
            if before is None:  # the WAL appears with the first write
                self._open[path] = now
            elif now is None:
                return f"{path} was removed while it was in use."
            elif (now.device, now.inode) != (before.device, before.inode):
                return f"{path} was replaced by another file while it was in use."
            elif path == self._database and now.size < before.size:
                return f"{path} was cut from {before.size} to {now.size} bytes while it was in use."
            elif path == self._database:
                self._open[path] = now
        return ""

    def _lost_wal(self) -> str:
        counted = self._frames()
        found = _identity(self._wal)
        # The index is set back before the file is truncated, so what was counted must be asked for again.
        if found is None or found.size >= counted or self._frames() != counted:
            return ""
        return f"{self._wal} was cut to {found.size} bytes, of which {counted} were counted as committed."

    def _frames(self) -> int:
        """How many bytes the WAL has at least, by its index."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._index, os.O_RDONLY | os.O_CLOEXEC)
            head = os.pread(self._descriptor, 20, 0)
        except OSError:
            return 0
        if len(head) < struct.calcsize("20s"):
            return 0
        size, frames = struct.unpack_from("=HI", head, 14)
        page = LARGEST_PAGE if size == 1 else size
        return WAL_HEADER_BYTES + frames * (FRAME_HEADER_BYTES + page) if frames else 0


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Identity(found.st_dev, found.st_ino, found.st_size)
