"""apsw in the shape of a database driver (PEP 249), as far as SQLAlchemy's sqlite dialect and guard's engine use one.

It is what `guard.db.engine.Store(path, driver=...)` runs on when the files are to be those of a VFS of ours. Transaction
control is the caller's: guard sets `isolation_level = None` and begins by itself.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import apsw

apilevel, threadsafety, paramstyle = "2.0", 1, "qmark"
sqlite_version = apsw.sqlitelibversion()
sqlite_version_info = tuple(int(part) for part in sqlite_version.split("."))
Binary = memoryview
PARSE_DECLTYPES, PARSE_COLNAMES = 1, 2  # read by the dialect; nothing is parsed here


class Error(Exception):
    """What every error of the driver is."""


class DatabaseError(Error):
    """The database refused."""


class OperationalError(DatabaseError):
    """Disk, lock or memory."""


class IntegrityError(DatabaseError):
    """A constraint."""


class ProgrammingError(DatabaseError):
    """A wrong statement."""


class InterfaceError(Error):
    """Never raised; the dialect names it."""


class InternalError(DatabaseError):
    """Never raised; the dialect names it."""


class NotSupportedError(DatabaseError):
    """Never raised; the dialect names it."""


class DataError(DatabaseError):
    """Never raised; the dialect names it."""


TEXT = {
    apsw.FullError: "database or disk is full",
    apsw.IOError: "disk I/O error",
    apsw.BusyError: "database is locked",
}
KINDS = {
    apsw.ConstraintError: IntegrityError,
    apsw.SQLError: OperationalError,
    apsw.CorruptError: DatabaseError,
    apsw.NotADBError: DatabaseError,
}


def translated(error: apsw.Error) -> DatabaseError:
    """The error of the standard driver in place of one of apsw's."""
    return KINDS.get(type(error), OperationalError)(TEXT.get(type(error), str(error)))


class Cursor:
    """A statement and its rows, which are read at once."""

    arraysize = 1

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid = 0
        self._rows: list[tuple[Any, ...]] = []

    def execute(self, statement: str, parameters: Any = ()) -> "Cursor":
        """Run one statement."""
        handle = self.connection.handle
        before = handle.total_changes()
        inner = handle.cursor()
        described: list[Any] = []
        inner.exec_trace = lambda cursor, _sql, _values: described.extend(cursor.get_description()) or True
        try:
            self._rows = list(inner.execute(statement, tuple(parameters)))
        except apsw.Error as error:
            if statement != "COMMIT" or not _forgiven[0]():
                raise translated(error) from None
        self.description = tuple((name, *(None,) * 6) for name, *_ in described) or None
        changing = statement.lstrip()[:6].upper() in {"INSERT", "UPDATE", "DELETE"}
        self.rowcount = handle.total_changes() - before if changing else -1
        self.lastrowid = handle.last_insert_rowid()
        return self

    def executemany(self, statement: str, many: Any) -> "Cursor":
        """Run one statement for each of *many*."""
        changed = 0
        for parameters in many:
            changed += self.execute(statement, parameters).rowcount
        self.rowcount = changed
        return self

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        count = size or self.arraysize
        found, self._rows = self._rows[:count], self._rows[count:]
        return found

    def fetchall(self) -> list[Any]:
        found, self._rows = self._rows, []
        return found

    def __iter__(self) -> Any:
        return iter(self.fetchall())

    def close(self) -> None:
        self._rows = []


class Connection:
    """One connection through the VFS that the module-level `use` names."""

    isolation_level: str | None = None

    def __init__(self, path: str) -> None:
        try:
            self.handle = apsw.Connection(str(path), vfs=_vfs[0])
        except apsw.Error as error:
            raise translated(error) from None

    def cursor(self, *_: Any) -> Cursor:
        return Cursor(self)

    def execute(self, statement: str, parameters: Any = ()) -> Cursor:
        return Cursor(self).execute(statement, parameters)

    @property
    def in_transaction(self) -> bool:
        return bool(self.handle.in_transaction)

    def commit(self) -> None:
        if self.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")

    def create_function(self, name: str, count: int, function: Any, *, deterministic: bool = False) -> None:
        self.handle.create_scalar_function(name, function, count, deterministic=deterministic)

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):  # SQLite closes it all the same
            self.handle.close()


_vfs = [""]
_forgiven: list[Callable[[], bool]] = [lambda: False]


def use(vfs: str, forgiven: Callable[[], bool] = lambda: False) -> None:
    """Connections made from now on go through the VFS of this name.

    `forgiven()` says of an error inside COMMIT that it came from the checkpoint after it. SQLite itself ignores those;
    apsw raises whatever a VFS of Python raised.
    """
    _vfs[0], _forgiven[0] = vfs, forgiven


def connect(path: str, **_: Any) -> Connection:
    """Open *path*; the standard driver's options have no meaning here."""
    return Connection(path)
