"""Custody in a key file: 32 random bytes as 64 hexadecimal digits and a newline, mode 0600 in a directory 0700.

Wrap: suite CBL256 under the file's key, with the slot record as context. Law: a key that others on the machine may
read is not used, and a key file is never replaced, since everything sealed under it would be lost. Who can read the
file can open the data, so this slot is for development and for machines whose disk and accounts are the protection.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from guard.errors import AlreadyExists, DoesNotOpen, RootKeyMissing, WrongRootKey
from guard.vault.custody import KEY_BYTES, check_randomness, given
from guard.vault.keys import Secret
from guard.vault.suites import CBL256

OPTIONS: Final = ("path",)
OPTIONAL: Final[Mapping[str, str]] = {}
SECRETS: Final[tuple[str, ...]] = ()

_TEXT: Final = re.compile(rb"[0-9a-fA-F]{64}\n?")
_MAX_FILE_BYTES: Final = 4096
"""A key file has 65 bytes; whatever is larger is something else and is not read to its end."""
_HINT: Final = "Put the right key file in place, or take it from its backup."


class FileSlot:
    """A slot whose key was read from a file."""

    __slots__ = ("_key", "_path")
    handout: tuple[str, ...] = ()

    def __init__(self, path: Path, key: bytes | bytearray) -> None:
        self._path = path
        self._key = Secret(key, f"root key of {path}")

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The secret under this file's key; 72 bytes longer than it."""
        return CBL256.seal(self._key.expose(), record, secret)

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap.

        Raises:
            WrongRootKey: the wrap was made with another key or record, or was changed.
        """
        try:
            return bytearray(CBL256.open(self._key.expose(), record, wrapped))
        except DoesNotOpen:
            raise WrongRootKey(f"The key file {self._path} does not open this data.", hint=_HINT) from None


def create(options: Mapping[str, str], randomness: bytes) -> FileSlot:
    """Write the first 32 bytes of `randomness` as a new key file, durably.

    Raises:
        AlreadyExists: something stands at the path.
        RootKeyMissing: the directory is open to others, or the file cannot be written.
    """
    path = Path(given(options, "path", "the path of a key file"))
    check_randomness(randomness, KEY_BYTES)
    key = randomness[:KEY_BYTES]
    try:
        _write(path, key.hex().encode("ascii") + b"\n")
    except FileExistsError:
        raise AlreadyExists(
            f"The key file {path} exists and is not replaced.", hint="Use it, or move it away and keep it."
        ) from None
    except OSError as error:
        raise RootKeyMissing(f"The key file {path} cannot be written: {error.strerror}.") from None
    return FileSlot(path, key)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.parent.stat().st_mode)
    if mode & 0o077:
        raise RootKeyMissing(
            f"The directory {path.parent} of the key file is open to others (mode {mode:04o}).",
            hint=f"chmod 700 {path.parent}",
        )
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # what a crash left; it was never a key in use
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename it fails where a file exists, even one that came just now
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def attach(options: Mapping[str, str]) -> FileSlot:
    """Read a key file.

    Raises:
        RootKeyMissing: it is not there, not readable, open to others, empty, or no key file.
    """
    path = Path(given(options, "path", "the path of a key file"))
    content = _read(path)
    if not content:
        raise RootKeyMissing(f"The key file {path} is empty.", hint=_HINT)
    if not _TEXT.fullmatch(content):
        raise RootKeyMissing(
            f"The key file {path} holds {len(content)} bytes; expected 64 hexadecimal digits and a newline.", hint=_HINT
        )
    return FileSlot(path, bytearray.fromhex(content.decode("ascii")))


def _read(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a pipe at the path must not hang the start of the service.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_mode(path, os.fstat(descriptor).st_mode)  # of the opened file, which nobody can exchange now
            return os.read(descriptor, _MAX_FILE_BYTES)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise RootKeyMissing(f"There is no key file at {path}.", hint=_HINT) from None
    except OSError as error:
        raise RootKeyMissing(f"The key file {path} cannot be read: {error.strerror}.") from None


def _check_mode(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise RootKeyMissing(f"The key file {path} is not a regular file.", hint=_HINT)
    if stat.S_IMODE(mode) & 0o077:
        raise RootKeyMissing(
            f"The key file {path} is open to group or others (mode {stat.S_IMODE(mode):04o}).",
            hint=f"chmod 600 {path}, and replace the key if somebody may have read it.",
        )
