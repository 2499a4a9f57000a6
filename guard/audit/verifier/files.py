"""The files of a log directory, or of a zip of one, each told apart by name and none passed over.

Law: a link is no file of a log, a name stands once, and nothing is read beyond a limit: a verifier is fed by strangers.
"""

import os
import zipfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from .report import Report

MAX_FILE = 1 << 28  # an accompanying file is read whole
MAX_LINE = 1 << 20  # an entry has at most 64 KiB; a text format escapes a byte with six at the most, or names it twice
BLOCK = 1 << 16
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)


def _listed(folder: str, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry below a folder that is no folder itself; a link is never followed."""
    with os.scandir(folder) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                yield from _listed(item.path, f"{prefix}{item.name}/")
            else:
                yield prefix + item.name, item


def _up_to(stream: BinaryIO, limit: int, stated: int) -> bytes:
    """All of a stream, or more than the limit of it. The size that it states is a hint: a zip may lie, a file may grow.

    A buffer of the right size is worth a tenth of a verification: a larger one is new memory from the kernel each time.
    """
    data = stream.read(min(limit, stated) + 1)
    while len(data) <= limit and (more := stream.read(min(limit + 1 - len(data), len(data) + 1))):
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
            with self._open(name) as stream:
                item = self.names[name]
                stated = os.fstat(stream.fileno()).st_size if isinstance(item, str) else int(item.file_size)
                data = _up_to(stream, limit, stated)
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
            with self._open(name, buffered=True) as stream:
                while line := stream.readline(MAX_LINE):
                    yield line
        except UNREADABLE as error:
            self._unreadable(name, error)

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

    def _open(self, name: str, *, buffered: bool = False) -> BinaryIO:
        item = self.names[name]
        if isinstance(item, str):
            # Bundles and tiles are read in one call each; a buffer would only copy them.
            return open(item, "rb", buffering=-1 if buffered else 0)  # noqa: PTH123
        return self.zip.open(item)  # type: ignore[return-value]

    def _unreadable(self, name: str, error: BaseException) -> None:
        missing = isinstance(error, FileNotFoundError)
        detail = "the file is missing" if missing else f"the file cannot be read ({type(error).__name__})"
        self.report.add(name, detail)
