"""Files of any size, sealed and opened in this process as a stream: `client.files.encrypt(...)` and `decrypt`.

A sealed file is the envelope of suite 7 in bytes: 16-byte header | lease 16 | wrap 104 | Cobblestone-256 of
c2sp.org/chunked-encryption, in the context of a cell as a field's value is; its bytes are sent nowhere.
Law: the target gets its name only when its end is proved and its bytes are on disk. Cobblestone gives whole chunks out
before the end is proved, so until then they lie in a file without a name, which ends with the process, however that
ends. Whatever does not open has one text. At most 1 TiB, since suite 1 allows 2^25 messages of that size under a key
and a lease has at most 2^20 uses.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from cryptography.exceptions import InvalidTag

from guard.client.lease import DOES_NOT_OPEN, START_BYTES, STORE, Lease, bare, is_leased
from guard.client.local import LocalKeys
from guard.errors import DoesNotOpen, InvalidInput

MAX_FILE_BYTES: Final = 1 << 40
BLOCK_BYTES: Final = 1 << 18
"""Read at once: more is no faster, and this is all that a file of any size needs of memory, twice."""

Progress = Callable[[int, int], None]
"""(bytes read, bytes in all, 0 where that is not known)"""


class Cipher(Protocol):
    """What encrypts or decrypts a stream."""

    def update(self, data: Any, /) -> bytes:
        """The next bytes."""
        ...

    def finalize(self) -> bytes:
        """The last bytes; raises InvalidTag where the end is not the one that was sealed."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """What was read and written, in bytes, and under which lease."""

    lease: str
    read: int
    written: int


class Files:
    """Seals and opens files under leased keys."""

    def __init__(self, local: LocalKeys) -> None:
        """The keys are those of *local*."""
        self._local = local

    def encrypt(
        self,
        source: Path,
        target: Path,
        field: str,
        *,
        purpose: str = STORE,
        progress: Progress | None = None,
        replace: bool = False,
        **cell: str | int,
    ) -> Done:
        """Seal the file *source* into *target* for the cell `row=...` or `subject=...` of *field*.

        Raises:
            InvalidInput: a path cannot be read or written, *target* exists and *replace* is false, or over 1 TiB came.
            LeaseEnded: the lease was revoked meanwhile, or ended while the server could not be reached.
            GuardError: as `leases.create` refuses.
        """
        with _reading(source) as (reader, size), _unpublished(target, replace) as (writer, publish):
            if size > MAX_FILE_BYTES:
                raise _too_large()
            lease, (start, cipher) = self._local.lasting(
                lambda: self._local.sealing(field, purpose, cell),
                lambda one: (one, one.encryptor(field, cell, stream=True)),
            )
            writer.write(start)
            read = self._pump(lease, cipher, reader, writer, (size, MAX_FILE_BYTES, progress))
            return Done(lease.id, read, publish())

    def decrypt(
        self,
        source: Path,
        target: Path,
        field: str,
        purpose: str,
        *,
        progress: Progress | None = None,
        replace: bool = False,
        **cell: str | int,
    ) -> Done:
        """Open the sealed file *source* into *target*, for a purpose that the field's policy allows.

        Raises:
            DoesNotOpen: cut, lengthened or changed, or of another cell; nothing is left of what was opened before.
            InvalidInput, LeaseEnded, GuardError: as `encrypt`.
        """
        with _reading(source) as (reader, size), _unpublished(target, replace) as (writer, publish):
            start = _start(reader)
            if not is_leased(start) or bare(start) != start:  # a padded value is none: its padding would be content
                raise DoesNotOpen(DOES_NOT_OPEN)
            lease, cipher = self._local.lasting(
                lambda: self._local.opening(field, purpose, start, cell),
                lambda one: (one, one.decryptor(field, start, cell, stream=True)),
            )
            try:
                read = self._pump(lease, cipher, reader, writer, (size, 2 * MAX_FILE_BYTES, progress))
            except InvalidTag:
                raise DoesNotOpen(DOES_NOT_OPEN) from None
            return Done(lease.id, read + START_BYTES, publish())

    def _pump(
        self,
        lease: Lease,
        cipher: Cipher,
        reader: BinaryIO,
        writer: BinaryIO,
        bounds: tuple[int, int, Progress | None],
    ) -> int:
        """Everything from *reader* through *cipher*; how many bytes came."""
        try:
            return self._pumped(lease, cipher, reader, writer, bounds)
        finally:
            self._local.finish(lease)

    def _pumped(
        self,
        lease: Lease,
        cipher: Cipher,
        reader: BinaryIO,
        writer: BinaryIO,
        bounds: tuple[int, int, Progress | None],
    ) -> int:
        size, most, progress = bounds
        buffer, read = bytearray(BLOCK_BYTES), 0
        view = memoryview(buffer)
        while count := reader.readinto(buffer):  # type: ignore[attr-defined]
            read += count
            if read > most:
                raise _too_large()
            self._local.keep(lease)
            lease.check()
            writer.write(cipher.update(view[:count]))
            if progress is not None:
                progress(read, size)
        writer.write(cipher.finalize())
        return read


def _start(reader: BinaryIO) -> bytes:
    start = b""
    while more := reader.read(START_BYTES - len(start)):  # a pipe gives what is there
        start += more
    return start


def _too_large() -> InvalidInput:
    return InvalidInput(f"Expected a file of at most {MAX_FILE_BYTES} bytes (1 TiB), got a larger one; split it.")


@contextmanager
def _reading(source: Path) -> Iterator[tuple[BinaryIO, int]]:
    try:
        with source.open("rb", buffering=0) as reader:
            yield reader, os.fstat(reader.fileno()).st_size
    except OSError as error:
        raise InvalidInput(f"Expected to read and write files, got: {_said(error, source)}.") from None


def _said(error: OSError, path: Path) -> str:
    return f"{error.filename or path}: {error.strerror or 'an error'}; check the path and the space"


@contextmanager
def _unpublished(target: Path, replace: bool) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """A file beside *target* that nobody sees until it is published; gives its size then."""
    if target.exists() and not replace:
        raise InvalidInput(f"Expected no file at {target}, but there is one; name another, or say to replace it.")
    folder, named = target.parent, target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
    nameless = True
    try:
        number = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):  # no Linux, or a file system that has no files without a name
        nameless = False
        number = os.open(named, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)

    def publish() -> int:
        writer.flush()
        os.fsync(number)
        size = os.fstat(number).st_size
        if nameless:
            _link(f"/proc/self/fd/{number}", named if replace else target)
        if replace:
            named.replace(target)
        elif not nameless:
            _link(str(named), target)
        _sync(folder)
        return size

    writer = os.fdopen(number, "wb")
    try:
        yield writer, publish
    finally:
        with suppress(OSError):  # of a disk that is full: the first error is the one to tell
            writer.close()
        with suppress(FileNotFoundError):
            named.unlink()


def _link(source: str, target: Path) -> None:
    """Give a file a name; unlike a rename it takes nothing away that somebody put there meanwhile."""
    try:
        # With a directory given Python calls linkat(2), which alone follows the link that /proc shows; an absolute path
        # has no need of the directory.
        os.link(Path(source).absolute(), target, src_dir_fd=0, follow_symlinks=True)
    except FileExistsError:
        raise InvalidInput(f"Expected no file at {target}, but one came meanwhile; name another.") from None


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
