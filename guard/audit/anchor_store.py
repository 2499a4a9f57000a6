"""The anchor file: the latest signed note on another volume, replaced by compare-and-swap; and findings in the home.

Law: the file is made by hand and never by the service, so that its absence is found and not mended. A swap changes
nothing unless the file still holds the old note, writes the slot that is not current, and returns after fsync: a torn
write leaves the other slot, so the file always holds the old note or the new one.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath

import structlog

from guard.errors import AlreadyExists, AnchorMissing, ForkDetected, InvalidInput

SLOT_BYTES = 16_384  # a note with Ed25519, ML-DSA-44 and a few cosignatures has about 5 kB
SLOTS = 2
_HEADER = re.compile(rb"guard/anchor/v1 ([0-9]{20}) ([0-9]{5}) ([0-9a-f]{64})\n")
HEADER_BYTES = 108  # the line that `_HEADER` reads

log = structlog.get_logger(__name__)


def create(path: Path) -> None:
    """Make an anchor file that holds no note yet, mode 0600.

    Raises:
        AlreadyExists: there is a file; what an anchor holds is never thrown away.
        InvalidInput: it cannot be made there.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise AlreadyExists(
            f"Expected no file at {path}, but there is one; an anchor replaces none. Move it aside by hand."
        ) from None
    except OSError as error:
        raise InvalidInput(f"Expected to make an anchor at {path}, got: {error.strerror}; choose another.") from None
    try:
        _write(descriptor, _slot(1, b"").ljust(SLOT_BYTES * SLOTS, b"\n"), 0)
    finally:
        os.close(descriptor)
    _sync_directory(path.parent)


class AnchorFile:
    """One anchor file. Each call opens it anew, so a file that was taken away or mounted over is noticed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = f"file {path}"

    def read(self) -> str:
        """The note that it holds, or nothing where it is new.

        Raises:
            AnchorMissing: no such file, not readable, or no slot of it is whole.
        """
        with self._opened(fcntl.LOCK_SH) as descriptor:
            return self._current(descriptor)[1].decode()

    def swap(self, old: str, new: str) -> None:
        """Replace the note *old* by *new*, durably.

        Raises:
            AnchorMissing: see `read`.
            ForkDetected: it holds another note than *old*: somebody else signs this log.
            InvalidInput: the note is too long.
        """
        content = new.encode()
        if len(content) > SLOT_BYTES - HEADER_BYTES:
            raise InvalidInput(f"Expected a note of at most {SLOT_BYTES - HEADER_BYTES} bytes for an anchor.")
        with self._opened(fcntl.LOCK_EX) as descriptor:
            sequence, held = self._current(descriptor)
            if held != old.encode():
                raise ForkDetected(
                    f"The anchor ({self.place}) was changed by somebody else, so another process signs this log; "
                    "nothing was signed."
                )
            _write(descriptor, _slot(sequence + 1, content).ljust(SLOT_BYTES, b"\n"), sequence % SLOTS * SLOT_BYTES)

    @contextmanager
    def _opened(self, lock: int) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise AnchorMissing(f"Expected the anchor at {self.path}, got: {error.strerror}.") from None
        try:
            fcntl.flock(descriptor, lock)
            yield descriptor
        except OSError as error:
            raise AnchorMissing(f"Expected to use the anchor at {self.path}, got: {error.strerror}.") from None
        finally:
            os.close(descriptor)

    def _current(self, descriptor: int) -> tuple[int, bytes]:
        data = os.pread(descriptor, SLOT_BYTES * SLOTS, 0)
        found = [slot for at in range(SLOTS) if (slot := _parse(data[at * SLOT_BYTES : (at + 1) * SLOT_BYTES]))]
        if not found:
            raise AnchorMissing(f"Expected an anchor at {self.path}, but the file holds something else.")
        return max(found)


def _slot(sequence: int, content: bytes) -> bytes:
    return b"guard/anchor/v1 %020d %05d %b\n%b" % (sequence, len(content), _digest(sequence, content), content)


def _digest(sequence: int, content: bytes) -> bytes:
    return hashlib.sha256(b"%d\n%b" % (sequence, content)).hexdigest().encode()


def _parse(slot: bytes) -> tuple[int, bytes] | None:
    found = _HEADER.match(slot)
    if found is None:
        return None
    sequence, content = int(found[1]), slot[found.end() : found.end() + int(found[2])]
    return (sequence, content) if _digest(sequence, content) == found[3] else None


def _write(descriptor: int, content: bytes, at: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, at)
        content, at = content[written:], at + written
    os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_evidence(home: PurePath, name: str, files: Mapping[str, str]) -> Path:
    """Keep *files* in `<home>/findings/<name>`; what is there already stays as it is, so a restart adds nothing."""
    folder = Path(home) / "findings" / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, text in files.items():
            if not (folder / file).exists():
                _keep(folder / file, text.encode())
        _sync_directory(folder)
        _sync_directory(folder.parent)
    except OSError as error:  # the finding stands, whether or not its evidence could be kept
        log.error("evidence_not_kept", folder=str(folder), cause=error.strerror)  # noqa: TRY400 - see the line above
    return folder


def _keep(place: Path, content: bytes) -> None:
    """Write a file whole or not at all, for its owner alone; its name is durable when the folder is synced."""
    temporary = place.with_name(f"{place.name}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, content, 0)
    finally:
        os.close(descriptor)
    temporary.replace(place)


def say(event: str, **facts: str | int) -> None:
    """Tell the operator's log."""
    log.warning(event, **facts)


def say_standing(state: str, detail: str) -> None:
    """Tell the operator's log how the service stands from now on."""
    log.warning("standing", state=state, detail=detail)


def same_volume(one: PurePath, other: PurePath) -> bool:
    """Whether both lie on one file system, where they are restored together."""
    try:
        return os.stat(one).st_dev == os.stat(other).st_dev  # noqa: PTH116 - a pure path has no stat
    except OSError:
        return False
