"""What a forgotten person leaves in the files of a running guard: found right after it, and nowhere after the next beat."""

import sqlite3
from contextlib import closing

import pytest

from guard.db.scrub import clear, found
from guard.vault import remains
from guard.vault.remains import MAX_MARKS, Remains
from tests.vault.clinic import DAY, clinic

NAME = "ana-the-patient"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def holding(home, mark):
    """Names of files of the home that hold these bytes."""
    return sorted(one.name for one in home.rglob("*") if one.is_file() and mark in one.read_bytes())


def wrap_of(one, subject):
    ref = one.forgetting.subjects.ref(one.tenant, subject)
    with closing(sqlite3.connect(one.world.home / "guard.db")) as db:
        [(wrapped,)] = db.execute("SELECT wrapped FROM subject_deks WHERE subject_ref = ?", (ref,))
    return wrapped


class TestForgetting:
    def test_the_log_that_is_written_ahead_holds_the_id_and_the_wrap_until_the_next_beat(self, home):
        with clinic(home) as one:
            one.seal(NAME, "a")
            wrapped = wrap_of(one, NAME)
            one.forget_now(NAME)
            assert holding(home, NAME.encode()) == holding(home, wrapped) == ["guard.db-wal"]
            assert one.scrub() == 1
            assert holding(home, NAME.encode()) == holding(home, wrapped) == []
            assert one.scrub() == 0

    def test_the_record_says_how_much_was_looked_for(self, home):
        with clinic(home) as one:
            one.seal(NAME, "a")
            one.forget_now(NAME)
            one.scrub()
            kept = [record for record in one.world.records() if record.action == "subjects.scrub"]
            assert sorted(record.phase for record in kept) == ["intent", "outcome"]
            with one.world.guard.store.read() as tx:
                entry = one.world.guard.log.reader(tx).entry(max(record.index for record in kept))
            assert b'"marks":2' in entry
            assert b'"remains":0' in entry

    def test_taking_it_back_leaves_no_name_either(self, home):
        with clinic(home) as one:
            one.seal(NAME, "a")
            one.forget(NAME)
            one.world.call("subjects.restore", one.officer, subject=NAME)
            assert holding(home, NAME.encode()) == ["guard.db-wal"]
            assert one.scrub() == 1
            assert holding(home, NAME.encode()) == []

    def test_the_end_of_the_grace_does_the_same(self, home):
        with clinic(home) as one:
            one.seal(NAME, "a")
            one.forget(NAME)
            one.world.clock.advance(8 * DAY)
            one.world.beat("subjects.step", one.forgetting.due)
            assert one.scrub() == 1
            assert holding(home, NAME.encode()) == []

    def test_the_wrap_of_a_bucket_key_goes_from_the_key_store_s_log(self, home):
        with clinic(home) as one:
            one.seal(NAME, "a")
            one.forget_now(NAME)
            bucket = one.receipts()[0].bucket
            old = one.forgetting.subjects.keys.find("acme", bucket).wrapped
            one.after(1.1)
            assert holding(home, old) == ["keys.db"]
            one.world.clock.advance(31 * DAY)
            one.forgetting.look()
            one.world.beat("buckets.rotate", one.forgetting.buckets_due)
            assert "keys.db" in " ".join(holding(home, old))
            assert one.scrub() == 1
            assert holding(home, old) == []

    def test_whoever_stays_keeps_everything(self, home):
        with clinic(home) as one:
            sealed = one.seal("bob", "b")
            one.seal(NAME, "a")
            one.forget_now(NAME)
            one.scrub()
            one.forgetting.subjects.flush()
            assert one.open("bob", sealed) == "b"


class TestTrouble:
    def test_a_reader_in_the_way_makes_it_later_and_not_never(self, home, monkeypatch):
        monkeypatch.setattr("guard.db.scrub.PATIENCE_SECONDS", 0.05)
        with clinic(home) as one:
            one.seal(NAME, "a")
            one.forget(NAME)
            with closing(sqlite3.connect(home / "guard.db", isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM subject_forgets").fetchone()
                one.forget(NAME, one.second, at_once=True)
                assert one.scrub() == 0
                assert "guard.db-wal" in holding(home, NAME.encode())
            assert one.scrub() == 0  # not before its time
            one.world.clock.advance(31)
            assert one.scrub() == 1
            assert holding(home, NAME.encode()) == []

    def test_after_a_restart_the_logs_are_emptied_though_nobody_knows_of_what(self, home):
        with clinic(home) as one:
            one.seal(NAME, "a")
            one.forget_now(NAME)
        with clinic(home) as one:
            assert one.scrub() == 1
            assert one.scrub() == 0

    def test_a_start_where_nobody_was_ever_forgotten_does_nothing(self, home):
        with clinic(home) as one:
            one.seal(NAME, "a")
        with clinic(home) as one:
            assert one.scrub() == 0


class TestClear:
    @pytest.fixture
    def store(self, tmp_path):
        """A store with a copy of a mark where no statement reaches it."""
        path = tmp_path / "store.db"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("PRAGMA secure_delete=OFF")
            db.execute("CREATE TABLE t (v BLOB)")
            db.executemany("INSERT INTO t VALUES (?)", [(f"mark-{number:05d}".encode() * 9,) for number in range(200)])
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("PRAGMA secure_delete=OFF")
            db.execute("DELETE FROM t WHERE v = ?", (b"mark-00007" * 9,))
        return path

    def test_a_small_store_is_written_anew_for_what_a_page_still_holds(self, store):
        mark = b"mark-00007" * 9
        assert found(store, [mark]) > 0
        assert clear([store], [mark, b"another-mark"]) == (True, 0)
        with closing(sqlite3.connect(store)) as db:
            assert db.execute("SELECT count(*) FROM t").fetchone() == (199,)

    def test_a_large_one_is_not_and_says_what_is_left(self, store, monkeypatch):
        monkeypatch.setattr("guard.db.scrub.COMPACT_BYTES", 0)
        mark = b"mark-00007" * 9
        assert clear([store], [mark]) == (True, found(store, [mark]))
        assert found(store, [mark]) > 0

    def test_marks_of_any_lengths_are_counted_together(self, store):
        marks = [b"mark-00001" * 9, b"mark-00002", b"nowhere"]
        assert found(store, marks) == sum(store.read_bytes().count(mark) for mark in marks) > 9
        assert found(store, []) == 0


class TestNotes:
    def test_ids_so_short_that_they_stand_anywhere_are_not_looked_for(self):
        notes = Remains(unsure=False)
        notes.left(b"u-17", b"", b"long-enough")
        assert notes.take() == (b"long-enough",)

    def test_the_oldest_marks_go_first_where_there_are_too_many(self):
        notes = Remains(unsure=False)
        for number in range(MAX_MARKS + 5):
            notes.left(f"mark-{number:05d}".encode())
        marks = notes.take()
        assert (len(marks), marks[0], marks[-1]) == (MAX_MARKS, b"mark-00005", f"mark-{MAX_MARKS + 4:05d}".encode())

    def test_what_is_left_behind_while_files_are_searched_is_due_anew(self):
        notes = Remains(unsure=False)
        assert notes.due(5) == []
        notes.left(b"first-mark")
        marks = notes.take()
        assert notes.due(5) == []
        notes.left(b"second-mark")
        assert len(list(notes.due(5))) == 1
        notes.again(marks, 5)
        assert notes.due(5) == []
        assert len(list(notes.due(5 + remains.RETRY_US))) == 1
        assert notes.take() == (b"first-mark", b"second-mark")
