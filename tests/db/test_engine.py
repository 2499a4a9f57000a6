"""Opening a store: what is in force on its connections, who may open it, and what a damaged one says."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from sqlalchemy import exc, text

from guard.db.engine import READERS, ProcessLock, Store, in_transaction, open_store, savepoint
from guard.errors import StoreDamaged, StoreLocked, StoreUnavailable
from tests.conftest import ROOT
from tests.db.building import PATIENCE_SECONDS
from tests.world import world

HOLDER = """
import sys, time
from pathlib import Path
from guard.db.engine import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "guard.db"


@pytest.fixture
def store(path):
    store = open_store(path)
    yield store
    store.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of a database in which a guard has worked."""
    home = tmp_path_factory.mktemp("sound") / "home"
    with world(home) as made:
        made.hire("acme", "user:local|ana", "role:tenant-admin")
    return (home / "guard.db").read_bytes()


def pragma(tx, name):
    return tx.exec_driver_sql(f"PRAGMA {name}").scalar_one()


# what is in force


def test_the_writer_loses_nothing_that_it_acknowledged(store):
    with store.write() as tx:
        assert pragma(tx, "journal_mode") == "wal"
        assert pragma(tx, "synchronous") == 2  # FULL
        assert pragma(tx, "foreign_keys") == 1
        assert pragma(tx, "secure_delete") == 1
        assert pragma(tx, "busy_timeout") == 5000


def test_the_settings_hold_for_the_connection_of_a_running_guard(tmp_path):
    with world(tmp_path / "home") as made, made.guard.store.writer_engine.connect() as tx:
        assert (pragma(tx, "journal_mode"), pragma(tx, "synchronous")) == ("wal", 2)


def test_every_reader_is_query_only(store):
    connections = [store.reader_engine.connect() for _ in range(READERS)]
    try:
        for tx in connections:
            assert pragma(tx, "query_only") == 1
            assert pragma(tx, "wal_autocheckpoint") == 0
    finally:
        for tx in connections:
            tx.close()


@pytest.mark.parametrize(
    "statement", ["INSERT INTO meta VALUES ('a', 'b')", "DELETE FROM meta", "DROP TABLE meta", "CREATE TABLE x (y)"]
)
def test_a_reader_cannot_write(store, statement):
    with store.read() as tx, pytest.raises(exc.OperationalError, match="readonly"):
        tx.exec_driver_sql(statement)


def test_a_reader_sees_one_snapshot_until_it_ends(store):
    with store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM meta")).scalar_one() == 0
        with store.write() as other:
            other.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b')")
        assert tx.execute(text("SELECT count(*) FROM meta")).scalar_one() == 0
    with store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM meta")).scalar_one() == 1


def test_a_write_begins_immediate_so_that_no_other_writer_gets_in(store, path):
    with store.write():
        stranger = sqlite3.connect(path, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            stranger.execute("INSERT INTO meta VALUES ('a', 'b')")
        stranger.close()


def test_a_write_that_raises_is_undone(store):
    with pytest.raises(ZeroDivisionError), store.write() as tx:
        tx.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b')")
        tx.exec_driver_sql(f"INSERT INTO meta VALUES ('c', '{1 // 0}')")
    with store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM meta")).scalar_one() == 0


def test_a_savepoint_undoes_only_itself(store):
    with store.write() as tx:
        tx.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b')")
        with pytest.raises(ZeroDivisionError), savepoint(tx):
            tx.exec_driver_sql("INSERT INTO meta VALUES ('c', 'd')")
            1 // 0  # noqa: B018  raises
        assert in_transaction(tx)
    with store.read() as tx:
        assert list(tx.execute(text("SELECT name FROM meta")).scalars()) == ["a"]


def test_readers_do_not_wait_for_the_writer(store):
    done = threading.Event()

    def read():
        with store.read() as tx:
            tx.execute(text("SELECT 1 FROM meta")).all()
        done.set()

    with store.write() as tx:
        tx.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b')")
        threading.Thread(target=read).start()
        assert done.wait(PATIENCE_SECONDS)


def test_the_database_is_readable_by_its_owner_alone(store, path):
    with store.write() as tx:
        tx.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b')")
    for file in path.parent.glob("guard.db*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


# one process


def test_a_second_process_is_refused_with_the_pid_in_one_sentence(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked) as refusal:
            ProcessLock(tmp_path)
        assert f"process {holder.pid} is using it" in refusal.value.detail
        assert refusal.value.detail.count(". ") == 0
        assert "\n" not in refusal.value.detail
    finally:
        holder.kill()
        holder.communicate(timeout=PATIENCE_SECONDS)
    ProcessLock(tmp_path).release()  # the kernel gave it free when the process died


def test_a_second_guard_in_the_same_home_is_refused_and_the_first_lives_on(tmp_path):
    with world(tmp_path / "home") as made:
        with pytest.raises(StoreLocked, match=f"process {os.getpid()}"), world(tmp_path / "home"):
            pass
        assert made.hire("acme", "user:local|ana", "role:support").tenant == "acme"


def test_the_lock_is_free_again_after_close(tmp_path):
    for _ in range(2):
        with world(tmp_path / "home"):
            pass


def test_the_lock_file_holds_no_pid_of_an_earlier_longer_one(tmp_path):
    (tmp_path / "lock").write_text("999999999999")
    lock = ProcessLock(tmp_path)
    assert (tmp_path / "lock").read_text() == str(os.getpid())
    lock.release()


def test_a_child_does_not_inherit_the_lock(tmp_path):
    lock = ProcessLock(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    lock.release()
    ProcessLock(tmp_path).release()
    child.communicate(timeout=PATIENCE_SECONDS)


# damage


def refused(path):
    """Open what must not open; the sentence that came."""
    before = path.read_bytes()
    with pytest.raises(StoreDamaged) as refusal:
        open_store(path)
    assert path.read_bytes() == before
    assert list(path.parent.glob("guard.db-*")) == []
    detail = refusal.value.detail
    assert str(path) in detail
    assert detail.startswith("Expected ")
    assert "\n" not in detail
    assert "Error" not in detail
    return detail


@pytest.mark.parametrize(
    "content", [b"These are a few of my favourite things.\n" * 200, bytes(8192), b"PK\x03\x04" * 999]
)
def test_a_file_of_another_kind_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    assert "nothing was changed" in refused(path)


@pytest.mark.parametrize("length", [0, 1, 15, 50, 99])
def test_a_file_that_was_cut_to_almost_nothing_is_not_taken_for_a_new_store(path, sound, length):
    path.write_bytes(sound[:length])
    assert "too short for a database (delete it if guard never ran here)" in refused(path)


@pytest.mark.parametrize("share", [100, 512, 4096, 0.25, 0.5, 0.9])
def test_a_truncated_file_is_refused_and_left_alone(path, sound, share):
    path.write_bytes(sound[: share if isinstance(share, int) else int(len(sound) * share)])
    assert "restore the last backup" in refused(path)


HARMLESS = {*range(24, 28), *range(40, 47), *range(48, 52), *range(56, 59), *range(60, 64), *range(68, 100)}
"""Header bytes whose change leaves SQLite's reading as it is: counters, cache size, reserved (file format, section 1.3)."""


