"""SQLite engines: one writer that begins IMMEDIATE with `synchronous=FULL`, and readers that cannot write.

Law: one process owns a home directory (an flock on a separate file: locks on the database file itself vanish when any
descriptor of it closes). FULL, because NORMAL loses acknowledged commits when the power goes.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.pool import QueuePool, StaticPool

from guard.errors import StoreDamaged, StoreLocked, StoreUnavailable

Tx = Connection
"""A connection with an open transaction; what every function of a store takes first."""

HEADER_BYTES = 100  # of an SQLite database file (its file format, section 1.3)
RETRY_SECONDS = 0.01
READERS = 8  # read connections at a time; readers are short, so more only wait on two cores
WRITER_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "busy_timeout=5000")
READER_PRAGMAS = ("query_only=ON", "wal_autocheckpoint=0", "busy_timeout=5000")


class ProcessLock:
    """An exclusive lock on `<home>/lock`, held until `release` or the end of the process."""

    def __init__(self, home: Path) -> None:
        self.path = home / "lock"
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(self.path, error) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreLocked(
                f"Expected {home} to be free, but process {owner or 'unknown'} is using it; "
                "stop that process, or give another --home."
            ) from None
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:  # on a full disk not even a number can be written
            os.close(self._descriptor)
            raise unwritable(self.path, error) from None

    def release(self) -> None:
        """Give the home directory free."""
        os.close(self._descriptor)


def unwritable(path: Path, error: OSError) -> StoreUnavailable:
    """What to say of a file that the system refuses while guard starts."""
    return StoreUnavailable(
        f"Expected to write {path}, got: {error.strerror}; "
        "see the free disk space and the permissions, then start again."
    )


StoreFailed = exc.DBAPIError
"""What the driver raises, for those who may not know whose it is."""


def unusable(home: Path, error: exc.DBAPIError) -> StoreUnavailable:
    """What to say where a database below *home* fails while guard starts."""
    return StoreUnavailable(
        f"Expected to use the databases in {home}, but SQLite says: {' '.join(str(error.orig).split())}; "
        "see the free disk space and the permissions, then start again."
    )


class Store:
    """The two engines over one SQLite file. `writer` belongs to the commit pipeline; everybody may `read`.

    *driver* is a module of PEP 249 in place of Python's own sqlite3: the fault suite cuts the power under one.
    """

    def __init__(self, path: Path, *, driver: Any = None) -> None:
        self.path = path
        self.writer_engine = _engine(path, WRITER_PRAGMAS, "BEGIN IMMEDIATE", poolclass=StaticPool, module=driver)
        self.reader_engine = _engine(
            path, READER_PRAGMAS, "BEGIN", poolclass=QueuePool, pool_size=READERS, module=driver
        )

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A read transaction: one consistent snapshot; keep it under a second, or the WAL cannot shrink."""
        with self.reader_engine.connect() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A write transaction outside the pipeline: only before the pipeline starts (migrations, first keys)."""
        with self.writer_engine.begin() as tx:
            yield tx

    def close(self) -> None:
        """Close every connection."""
        self.reader_engine.dispose()
        self.writer_engine.dispose()


def open_store(path: Path) -> Store:
    """Open or create the database at *path* (mode 0600) and bring its schema up to date.

    Raises:
        StoreDamaged: not an SQLite file, fails its integrity check, or written by a newer guard.
    """
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    elif path.stat().st_size < HEADER_BYTES:
        # SQLite takes an empty file for a new database, and a log that was cut to nothing would start again from zero.
        raise _damaged(path, "the file is too short for a database (delete it if guard never ran here)")
    store = Store(path)
    try:
        with store.writer_engine.connect() as tx:
            verdict = tx.execute(text("PRAGMA quick_check(1)")).scalar_one()
        if verdict != "ok":
            raise _damaged(path, str(verdict))
        _migrate(store)
    except exc.DatabaseError as error:
        store.close()
        raise _damaged(path, str(error.orig)) from None
    except StoreDamaged:
        store.close()
        raise
    return store


def _damaged(path: Path, reason: str) -> StoreDamaged:
    return StoreDamaged(
        f"Expected a sound guard database at {path}, but SQLite says: {' '.join(reason.split())}; nothing was changed. "
        "Copy the directory aside, then restore the last backup."
    )


def _engine(path: Path, pragmas: tuple[str, ...], begin: str, **options: Any) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False}, **options)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own transaction control would begin DEFERRED and late; guard begins by itself.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _migrate(store: Store) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with store.writer_engine.begin() as tx:
        current = MigrationContext.configure(tx).get_current_revision()
        if current == script.get_current_head():
            # Deletes nothing: a file that can only be read says so here, and not at the first write.
            tx.exec_driver_sql("DELETE FROM alembic_version WHERE FALSE")
            return
        if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
            raise StoreDamaged(
                f"Expected a database of this release or older at {store.path}, got schema {current} of a newer one; "
                "start the guard release that wrote it."
            )
        config.attributes["connection"] = tx
        command.upgrade(config, "head")


@contextmanager
def savepoint(tx: Tx) -> Iterator[None]:
    """A SAVEPOINT round the block: an exception undoes the block's changes and passes on."""
    nested, done = tx.begin_nested(), False
    try:
        yield
        done = True
    finally:
        # On a full disk SQLite has ended the whole transaction, and asking for the savepoint would hide that error.
        if not done and in_transaction(tx):
            nested.rollback()
    nested.commit()


def in_transaction(tx: Tx) -> bool:
    """Whether the database still has a transaction open; SQLite ends it by itself on some errors."""
    driver: Any = tx.connection.driver_connection
    return bool(driver.in_transaction)


def abandon(tx: Tx) -> None:
    """Roll back whatever is open; a failed COMMIT can leave the database in a transaction that `tx` counts as ended."""
    tx.rollback()
    driver: Any = tx.connection.driver_connection
    driver.rollback()


def begin(tx: Tx, patience_seconds: float) -> bool:
    """Begin a write transaction, waiting for another writer at most so long; False where it may not wait and must.

    Raises:
        OperationalError: another writer held the database for longer.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            tx.begin()
        except exc.OperationalError as error:
            abandon(tx)
            if "locked" not in str(error.orig) or (patience_seconds and time.monotonic() >= deadline):
                raise
            if not patience_seconds:
                return False
            time.sleep(RETRY_SECONDS)
        else:
            return True


def dont_wait(tx: Tx) -> None:
    """SQLite itself is not to wait for other writers on this connection; `begin` does."""
    driver: Any = tx.connection.driver_connection
    driver.execute("PRAGMA busy_timeout=0")
