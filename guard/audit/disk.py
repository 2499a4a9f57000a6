"""Immutable files: written under a temporary name, synced, renamed, their folder synced, then read back and compared.

Law: a name that can be read holds the whole content, whatever is cut off when; what `Disk.store` returned from is on
the medium, names included (a rename is durable only when its folder was synced, fsync(2)). Only `Folder` reaches the
file system: the same rules run over a simulated volume in tests, which loses what was not synced.
"""

import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Protocol

from guard.errors import StoreDamaged

SUFFIX = ".part"  # no path of a tile ends so, so an unfinished file is never served
FILE_MODE = 0o400  # nobody has a reason to write into a file that is never changed
FOLDER_MODE = 0o700


class Volume(Protocol):
    """The few things that a file system does; paths are relative, parts apart by `/`."""

    def create(self, path: str, data: bytes) -> None:
        """Write a new file and sync its content (its name is not durable yet); an old one of that name goes first."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, in place of what had it."""
        ...

    def sync(self, folder: str) -> None:
        """Make the names in *folder* durable."""
        ...

    def make(self, folder: str) -> list[str]:
        """Make the missing folders on the way to *folder*; the folders that got a new name in them."""
        ...

    def read(self, path: str) -> bytes | None:
        """The content, None where there is no such file."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        ...


class Disk:
    """Files that are written once, on a volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def read(self, path: str) -> bytes | None:
        """The content, None where there is no such file."""
        return self._volume.read(path)

    def store(self, files: Mapping[str, bytes]) -> None:
        """Put *files* down; when it returns, all of them are durable. Safe to repeat after a crash at any point.

        Raises:
            OSError: the file system refused; nothing is known about *files* then.
            StoreDamaged: a file reads back as something else than was written.
        """
        changed = {folder: None for path in files for folder in self._volume.make(_parent(path))}
        for path, data in files.items():
            self._volume.create(path + SUFFIX, data)
        for path in files:
            self._volume.rename(path + SUFFIX, path)
            changed[_parent(path)] = None
        for folder in changed:
            self._volume.sync(folder)
        for path, data in files.items():
            if self._volume.read(path) != data:
                raise StoreDamaged(f"Expected {path} to read back as it was written, got other bytes; check the disk.")

    def remove(self, paths: list[str]) -> None:
        """Remove files; those that are gone already are no error. Durable when it returns."""
        for path in paths:
            self._volume.remove(path)
        for folder in dict.fromkeys(_parent(path) for path in paths):
            self._volume.sync(folder)


class Folder:
    """A volume that is a directory of the file system."""

    def __init__(self, root: PurePath) -> None:
        self.root = Path(root)

    def create(self, path: str, data: bytes) -> None:
        """See `Volume.create`."""
        self.remove(path)
        descriptor = os.open(self.root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
            # What is read back is to come from the medium and not from memory.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """See `Volume.rename`."""
        (self.root / source).replace(self.root / target)

    def sync(self, folder: str) -> None:
        """See `Volume.sync`; a folder that does not exist has no names to keep."""
        try:
            descriptor = os.open(self.root / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make(self, folder: str) -> list[str]:
        """See `Volume.make`."""
        missing = []
        place = self.root / folder
        while not place.is_dir():
            missing.append(place)
            place = place.parent
        for one in reversed(missing):
            one.mkdir(mode=FOLDER_MODE, exist_ok=True)
        return [os.path.relpath(one.parent, self.root) for one in missing]

    def read(self, path: str) -> bytes | None:
        """See `Volume.read`."""
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, path: str) -> None:
        """See `Volume.remove`."""
        (self.root / path).unlink(missing_ok=True)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "."
