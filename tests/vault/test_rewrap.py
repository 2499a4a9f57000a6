"""Rewrapping: every key of a tenant under a new KEK, values and tables of data as they were; crashes, backups, ends."""

import sqlite3
from contextlib import closing

import pytest

from guard.errors import NotFound, StoreDamaged, SubjectForgotten
from guard.vault import rewrap_store, rewrapping
from guard.vault.rewraps import RETIRED, free, left
from tests.vault.clinic import DAY, DIARY, backup, clinic, put_back
from tests.vault.people import NUMBER, People
from tests.vault.people import world as people_world
from tests.vault.shop import b64, code_of

OLD, NEW = 1, 2
PEOPLE = [f"p{number}" for number in range(30)]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def keeper(one):
    return one.world.hire("acme", "user:local|kim", "role:key-admin")


def rewrap(one, *, fresh=True, rows=1000, steps=100):
    """Rewrap to the end; the last answer, and how much was moved in all."""
    who, moved = keeper(one), 0
    for number in range(steps):
        view = one.world.call("keys.rewrap", who, fresh=fresh and not number, rows=rows)
        moved += view.moved
        if not view.left:
            return view, moved
    raise AssertionError(f"{view.left} left after {steps} steps")


def sealed_by(one):
    return {name: one.seal(name, f"about {name}") for name in PEOPLE}


def opened_by(one, sealed):
    one.forgetting.subjects.flush()
    return {name: one.open(name, text) for name, text in sealed.items()}


def rows_of(home, statement):
    with closing(sqlite3.connect(home / "guard.db")) as db:
        return db.execute(statement).fetchall()


ABOUT = {name: f"about {name}" for name in PEOPLE}


class TestWhole:
    def test_every_wrap_moves_and_every_value_opens_before_and_after_a_restart(self, home):
        with clinic(home) as one:
            sealed, room = (
                sealed_by(one),
                one.answers(
                    "fields.encrypt",
                    one.storing,
                    [{"field": "patients.room", "context": {"row": "1"}, "plaintext": b64("r")}],
                )[0]["ciphertext"],
            )
            before = {count.what for count in one.world.call("keys.rewrap", keeper(one)).counts}
            view, moved = rewrap(one)
            assert {"keys", "bucket_keys"} <= before
            assert view.kek_version == NEW
            assert {count.kek_version for count in view.counts if count.what != RETIRED} == {NEW}
            assert moved >= 4096 + len(PEOPLE)
            assert opened_by(one, sealed) == ABOUT
        with clinic(home) as one:
            assert opened_by(one, sealed) == ABOUT
            item = {"field": "patients.room", "context": {"row": "1"}, "ciphertext": room}
            assert one.answers("fields.decrypt", one.billing, [item])[0]["plaintext"] == b64("r")
            assert one.open("new", one.seal("new", "n", field=DIARY), field=DIARY) == "n"

    def test_no_value_and_no_key_id_changes(self, home):
        with clinic(home) as one:
            sealed_by(one)
            columns = "SELECT key_id, name, version, state FROM key_versions ORDER BY 1"
            deks = "SELECT dek_id, subject_ref FROM subject_deks ORDER BY 1"
            before = rows_of(home, columns), rows_of(home, deks)
            wraps = set(rows_of(home, "SELECT wrapped FROM key_versions UNION SELECT wrapped FROM subject_deks"))
            rewrap(one)
            assert (rows_of(home, columns), rows_of(home, deks)) == before
            assert not wraps & set(
                rows_of(home, "SELECT wrapped FROM key_versions UNION SELECT wrapped FROM subject_deks")
            )

    def test_what_the_log_keeps_of_persons_still_opens(self, home):
        with clinic(home) as one:
            one.seal("ana")
            one.forget("ana", reason="by letter")
            rewrap(one)
            with one.world.guard.store.read() as tx:
                keys = one.world.guard.gate._doors.parts
                values = next(part for part in keys.values() if type(part).__name__ == "SealedValues")
                found = values.keys.find(tx, "acme", "ana")
                assert len(values.keys.open(tx, "acme", found)) == 32

    def test_another_tenant_is_left_alone(self, home):
        with clinic(home) as one:
            other = type(one)(one.world, "globex")
            text = other.seal("ana", "hers")
            before = rows_of(home, "SELECT wrapped FROM key_versions WHERE tenant = 'globex'")
            rewrap(one)
            assert rows_of(home, "SELECT wrapped FROM key_versions WHERE tenant = 'globex'") == before
            assert other.open("ana", text) == "hers"


