"""Files that were taken away from under a process: each way is noticed and named, and nothing else is."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from guard.db.presence import Presence


@pytest.fixture
def home(tmp_path):
    """A home with a database in WAL mode that is in use."""
    (tmp_path / "lock").write_text("1")
    with closing(sqlite3.connect(tmp_path / "guard.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("CREATE TABLE t (a)")
        db.execute("INSERT INTO t VALUES (zeroblob(20000))")
        yield tmp_path, db


def watching(path):
    return Presence(path / "guard.db", path / "lock")


def test_work_is_no_loss(home):
    path, db = home
    presence = watching(path)
    for number in range(50):
        db.execute("INSERT INTO t VALUES (?)", (number,))
        assert presence.lost() == ""
        if number % 10 == 0:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            assert presence.lost() == ""
        if number % 25 == 0:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert presence.lost() == ""


def test_looking_lets_go_of_no_lock_of_the_database(home):
    """POSIX drops a process's locks on a file when it closes any descriptor of it: another process would write too."""
    path, db = home
    presence = watching(path)
    db.execute("BEGIN IMMEDIATE")
    assert presence.lost() == ""
    other = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute('BEGIN IMMEDIATE')"
    )
    done = subprocess.run(
        [sys.executable, "-c", other, path / "guard.db"], capture_output=True, check=False, timeout=30
    )
    assert b"database is locked" in done.stderr
    db.execute("ROLLBACK")
    presence.close()


@pytest.mark.parametrize("name", ["guard.db", "guard.db-wal", "lock"])
def test_a_file_that_was_removed(home, name):
    path, _ = home
    presence = watching(path)
    (path / name).unlink()
    assert presence.lost() == f"{path / name} was removed while it was in use."


@pytest.mark.parametrize("name", ["guard.db", "guard.db-wal", "lock"])
def test_a_file_that_was_replaced_by_its_copy(home, name):
    path, _ = home
    presence = watching(path)
    shutil.copy2(path / name, path / "copy")
    (path / "copy").rename(path / name)
    assert "was replaced" in presence.lost()


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_a_database_that_was_cut(home, size):
    path, db = home
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    presence = watching(path)
    with (path / "guard.db").open("r+b") as file:
        file.truncate(size)
    assert "was cut" in presence.lost()


@pytest.mark.parametrize("size", [0, 32, 4000])
def test_a_wal_that_was_cut(home, size):
    path, _ = home
    presence = watching(path)
    with (path / "guard.db-wal").open("r+b") as file:
        file.truncate(size)
    assert "guard.db-wal was cut" in presence.lost()


def test_a_wal_that_was_not_there_yet(tmp_path):
    (tmp_path / "lock").write_text("1")
    (tmp_path / "guard.db").write_bytes(b"x" * 4096)
    presence = watching(tmp_path)
    assert presence.lost() == ""
    (tmp_path / "guard.db-wal").write_bytes(b"")
    assert presence.lost() == ""
    (tmp_path / "guard.db-wal").unlink()
    assert "removed" in presence.lost()