@pytest.mark.parametrize("at", [at for at in range(100) if at not in HARMLESS])
def test_flipped_bytes_in_the_header_are_refused_and_left_alone(path, sound, at):
    path.write_bytes(sound[:at] + bytes([sound[at] ^ 0xFF]) + sound[at + 1 :])
    assert "nothing was changed" in refused(path)


def test_a_page_full_of_noise_is_found_before_anything_is_served(path, sound):
    path.write_bytes(sound[:8192] + bytes(range(256)) * 16 + sound[12288:])
    assert "restore the last backup" in refused(path)


def test_a_schema_of_a_newer_release_is_refused_and_left_alone(path, sound):
    path.write_bytes(sound)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
    connection.commit()
    connection.close()
    detail = refused(path)
    assert "got schema 9999_from_the_future of a newer one" in detail
    assert "start the guard release that wrote it" in detail


def test_a_guard_refuses_a_damaged_store_and_gives_the_lock_free(tmp_path, sound):
    with world(tmp_path / "home"):
        pass
    database = tmp_path / "home" / "guard.db"
    good = database.read_bytes()
    database.write_bytes(good[:5000])
    with pytest.raises(StoreDamaged), world(tmp_path / "home"):
        pass
    assert database.read_bytes() == good[:5000]
    database.write_bytes(good)
    with world(tmp_path / "home") as made:
        assert made.guard.log.size > 0


def test_a_store_opens_again_from_a_copy_of_its_files_with_the_journal_still_there(store, path, tmp_path):
    with store.write() as tx:
        tx.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b')")
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in path.parent.glob("guard.db*"):
        shutil.copy(file, copy)
    assert (copy / "guard.db-wal").stat().st_size > 0
    opened = open_store(copy / "guard.db")
    with opened.read() as tx:
        assert tx.execute(text("SELECT value FROM meta")).scalar_one() == "b"
    opened.close()


def test_a_path_with_a_percent_sign_is_no_interpolation(tmp_path):
    home = tmp_path / "100% home"
    home.mkdir()
    store = open_store(home / "guard.db")
    assert isinstance(store, Store)
    store.close()


@pytest.mark.parametrize("place", ["a directory", "a full device"])
def test_a_lock_that_cannot_be_written_is_a_named_error(tmp_path, place):
    lock = tmp_path / "lock"
    lock.mkdir() if place == "a directory" else lock.symlink_to("/dev/full")
    for _ in range(2):  # the first attempt holds nothing afterwards
        with pytest.raises(StoreUnavailable, match=r"lock, got: .*; see the free disk space"):
            ProcessLock(tmp_path)


def test_a_database_that_fails_while_guard_starts_is_named_in_one_sentence(tmp_path, monkeypatch):
    """Only opening it was named before; a disk that fails a moment later ended the process with a bare error."""
    with world(tmp_path / "home"):
        pass
    honest = Store.write

    def failing(store):
        taken = honest(store)

        class Failing:
            def __enter__(self):
                self.tx = taken.__enter__()
                raise exc.OperationalError("SELECT", None, sqlite3.OperationalError("disk I/O error"))

            def __exit__(self, *given):
                return taken.__exit__(*given)

        return Failing()

    monkeypatch.setattr(Store, "write", failing)
    with pytest.raises(StoreUnavailable) as raised, world(tmp_path / "home"):
        pass
    assert "disk I/O error" in raised.value.detail
    assert str(tmp_path / "home") in raised.value.detail