class TestSteps:
    def test_small_steps_and_restarts_come_to_the_same_end(self, home):
        sealed, left_over = {}, []
        with clinic(home) as one:
            sealed = sealed_by(one)
            one.world.call("keys.rewrap", keeper(one), fresh=True, rows=2)
        for _ in range(3):
            with clinic(home) as one:
                left_over.append(one.world.call("keys.rewrap", keeper(one), rows=7).left)
                assert opened_by(one, sealed) == ABOUT
        with clinic(home) as one:
            assert rewrap(one, fresh=False, rows=700)[0].left == 0
            assert opened_by(one, sealed) == ABOUT
        assert min(left_over) > 0

    def test_the_worker_goes_on_with_what_somebody_began(self, home):
        with clinic(home) as one:
            sealed = sealed_by(one)
            one.world.call("keys.rewrap", keeper(one), fresh=True, rows=1)
        with clinic(home) as one:
            due, beats = one.forgetting.rewraps.due, 0
            while one.world.beat("keys.rewrap", due):
                beats += 1
            assert 2 <= beats < 30
            assert one.world.call("keys.rewrap", keeper(one)).left == 0
            assert opened_by(one, sealed) == ABOUT

    def test_the_loop_of_buckets_does_not_do_it_a_second_time(self, home):
        with clinic(home) as one:
            sealed_by(one)
            who = keeper(one)
            one.world.call("keys.rewrap", who, fresh=True)
            while not one.forgetting.subjects.keys.of_tenant("acme", "retiring", one.world.clock(), 1):
                one.world.call("keys.rewrap", who)
            assert list(one.forgetting.buckets_due(one.world.clock())) == []
            rewrap(one, fresh=False)
            assert one.forgetting.subjects.keys.of_tenant("acme", "retiring", one.world.clock(), 1) == []

    def test_forgetting_goes_on_in_the_middle_of_it(self, home):
        with clinic(home) as one:
            sealed = sealed_by(one)
            one.world.call("keys.rewrap", keeper(one), fresh=True)
            one.forget_now("p3")
            one.world.call("keys.rewrap", keeper(one))
            one.forget_now("p4")
            rewrap(one, fresh=False)
            opened = opened_by(one, sealed)
            assert opened.pop("p3") == opened.pop("p4") == SubjectForgotten.code
            assert opened == {name: text for name, text in ABOUT.items() if name not in {"p3", "p4"}}

    def test_a_wrap_that_does_not_open_again_replaces_nothing(self, home, monkeypatch):
        with clinic(home) as one:
            sealed = sealed_by(one)
            before = rows_of(home, "SELECT wrapped FROM key_versions ORDER BY 1")
            monkeypatch.setattr(
                rewrapping, "unwrap", lambda _parent, place, wrapped: bytes([place.parent_version]) * 32
            )
            assert code_of(lambda: one.world.call("keys.rewrap", keeper(one), fresh=True)) == StoreDamaged.code
            monkeypatch.undo()
            assert rows_of(home, "SELECT wrapped FROM key_versions ORDER BY 1") == before
            assert rows_of(home, "SELECT version FROM tenant_keks WHERE tenant = 'acme'") == [(1,)]
            assert opened_by(one, sealed) == ABOUT


