"""A key rotates under a full table while writers write and the process is killed: `make rotation-campaign`.

COUNT rows are sealed under version 1; then a child process re-encrypts them in batches and is killed with SIGKILL, KILLS
times, wherever it stands. Beside it a writer overwrites rows with values sealed under the old and the new version, and a
reader opens rows all the time. At the end every row opens to the newest value that was written, all under the newest
version, and the census counts exactly COUNT. Figures are printed; a row that was lost ends the run with an error.
"""

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from guard.vault.envelope import header_of
from tests.vault.shop import EMAIL, Shop, Table, item, shown, source_of, world

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys
from pathlib import Path
from guard.catalogue import Actor
from tests.vault.shop import bare, source_of
from tests.world import World
home, path, job, rows = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
made = World(home, sources=(source_of(path),), **bare(home.parent))
view = None
while view is None or view.state in {"planned", "running", "verifying"}:
    view = made.call("reencryptions.step", Actor("system:worker", "acme", "system"), job=job, rows=rows, batches=8)
    print(view.examined, view.state, flush=True)
made.close()
"""
SEAL_AT_ONCE = 1000
WRITE_PAUSE_SECONDS = 0.001
MAX_WRITES = 200_000  # of a million rows; more than are written before the last kill
MAX_SECONDS_AFTER = 60  # for which is written after it: while old values come in, one more pass is always needed


@dataclass(slots=True)
class Found:
    """What a campaign found."""

    count: int
    kills: int = 0
    writes: int = 0
    reads: int = 0
    failed_reads: int = 0
    lost: int = 0
    wrong: int = 0
    doubled: int = 0
    census: dict[int, int] = field(default_factory=dict)
    passes: int = 0
    seconds: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether nothing is missing, old, sealed twice or miscounted, and no read failed."""
        faults = (self.failed_reads, self.lost, self.wrong, self.doubled, self.census.get(1, 0))
        return not any(faults) and self.census.get(2) == self.count

    def line(self) -> str:
        """One line of figures."""
        rate = round(self.count / self.seconds) if self.seconds else 0
        return (
            f"rows {self.count}  kills {self.kills}  writes {self.writes}  reads {self.reads}  failed reads "
            f"{self.failed_reads}  lost {self.lost}  not the newest {self.wrong}  sealed twice {self.doubled}  census "
            f"{json.dumps(self.census)}  passes {self.passes}  {self.seconds:.1f} s  {rate} rows/s"
        )


class Writer(threading.Thread):
    """Overwrites rows, as an application does, and remembers what it wrote last."""

    def __init__(self, table: Table, pending: list[tuple[int, str, str]]) -> None:
        super().__init__(daemon=True)
        self.last: dict[int, str] = {}
        self.writes = 0
        self.ended = threading.Event()
        self._table, self._pending = table, pending

    def run(self) -> None:
        """Write until told to end or until nothing is left to write."""
        with closing(sqlite3.connect(self._table.path, isolation_level=None, timeout=60)) as db:
            for row, value, text in self._pending:
                if self.ended.is_set():
                    break
                db.execute("UPDATE customers SET email = ? WHERE id = ?", (text, row))
                self.last[row] = value
                self.writes += 1
                time.sleep(WRITE_PAUSE_SECONDS)


