"""Re-encryption in a process that is killed again and again, beside a writer that does not know of it."""

import json
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

from guard.vault.envelope import header_of
from guard.vault.resealing import MAX_PASSES
from tests.vault.shop import EMAIL, Shop, Table, source_of, world

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 4
ROWS = 400
CHILD = """
import sys
from pathlib import Path
from guard.catalogue import Actor
from tests.vault.shop import bare, source_of
from tests.world import World
home, path, job = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
made = World(home, sources=(source_of(path),), **bare(home.parent))
while True:
    made.call("reencryptions.step", Actor("system:worker", "acme", "system"), job=job, rows=3)
    print("step", flush=True)
"""


@pytest.fixture
def prepared(tmp_path):
    """A table of sealed rows, a rotated key, a job that has not begun, and values that a writer will write."""
    table = Table(tmp_path / "app.db")
    names = [f"person{number}@example.org" for number in range(1, ROWS + 1)]
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        table.fill(shop, names)
        rows = [str(row) for row in range(1, ROWS + 1)]
        old = shop.seal(*[f"old-{row}" for row in rows], rows=rows)
        shop.rotate()
        new = shop.seal(*[f"new-{row}" for row in rows], rows=rows)
        job = shop.call("keys", "reencryptions.create", source="customers", field=EMAIL).job
    pending = [
        (int(row), f"{kind}-{row}", text)
        for kind, texts in (("old", old), ("new", new))
        for row, text in zip(rows, texts, strict=True)
    ]
    return tmp_path / "home", table, job, dict(enumerate(names, 1)), pending


def kill_while_it_steps(home, table, job, rng):
    """Start a guard that works on the job, and kill it somewhere in the steps after its first few."""
    arguments = [sys.executable, "-c", CHILD, str(home), str(table.path), job]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        for _ in range(rng.randint(1, 8)):
            assert child.stdout.readline() == "step\n"
        time.sleep(rng.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        child.wait()


def progress(table, job):
    """Where the job stands in the application's own database."""
    with closing(sqlite3.connect(table.path, timeout=10)) as db:
        found = db.execute("SELECT progress FROM guard_checkpoints WHERE job = ?", (job,)).fetchone()
    return json.loads(found[0]) if found else {"cursor": "", "examined": 0, "changed": 0}


def versions(table):
    return {row: header_of(text).key_version for row, text in table.all().items()}


def test_rows_and_cursor_are_one_transaction_at_every_kill(prepared):
    home, table, job, names, _ = prepared
    seen, rng = [], random.Random(7)
    for _ in range(ROUNDS):
        kill_while_it_steps(home, table, job, rng)
        where = progress(table, job)
        done = json.loads(where["cursor"]) if where["cursor"] else 0
        assert (where["examined"], where["changed"]) == (done, done)
        assert versions(table) == {row: 2 if row <= done else 1 for row in names}
        seen.append(done)
    assert seen == sorted(set(seen))
    assert seen[-1] < ROWS
    with world(home, sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        done = shop.finish(job, rows=50)
        assert (done.state, done.examined, done.changed, done.failed) == ("done", ROWS, ROWS, 0)
        assert shop.census() == {1: 0, 2: ROWS}
        assert {row: shop.open(text, str(row)) for row, text in table.all().items()} == names
        swept = made.call("intents.sweep").unknown
        assert swept <= ROUNDS
        unknown = [
            one for one in made.records("acme", action="reencryptions.step", limit=500) if one.phase == "unknown"
        ]
        assert len(unknown) == swept


class Writer(threading.Thread):
    """Overwrites rows at random, as an application does, and remembers what it wrote last."""

    def __init__(self, table, pending, rng):
        super().__init__()
        self.last, self._table, self._pending, self._rng = {}, table, pending, rng
        self.done = threading.Event()

    def run(self):
        order = self._rng.sample(self._pending, len(self._pending))
        with closing(sqlite3.connect(self._table.path, isolation_level=None, timeout=10)) as db:
            for row, value, text in order:
                if self.done.is_set():
                    break
                db.execute("UPDATE customers SET email = ? WHERE id = ?", (text, row))
                self.last[row] = value
                time.sleep(0.002)


def test_no_row_is_lost_and_the_newest_write_wins_whatever_is_killed(prepared):
    home, table, job, names, pending = prepared
    rng = random.Random(11)
    writer = Writer(table, pending, rng)
    writer.start()
    for _ in range(ROUNDS):
        kill_while_it_steps(home, table, job, rng)
    with world(home, sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        assert shop.finish(job, rows=7, steps=MAX_PASSES * (ROWS // 7 + 3)).failed == 0  # behind it the old is written
        writer.done.set()
        writer.join()
        again = shop.run_job(rows=50)  # what was written under the old version after the job had passed
        assert (again.state, again.failed) == ("done", 0)
        assert shop.census() == {1: 0, 2: ROWS}
        clear = {row: shop.open(text, str(row)) for row, text in table.all().items()}
    assert clear == names | writer.last
    assert len(writer.last) > ROWS / 10