class TestEnd:
    def test_the_old_kek_stays_for_the_backups_and_goes_with_the_last_of_them(self, home):
        with clinic(home) as one:
            sealed = sealed_by(one)
            view, _ = rewrap(one)
            assert view.ended == []
            wraps = "SELECT version, length(wrapped) FROM tenant_keks WHERE tenant = 'acme' ORDER BY 1"
            assert rows_of(home, wraps) == [(1, 80), (2, 80)]
            one.world.clock.advance(31 * DAY)
            while one.world.beat("keys.rewrap", one.forgetting.rewraps.due):
                pass
            assert rows_of(home, wraps) == [(1, 0), (2, 80)]
            assert opened_by(one, sealed) == ABOUT
            assert one.world.call("keys.rewrap", keeper(one), fresh=True).kek_version == 3

    def test_one_without_persons_ends_at_once(self, home):
        with clinic(home) as one:
            one.world.hire("empty", "svc:storing", "role:storing-service")
            who = one.world.hire("empty", "user:local|kim", "role:key-admin")
            one.world.call("keys.create", who, key="orders.archive")
            view = one.world.call("keys.rewrap", who, fresh=True)
            assert (view.left, view.ended, view.kek_version) == (0, [1], NEW)

    def test_a_tenant_without_keys_is_told_so(self, home):
        with clinic(home) as one:
            who = one.world.hire("nobody", "user:local|kim", "role:key-admin")
            with closing(sqlite3.connect(home / "guard.db")) as db, db:
                db.execute("DELETE FROM tenant_keks WHERE tenant = 'nobody'")
            assert code_of(lambda: one.world.call("keys.rewrap", who)) == NotFound.code


class TestBackups:
    def test_a_database_from_before_it_opens_everybody_with_the_newest_key_store(self, home, tmp_path):
        with clinic(home) as one:
            sealed = sealed_by(one)
            old = backup(home / "guard.db", tmp_path / "old.db")
            rewrap(one)
        put_back(old, home, "guard.db")
        with clinic(home) as one:
            assert opened_by(one, sealed) == ABOUT
            assert one.open("new", one.seal("new", "n")) == "n"
            one.forget_now("p1")
            one.after(1.1)
            assert one.open("p2", sealed["p2"]) == "about p2"
            view, _ = rewrap(one)
            assert view.kek_version == 3  # the number of the lost KEK is not given again
            assert opened_by(one, sealed) == ABOUT | {"p1": one.open("p1", sealed["p1"])}
            assert one.open("p1", sealed["p1"]) != "about p1"

    def test_a_key_store_from_before_it_is_refused(self, home, tmp_path):
        with clinic(home) as one:
            sealed_by(one)
            old = backup(home / "keys.db", tmp_path / "old-keys.db")
            rewrap(one)
        put_back(old, home, "keys.db")
        assert code_of(lambda: clinic(home).__enter__())


def test_the_census_tells_what_is_left_from_what_waits_for_backups():
    counts = [("keys", NEW, 4), ("subject_keys", OLD, 2), (RETIRED, OLD, 4096), ("retiring_bucket_keys", NEW, 1)]
    assert left(counts, NEW) == 3
    assert free(counts, [OLD, NEW], NEW) == []
    assert free(counts[:1], [OLD, NEW], NEW) == [OLD]


def test_a_row_that_changed_meanwhile_is_not_overwritten(home):
    with clinic(home) as one:
        one.seal("ana")
        with one.world.guard.store.read() as tx:
            [row, *_] = rewrap_store.under_older(tx, "keys", "acme", NEW, 10)
        pipeline = one.world.guard.store.write
        one.world.guard.pipeline.stop()
        with pipeline() as tx:
            rewrap_store.replace(tx, "keys", row | {"wrapped": b"another"}, b"x" * 48, NEW)
            assert len(rewrap_store.under_older(tx, "keys", "acme", NEW, 100)) == len(
                rows_of(home, "SELECT 1 FROM key_versions WHERE tenant = 'acme'")
            )


def test_keys_of_blind_indexes_move_and_old_tokens_still_match(tmp_path):
    def find(who):
        return who.search(NUMBER, index="unique", value="4711")

    with people_world(tmp_path / "home") as made:
        someone = People(made)
        row, before = someone.stored(NUMBER, "4711"), find(someone)
        admin = made.hire("acme", "user:local|kim", "role:key-admin")
        view = made.call("keys.rewrap", admin, fresh=True)
        assert {(one.what, one.kek_version) for one in view.counts} >= {("index_keys", NEW), ("keys", NEW)}
        assert (view.left, view.ended) == (0, [OLD])
    with people_world(tmp_path / "home") as made:
        someone = People(made)
        assert (someone.stored(NUMBER, "4711"), find(someone)) == (row, before)