class Reader(threading.Thread):
    """Opens rows as they stand, in a guard of its own that knows both versions."""

    def __init__(self, shop: Shop, table: Table, count: int, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.reads = self.failed = 0
        self.ended = threading.Event()
        self._shop, self._table, self._count, self._rng = shop, table, count, rng

    def run(self) -> None:
        """Read until told to end."""
        with closing(sqlite3.connect(self._table.path, isolation_level=None, timeout=60)) as db:
            while not self.ended.is_set():
                row = self._rng.randint(1, self._count)
                (text,) = db.execute("SELECT email FROM customers WHERE id = ?", (row,)).fetchone()
                self.reads += 1
                self.failed += not self._shop.open(text, str(row)).endswith(f"-{row}")
                time.sleep(WRITE_PAUSE_SECONDS)


def campaign(folder: Path, count: int, kills: int, seed: int = 1) -> Found:
    """Rotate *count* rows under *kills* kills; what was found."""
    # So small that there is work left at the last kill: a child does two of eight batches, a
    # child of a large table more, so that kills fall on a good part of it.
    rows = max(1, min(500, count // (8 * 4 * max(kills, 1))))
    turns = max(2, count // (12 * rows * max(kills, 1)))
    found, rng = Found(count), random.Random(seed)
    folder.mkdir()
    table, job, pending = _prepare(folder / "home", folder / "app.db", count, rng)
    _copy(folder / "home", folder / "reading" / "home")
    began = time.monotonic()
    with world(folder / "reading" / "home") as other:
        writer, reader = Writer(table, pending), Reader(Shop(other), table, count, rng)
        writer.start()
        reader.start()
        for _ in range(kills):
            found.kills += _kill(folder / "home", table, job, rows, turns, rng)
        ending = threading.Timer(MAX_SECONDS_AFTER, writer.ended.set)
        ending.start()
        _finish(folder / "home", table, job, rows)
        ending.cancel()
        writer.ended.set()
        writer.join()
        reader.ended.set()
        reader.join()
        found.writes, found.reads, found.failed_reads = writer.writes, reader.reads, reader.failed
    found.seconds = time.monotonic() - began
    _judge(folder / "home", table, writer.last, found)
    return found


def _prepare(home: Path, path: Path, count: int, rng: random.Random) -> tuple[Table, str, list[tuple[int, str, str]]]:
    table = Table(path)
    with world(home, sources=(source_of(path),)) as made:
        shop = Shop(made)
        for first in range(1, count + 1, SEAL_AT_ONCE):
            rows = list(range(first, min(first + SEAL_AT_ONCE, count + 1)))
            table.fill(shop, [f"first-{row}" for row in rows], rows=rows)
        chosen = rng.sample(range(1, count + 1), min(count, MAX_WRITES) // 2)
        old = _sealed(shop, chosen, "old")
        shop.rotate()
        new = _sealed(shop, chosen, "new")
        job = shop.call("keys", "reencryptions.create", source="customers", field=EMAIL).job
    pending = [*old, *new]
    rng.shuffle(pending)
    return table, job, pending


def _sealed(shop: Shop, rows: list[int], kind: str) -> list[tuple[int, str, str]]:
    made = []
    for at in range(0, len(rows), SEAL_AT_ONCE):
        part = rows[at : at + SEAL_AT_ONCE]
        texts = shop.seal(*[f"{kind}-{row}" for row in part], rows=[str(row) for row in part])
        made += [(row, f"{kind}-{row}", text) for row, text in zip(part, texts, strict=True)]
    return made


def _copy(home: Path, to: Path) -> None:
    """A second guard with the same keys, since a store has one process."""
    shutil.copytree(home, to)


def _child(home: Path, table: Table, job: str, rows: int) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", CHILD, str(home), str(table.path), job, str(rows)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _kill(home: Path, table: Table, job: str, rows: int, turns: int, rng: random.Random) -> int:
    """Let a child work for some steps and kill it in the midst of one; 0 where it was done before."""
    with _child(home, table, job, rows) as child:
        assert child.stdout is not None
        for _ in range(rng.randint(1, turns)):
            if not child.stdout.readline():
                return 0
        time.sleep(rng.uniform(0, 0.1))
        child.kill()
        child.wait()
        return 1


def _finish(home: Path, table: Table, job: str, rows: int) -> None:
    with _child(home, table, job, rows) as child:
        assert child.stdout is not None
        lines = child.stdout.readlines()
        if child.wait() != 0:
            raise SystemExit(f"the last worker ended with an error after {lines[-1:]}")


def _judge(home: Path, table: Table, last: dict[int, str], found: Found) -> None:
    """Open every row; what was written after the job had ended is sealed anew by one more job first."""
    with world(home, sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        done = shop.run_job(rows=5000, steps=100_000)
        found.passes = sum(one.passes for one in shop.call("keys", "reencryptions.list").data)
        found.wrong += done.failed
        found.census = shop.census()
        stored = table.all()
        found.lost = found.count - len(stored)
        rows = sorted(stored)
        for at in range(0, len(rows), SEAL_AT_ONCE):
            part = rows[at : at + SEAL_AT_ONCE]
            for row, clear in zip(part, _opened(shop, {row: stored[row] for row in part}), strict=True):
                found.wrong += clear != last.get(row, f"first-{row}")
                found.doubled += clear.startswith("gd1.")
        versions = Counter(header_of(text).key_version for text in stored.values())
        found.wrong += versions != Counter({2: found.count})


def _opened(shop: Shop, stored: dict[int, str]) -> list[str]:
    items = [item(EMAIL, str(row), ciphertext=text) for row, text in stored.items()]
    answer = shop.call("billing", "fields.decrypt", purpose="billing", items=items)
    return [shown(one) for one in answer["results"]]


def main() -> None:
    """Run a campaign of the size that the command line says, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder) / "run", given.count, given.kills, given.seed)
    print(found.line())
    raise SystemExit(0 if found.sound else 1)


if __name__ == "__main__":
    main()
