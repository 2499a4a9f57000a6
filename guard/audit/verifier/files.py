"""The files of a log directory, or of a zip of one, each told apart by name and none passed over.

Law: a link is no file of a log, a name stands once, and nothing is read beyond a limit: a verifier is fed by strangers.
"""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from .report import Report

MAX_FILE = 1 << 28  # an accompanying file is read whole
MAX_LINE = 1 << 20  # an entry has at most 64 KiB; a text format escapes a byte with six at the most, or names it twice
BLOCK = 1 << 16
READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # what the system has of these
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)


def _listed(folder: str, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry below a folder that is no folder itself; a link is never followed."""
    with os.scandir(folder) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                yield from _listed(item.path, f"{prefix}{item.name}/")
            else:
                yield prefix + item.name, item


def _up_to(read: Callable[[int], bytes], limit: int, stated: int) -> bytes:
    """All that can be read, or more than the limit. The size stated is a hint: a zip may lie, a file may grow.

    A buffer of the right size is worth a tenth of a verification: a larger one is new memory from the kernel each time.
    """
    data = read(min(limit, stated) + 1)
    while len(data) <= limit and (more := read(min(limit + 1 - len(data), len(data) + 1))):
        data += more
    return data


class Files:
    """The files of a directory, or of a zip with or without one common top folder. A link is no file of a log.

    `names` are the files that can be read, `unread` all that nobody has asked for yet, links too.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self.report, self.names = report, dict[str, Any]()
        if path.is_dir():
            found = dict(_listed(str(path)))
            self.unread = set(found)
            self.names = {name: item.path for name, item in found.items() if item.is_file(follow_symlinks=False)}
            return
        self.zip = zipfile.ZipFile(path)
        members = [info for info in self.zip.infolist() if not info.is_dir()]
        tops = {info.filename.partition("/")[0] + "/" for info in members}
        top = tops.pop() if len(tops) == 1 and all("/" in info.filename for info in members) else ""
        self.names = {info.filename.removeprefix(top): info for info in members}
        self.unread = set(self.names)
        if len(self.names) != len(members) or not {info.compress_type for info in members} <= {0, zipfile.ZIP_DEFLATED}:
            raise ValueError("a name is there twice, or a file is neither stored nor deflated")

    def below(self, *folders: str) -> list[str]:
        """The names below these folders, in order of their text."""
        return sorted(name for name in self.names if name.startswith(folders))

    def read(self, name: str, limit: int = MAX_FILE) -> bytes | None:
        """The content of a file; None, and named as a fault, if there is none that can be read."""
        self.unread.discard(name)
        try:
            if name not in self.names:
                raise FileNotFoundError
            data = self._content(name, limit)
            if len(data) <= limit:
                return data
            self.report.add(name, f"at most {limit} bytes were expected, more came")
        except UNREADABLE as error:
            self._unreadable(name, error)
        return None

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, each with its end and at most MAX_LINE long; a fault is named and ends them."""
        self.unread.discard(name)
        try:
            with self._open(name) as stream:
                while line := stream.readline(MAX_LINE):
                    yield line
        except UNREADABLE as error:
            self._unreadable(name, error)

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """A file that can be sought in; raises ValueError if it cannot be read."""
        self.unread.discard(name)
        try:
            with self._open(name) as found:
                yield found
        except UNREADABLE as error:
            raise ValueError(f"the file cannot be read ({type(error).__name__})") from None

    def digest(self, name: str) -> tuple[str, int]:
        """SHA-256 in hex and length of a file; of what could be read of it, if there is a fault."""
        self.unread.discard(name)
        digest, length = sha256(), 0
        try:
            if name not in self.names:
                raise FileNotFoundError
            with self._open(name) as stream:
                while block := stream.read(BLOCK):
                    digest.update(block)
                    length += len(block)
        except UNREADABLE as error:
            self._unreadable(name, error)
        return digest.hexdigest(), length

    def _content(self, name: str, limit: int) -> bytes:
        item = self.names[name]
        if not isinstance(item, str):
            with self.zip.open(item) as stream:
                return _up_to(stream.read, limit, int(item.file_size))
        # Bundles and tiles are half a million small files in a large log; a file object for each would cost twice this.
        handle = os.open(item, READ)
        try:
            return _up_to(partial(os.read, handle), limit, os.fstat(handle).st_size)
        finally:
            os.close(handle)

    def _open(self, name: str) -> BinaryIO:
        item = self.names[name]
        return Path(item).open("rb") if isinstance(item, str) else self.zip.open(item)  # type: ignore[return-value]

    def _unreadable(self, name: str, error: BaseException) -> None:
        missing = isinstance(error, FileNotFoundError)
        detail = "the file is missing" if missing else f"the file cannot be read ({type(error).__name__})"
        self.report.add(name, detail)
