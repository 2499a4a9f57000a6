"""A VFS of SQLite whose power can be cut: what was not synced is lost, torn or kept, as a seed decides.

Law: writes go to the real file, so that SQLite reads them back, and to a list of what is not yet durable; xSync makes
the list durable. A tick counts at every write, truncation, sync and deletion; at the chosen one the power goes and
every later call fails for ever. A creation is durable with the first sync of the file (SQLite syncs the directory
then), a deletion when it was asked to sync the directory. Shared memory (`-shm`) is never durable.
"""

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

UNITS = (512, 4096)  # bytes that a disk writes whole


@dataclass
class Image:
    """One file: what is durable (None: no such file), and what was done to it since."""

    durable: bytearray | None
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)

    def settle(self) -> None:
        """What is pending becomes durable."""
        for operation in self.pending:
            self.durable = applied(self.durable, operation)
        self.pending = []

    def after(self, chance: random.Random, share: float) -> bytearray | None:
        """The file as it is when the power returns: of each operation all, a torn prefix, or nothing."""
        found = None if self.durable is None else bytearray(self.durable)
        unit = chance.choice(UNITS)
        for kind, at, data in self.pending:
            if chance.random() >= share:
                continue
            whole = kind != "write" or share == 1 or chance.random() < 0.5
            length = len(data) if whole else min(len(data), unit * chance.randrange(len(data) // unit + 1))
            found = applied(found, (kind, at, data[:length]))
        return found


def applied(data: bytearray | None, operation: tuple[str, int, bytes]) -> bytearray | None:
    """*data* after one operation."""
    kind, at, written = operation
    if kind == "delete":
        return None
    data = bytearray() if data is None else data
    if kind == "truncate":
        del data[at:]
        return data
    if written and len(data) < at:
        data.extend(bytes(at - len(data)))
    data[at : at + len(written)] = written
    return data


class Power(apsw.VFS):
    """The VFS. *cut_at* is the tick at which the power goes; *sick_sync* the sync that fails once and drops its data."""

    def __init__(self, name: str, cut_at: int = 0, sick_sync: int = 0) -> None:
        self.name = name
        self.cut_at, self.sick_sync = cut_at, sick_sync
        self.ticks = self.syncs = 0
        self.off = False
        self.benign = False  # the first failure was inside a checkpoint of the WAL
        self.images: dict[str, Image] = {}
        self.kinds: list[str] = []
        self._lock = threading.RLock()
        super().__init__(name, "")

    def excepthook(self, *_: Any) -> None:
        """Where SQLite cannot report an error, it has none; a cut power is no news."""

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = None if name is None else name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        with self._lock:
            self.alive()
            if path is not None and path not in self.images:
                there = Path(path).exists()
                self.images[path] = Image(bytearray(Path(path).read_bytes()) if there else None)
        return File(self, path, name, flags)

    def xDelete(self, path: str, sync_directory: bool) -> None:
        with self._lock:
            image = self.images.setdefault(path, Image(bytearray(Path(path).read_bytes())))
            image.pending.append(("delete", 0, b""))
            self.tick("delete", path)
            super().xDelete(path, sync_directory)
            if sync_directory:
                image.settle()

    def alive(self) -> None:
        """Raises: apsw.IOError: there is no power."""
        if self.off:
            raise apsw.IOError("the power is off")

    def tick(self, kind: str, path: str) -> None:
        """Count a tick; the power goes at the chosen one."""
        self.alive()
        self.ticks += 1
        self.kinds.append(kind)
        if self.ticks == self.cut_at:
            self.off = True
            self.fail(path)

    def fail(self, path: str) -> None:
        """Raises: apsw.IOError: always.

        The database file itself is written by checkpoints only, which run after a COMMIT is durable and whose errors
        SQLite keeps to itself; apsw would pass on the exception that a VFS raised, so `driver` asks here.
        """
        self.benign = path.endswith(".db")
        raise apsw.IOError("the disk failed")

    def write(self, path: str, operation: tuple[str, int, bytes]) -> None:
        """Note an operation, which from now on may or may not be on disk."""
        self.alive()
        self.images[path].pending.append(operation)
        self.tick(operation[0], path)

    def sync(self, path: str) -> None:
        """Make a file durable, or fail once and forget what it was to make durable, as a kernel does."""
        self.tick("sync", path)
        self.syncs += 1
        if self.syncs == self.sick_sync:
            self.images[path].pending = []
            self.fail(path)
        self.images[path].settle()

    def forgiven(self) -> bool:
        """Whether the error at hand is one that SQLite keeps to itself; once."""
        benign, self.benign = self.benign, False
        return benign

    def cut(self) -> None:
        """The power goes now."""
        self.off = True

    def restore(self, folder: Path, seed: int) -> None:
        """Power returns: write the files below *folder* (by their names) as they survived.

        Seed 0 keeps nothing that was not synced, seed 1 everything; others choose by operation.
        """
        chance = random.Random(seed)
        share = {0: 0.0, 1: 1.0}.get(seed, chance.choice((0.2, 0.5, 0.9)))
        for path, image in sorted(self.images.items()):
            data = image.after(chance, share)
            if data is not None:
                (folder / Path(path).name).write_bytes(data)


class File(apsw.VFSFile):
    """A file of it."""

    def __init__(self, power: Power, path: str | None, name: Any, flags: list[int]) -> None:
        self.power, self.path = power, path
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> Any:
        self.power.alive()
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        with self.power._lock:
            if self.path is not None:
                self.power.write(self.path, ("write", offset, bytes(data)))
            super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        with self.power._lock:
            if self.path is not None:
                self.power.write(self.path, ("truncate", size, b""))
            super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        with self.power._lock:
            if self.path is not None:
                self.power.sync(self.path)
            super().xSync(flags) if self.path is None else None
