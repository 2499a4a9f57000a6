"""A column in clear becomes a sealed one under a running application: both states, kills, writers, what cannot be sealed."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from guard.errors import AlreadyExists
from guard.vault.resealing import MAX_PASSES
from tests.vault.shop import EMAIL, ORDERS, Shop, code_of, policies_with, source_of, world
from tests.vault.test_shell_killed import CHILD

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"person{number}@example.org" for number in range(1, 26)]


def fill(table, values, first=1):
    with closing(sqlite3.connect(table.path, timeout=10)) as db, db:
        db.executemany("INSERT INTO customers (id, email) VALUES (?, ?)", list(enumerate(values, first)))


def create(shop, **terms):
    return shop.call("keys", "reencryptions.create", source="customers", field=EMAIL, in_clear=True, **terms)


def read(shop, row, text):
    """As an application reads during the change: by how a value begins."""
    return shop.open(text, str(row)) if text.startswith("gd1.") else text


def values(shop, table):
    return {row: read(shop, row, text) for row, text in table.all().items()}


class TestJob:
    def test_every_value_is_sealed_in_its_row_and_none_is_left_in_clear(self, shop, table):
        fill(table, NAMES)
        done = shop.finish(create(shop).job)
        assert (done.state, done.changed, done.skipped, done.failed, done.total) == ("done", 25, 0, 0, 25)
        assert done.detail == "No value stands in clear any more."
        assert all(text.startswith("gd1.") for text in table.all().values())
        assert values(shop, table) == dict(enumerate(NAMES, 1))
        assert shop.census() == {1: 25}
        assert shop.open(table.all()[1], "2") == "GRD-CRYPT-001"

    def test_at_every_step_each_row_reads_the_same(self, shop, table):
        fill(table, NAMES)
        job, states = create(shop).job, []
        while True:
            assert values(shop, table) == dict(enumerate(NAMES, 1))
            states.append(sum(text.startswith("gd1.") for text in table.all().values()))
            if shop.step(job, rows=4).state == "done":
                break
        assert states[0] == 0
        assert 0 < states[1] < 25
        assert states[-1] == 25

    def test_values_that_are_sealed_already_are_kept_or_come_under_the_newest_version(self, shop, table):
        fill(table, NAMES[:10])
        table.fill(shop, ["old", "older"], rows=[11, 12])
        shop.rotate()
        table.fill(shop, ["new"], rows=[13])
        before = table.all()[13]
        done = shop.finish(create(shop).job)
        assert (done.changed, done.skipped) == (12, 1)
        assert shop.census() == {1: 0, 2: 13}
        assert table.all()[13] == before
        assert [values(shop, table)[row] for row in (11, 12, 13)] == ["old", "older", "new"]

    def test_a_dry_run_changes_nothing(self, shop, table):
        fill(table, NAMES)
        before = table.all()
        done = shop.finish(create(shop, dry_run=True).job)
        assert (done.state, done.changed) == ("done", 25)
        assert table.all() == before

    def test_a_plain_re_encryption_still_leaves_what_is_in_clear(self, shop, table):
        fill(table, NAMES[:2])
        done = shop.run_job()
        assert (done.state, done.failed) == ("failed", 2)
        assert table.all() == {1: NAMES[0], 2: NAMES[1]}

    def test_odd_values_come_back_as_they_were(self, shop, table):
        odd = ["", " ", "é́ 你好 \U0001f600", "x" * 100_000, "gd1", "GD1.abc", '{"a": 1}', "0"]
        fill(table, odd)
        assert shop.finish(create(shop).job).state == "done"
        assert list(values(shop, table).values()) == odd


class TestRefused:
    def test_what_only_looks_sealed_is_left_and_counted(self, shop, table):
        fill(table, ["a@example.org", "gd1.not-sealed", "b@example.org"])
        moved = shop.seal("elsewhere", rows=["77"])[0]
        table.write("INSERT INTO customers (id, email) VALUES (4, ?)", moved)
        shop.rotate()
        done = shop.finish(create(shop).job)
        assert (done.state, done.changed, done.failed) == ("failed", 2, 2)
        assert "1 stand in clear" in done.detail
        assert (table.all()[2], table.all()[4]) == ("gd1.not-sealed", moved)

    def test_a_value_above_the_limit_is_left_in_clear_and_said_so(self, shop, table):
        fill(table, ["a", "x" * ((1 << 20) + 1), "b"])
        done = shop.finish(create(shop).job)
        assert (done.state, done.changed, done.failed) == ("failed", 2, 1)
        assert "1 stand in clear" in done.detail
        assert len(table.all()[2]) == (1 << 20) + 1

    def test_what_is_no_text_is_never_replaced(self, shop, table):
        with closing(sqlite3.connect(table.path)) as db, db:
            db.execute("INSERT INTO customers (id, email) VALUES (1, ?)", (b"bytes",))
        job = create(shop).job
        assert code_of(lambda: shop.step(job))
        assert table.all() == {1: b"bytes"}

    def test_one_column_has_one_job_and_another_kind_waits(self, shop, table):
        fill(table, NAMES)
        create(shop)
        with pytest.raises(AlreadyExists):
            shop.call("keys", "reencryptions.create", source="customers", field=EMAIL, priority=9)


class TestWriters:
    def test_a_writer_between_reading_and_writing_wins(self, shop, table, monkeypatch):
        fill(table, NAMES[:3])
        from guard.vault import resealing

        real = resealing.seal_text
        writes = iter(["fresh@example.org"])

        def racing(*given, **more):
            sealed = real(*given, **more)
            for value in writes:  # on the connection of the job, as another one would have to wait for its end
                opened[0].connection.exec_driver_sql("UPDATE customers SET email = ? WHERE id = 1", (value,))
            return sealed

        opened = []
        batch = resealing._batch
        monkeypatch.setattr(resealing, "_batch", lambda *given: (opened.append(given[1]), batch(*given))[1])
        monkeypatch.setattr(resealing, "seal_text", racing)
        assert shop.finish(create(shop).job).state == "done"
        assert values(shop, table) == {1: "fresh@example.org", 2: NAMES[1], 3: NAMES[2]}

    def test_who_writes_in_clear_behind_the_cursor_is_caught_up_with(self, shop, table):
        fill(table, NAMES)
        job = create(shop).job
        shop.step(job)
        table.write("UPDATE customers SET email = 'late@example.org' WHERE id = 1")
        done = shop.finish(job)
        assert (done.state, done.passes) == ("done", 2)
        assert values(shop, table)[1] == "late@example.org"

    def test_who_never_stops_ends_the_job_with_a_reason(self, shop, table):
        fill(table, NAMES[:5])
        job = create(shop).job
        for number in range(4 * MAX_PASSES):
            view = shop.step(job)
            if view.state not in {"planned", "running", "verifying"}:
                break
            table.write("UPDATE customers SET email = ? WHERE id = 1", f"again{number}@example.org")
        assert view.state == "failed"
        assert "let writers seal first" in view.detail


def kill_while_it_steps(home, table, job, rng):
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home), str(table.path), job], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        for _ in range(rng.randint(1, 8)):
            assert child.stdout.readline() == "step\n"
        time.sleep(rng.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_killed_again_and_again_beside_a_writer_no_value_is_lost_or_sealed_twice(tmp_path, table):
    rng, rows = random.Random(20), 300
    names = [f"person{number}@example.org" for number in range(1, rows + 1)]
    fill(table, names)
    expected, stop = dict(enumerate(names, 1)), threading.Event()
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        job = create(Shop(made)).job

    def write():
        for number in range(120):
            if stop.wait(0.05):
                return
            row = rng.randint(1, rows)
            expected[row] = f"new{number}@example.org"
            table.write("UPDATE customers SET email = ? WHERE id = ?", expected[row], row)

    writer = threading.Thread(target=write)
    writer.start()
    sealed = []
    for _ in range(3):
        kill_while_it_steps(tmp_path / "home", table, job, rng)
        sealed.append(sum(text.startswith("gd1.") for text in table.all().values()))
    stop.set()
    writer.join()
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        assert values(shop, table) == expected
        done = shop.finish(job, rows=50)
        assert (done.state, done.failed) == ("done", 0)
        assert values(shop, table) == expected
        assert all(text.startswith("gd1.") for text in table.all().values())
    assert 0 < sealed[0] <= sealed[-1] < rows


def test_a_column_that_is_bound_to_persons_takes_them_from_a_column_of_the_row(tmp_path):
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, person TEXT, note TEXT, both TEXT)")
        db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", [(1, "ana", "n1", "b1"), (2, None, "n2", None)])
    columns = {"note": "orders.note", "both": "orders.both"}
    source = source_of(path, name="orders", table="orders", columns=columns, subject="person")
    with world(tmp_path / "home", sources=(source,), policies=policies_with(tmp_path, "orders.yaml", ORDERS)) as made:
        shop = Shop(made)

        def run(field, *, in_clear):
            return shop.finish(
                shop.call("keys", "reencryptions.create", source="orders", field=field, in_clear=in_clear).job
            )

        def opened(field, context, text):
            items = [{"field": field, "context": context, "ciphertext": text}]
            return shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"][0]

        note, both = run("orders.note", in_clear=True), run("orders.both", in_clear=True)
        assert (note.state, note.changed, note.failed) == ("failed", 1, 1)  # nobody is named in row 2
        assert (both.state, both.changed) == ("done", 1)
        with closing(sqlite3.connect(path)) as db:
            rows = {row[0]: row[1:] for row in db.execute("SELECT id, note, both FROM orders")}
        assert rows[2] == ("n2", None)
        assert "plaintext" in opened("orders.note", {"subject": "ana"}, rows[1][0])
        assert "plaintext" in opened("orders.both", {"subject": "ana", "row": "1"}, rows[1][1])
        assert "problem" in opened("orders.note", {"subject": "bob"}, rows[1][0])
        shop.rotate("orders.shared")
        again = run("orders.both", in_clear=False)
        assert (again.state, again.changed) == ("done", 1)
