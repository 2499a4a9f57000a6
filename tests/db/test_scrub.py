"""What was deleted, looked for in the bytes of the files: the write-ahead log, and the gaps inside of pages."""

import os
import random
import sqlite3
from contextlib import closing

import pytest

from guard.db import scrub
from guard.db.engine import Store

MARKS = 40
ROWS = 12_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "guard.db"


@pytest.fixture
def store(path):
    made = Store(path)
    with made.write() as tx:
        tx.exec_driver_sql("CREATE TABLE notes (id TEXT PRIMARY KEY, mark TEXT, body BLOB) STRICT")
        tx.exec_driver_sql("CREATE INDEX by_mark ON notes (mark)")
    yield made
    made.close()


def filled(store, seed=7):
    """Many rows under few marks, each body beginning with its mark; the marks."""
    chance = random.Random(seed)
    marks = [chance.randbytes(8) for _ in range(MARKS)]
    with store.write() as tx:
        for number in range(ROWS):
            mark = chance.choice(marks)
            body = mark + chance.randbytes(chance.randint(60, 400))
            tx.exec_driver_sql("INSERT INTO notes VALUES (?, ?, ?)", (f"{number:06}", mark.hex(), body))
    return marks


def erase(store, mark):
    with store.write() as tx:
        tx.exec_driver_sql("DELETE FROM notes WHERE mark = ?", (mark.hex(),))


def test_what_is_written_is_found_in_the_write_ahead_log_and_then_in_the_database(store, path):
    mark = os.urandom(8)
    with store.write() as tx:
        tx.exec_driver_sql("INSERT INTO notes VALUES ('1', 'm', ?)", (mark + b"x" * 100,))
    wal = path.with_name("guard.db-wal")
    assert wal.read_bytes().count(mark) == 1
    assert scrub.count(path, (mark, os.urandom(8))) == [1, 0]
    assert scrub.empty_wal(path)
    assert wal.stat().st_size == 0
    assert scrub.count(path, (mark,)) == [1]


def test_a_mark_across_two_blocks_is_found_once(path):
    mark = b"\x01\x02\x03\x04\x05\x06\x07\x08"
    for at in range(scrub.BLOCK_BYTES - 9, scrub.BLOCK_BYTES + 2):
        path.write_bytes(b"\0" * at + mark + b"\0" * 50)
        assert scrub.count(path, (mark,)) == [1], at


def test_a_deleted_row_is_gone_from_every_file_once_the_log_is_emptied(store, path):
    mark = os.urandom(8)
    with store.write() as tx:
        tx.exec_driver_sql("INSERT INTO notes VALUES ('1', ?, ?)", (mark.hex(), mark + b"x" * 100))
    scrub.empty_wal(path)
    erase(store, mark)
    assert scrub.count(path, (mark,))[0] > 0, "before its pages are moved, the database has the old page"
    assert scrub.empty_wal(path)
    assert scrub.count(path, (mark,)) == [0]


def test_a_reader_keeps_the_log_from_being_emptied_and_that_is_said(store, path, monkeypatch):
    monkeypatch.setattr(scrub, "PATIENCE_SECONDS", 0)
    with store.read() as tx:
        tx.exec_driver_sql("SELECT count(*) FROM notes").scalar()
        erase(store, b"\0" * 8)
        with store.write() as other:
            other.exec_driver_sql("INSERT INTO notes VALUES ('2', 'm', x'00')")
        assert not scrub.empty_wal(path)
    assert scrub.empty_wal(path)


def test_deleting_leaves_copies_between_rows_and_writing_the_store_anew_does_not(store, path):
    """The reason for `compact`: with secure_delete in force, pages keep copies of rows that moved before."""
    marks = filled(store)
    left = 0
    for mark in marks[: MARKS // 2]:
        erase(store, mark)
        assert scrub.empty_wal(path)
        left += scrub.count(path, (mark,))[0] > 0
    assert left > 0, "SQLite leaves none any more: then compact can go"
    assert scrub.compact(path)
    assert scrub.count(path, marks[: MARKS // 2]) == [0] * (MARKS // 2)
    with store.read() as tx:
        kept = tx.exec_driver_sql("SELECT count(*) FROM notes").scalar()
    assert sum(scrub.count(path, marks[MARKS // 2 :])) == kept > 0


def test_a_writer_goes_on_after_the_store_was_written_anew(store, path):
    filled(store)
    assert scrub.compact(path)
    with store.write() as tx:
        tx.exec_driver_sql("INSERT INTO notes VALUES ('new', 'm', x'00')")
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_store_in_use_is_not_written_anew_and_that_is_said(store, path, monkeypatch):
    monkeypatch.setattr(scrub, "PATIENCE_SECONDS", 0)
    with store.write():
        assert not scrub.compact(path)


def test_only_a_small_store_is_written_anew_while_others_wait(store, path):
    assert scrub.compactable(path)
    os.truncate(path, scrub.COMPACT_BYTES + 1)
    assert not scrub.compactable(path)
