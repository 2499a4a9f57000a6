"""The files of exports: temporary file, fsync, rename, fsync of each directory above.

Law: a half-written file is never found under its name, and what is on the shelf is on the disk. What lies here holds
whole records: directories are 0700, files 0600, and what belongs to no export is removed at start.
"""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from guard.audit import archive

Result = TypeVar("Result")


class Stored(NamedTuple):
    """A file that is durable: SHA-256 in hex, and how many bytes."""

    sha256: str
    length: int


class Shelf:
    """The directory of exports: `<id>/parts/<n>.<suffix>`, `<id>/hashes/<n>`, `<id>/frame.zip`, and `<id>.zip`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Where the file *name* lies."""
        return self._root / name

    def has(self, name: str) -> bool:
        """Whether there is a file *name*."""
        return self.path(name).is_file()

    def read(self, name: str) -> bytes:
        """A file, whole."""
        return self.path(name).read_bytes()

    def member(self, name: str, inner: str) -> bytes:
        """One member of the zip archive *name*."""
        with zipfile.ZipFile(self.path(name)) as opened:
            return opened.read(inner)

    def members(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Every member of the zip archive *name*, in order."""
        with zipfile.ZipFile(self.path(name)) as opened:
            for inner in opened.namelist():
                yield inner, opened.read(inner)

    def put(self, name: str, make: Callable[[BinaryIO], Result]) -> tuple[Result, Stored]:
        """Write the file *name* by *make*, mode 0600; what it returned, and the file as it was read back."""
        path = self._place(name)
        temporary = path.with_name(path.name + ".tmp")
        try:
            with temporary.open("wb") as file:
                temporary.chmod(0o600)
                result = make(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)  # it holds whole records, and nobody would look for it
        self._sync(path)
        with path.open("rb") as file:
            return result, Stored(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)

    def zip(self, name: str, members: Iterable[tuple[str, bytes]]) -> Stored:
        """Write *members* (name, content) as the zip archive *name*."""
        path = self._place(name)
        sha256 = archive.write(path, members)
        self._sync(path)
        return Stored(sha256, path.stat().st_size)

    def remove(self, export: str) -> None:
        """Remove every file of an export."""
        shutil.rmtree(self.path(export), ignore_errors=True)
        self.path(f"{export}.zip").unlink(missing_ok=True)

    def keep_only(self, exports: Collection[str]) -> None:
        """Remove what belongs to none of *exports*: a process that died while it wrote left it."""
        for path in self._root.iterdir() if self._root.is_dir() else ():
            export = path.name.partition(".")[0]
            if export not in exports:
                self.remove(export)
                path.unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        path = self.path(name)
        for folder in reversed([one for one in path.parents if one.is_relative_to(self._root)]):
            folder.mkdir(mode=0o700, exist_ok=True)
        return path

    def _sync(self, path: Path) -> None:
        """A directory that was made for the file is itself an entry in the one above it."""
        for folder in path.parents:
            if folder.is_relative_to(self._root.parent):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
