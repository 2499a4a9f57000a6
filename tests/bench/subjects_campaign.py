"""Keys of many persons through the code that the service runs: bytes a row, memory, speed, and what 10^8 would take.

python -m tests.bench.subjects_campaign --count 1000000
"""

import argparse
import os
import resource
import sqlite3
import tempfile
import time
from pathlib import Path

from guard.vault.deks import Subjects
from tests.vault.clinic import Clinic
from tests.world import World

BATCH = 1000
GOAL = 100_000_000


def bytes_of(database: Path, names: tuple[str, ...]) -> int:
    """Bytes of the pages of these tables and indexes."""
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            marks = ", ".join("?" * len(names))
            return db.execute(f"SELECT sum(pgsize) FROM dbstat WHERE name IN ({marks})", names).fetchone()[0]
        except sqlite3.OperationalError:  # SQLite was built without dbstat: the growth of the file stands for it
            return database.stat().st_size


def resident_bytes() -> int:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def make(world: World, first: int, count: int) -> None:
    """First writes of so many persons, a thousand to a transaction."""
    subjects: Subjects = world.gate._doors.parts[Subjects]
    store = world.guard.store
    with store.read() as tx:
        drawn = [
            subjects.to_seal(lambda: tx, "acme", f"u-{number}", subjects.epoch)
            for number in range(first, first + count)
        ]
    with store.write() as tx:
        subjects.settle(tx, drawn, subjects.epoch, world.clock())
    subjects.stored(drawn)


def run(count: int, home: Path) -> None:
    """Make the keys and print what was measured."""
    world = World(home)
    try:
        Clinic(world)
        world.guard.worker.stop()
        database = home / "guard.db"
        tables = ("subject_deks", "sqlite_autoindex_subject_deks_1", "sqlite_autoindex_subject_deks_2")
        empty, began = bytes_of(database, tables), time.monotonic()
        samples = []
        for first in range(0, count, BATCH):
            make(world, first, min(BATCH, count - first))
            if first // BATCH % max(count // BATCH // 10, 1) == 0:
                samples.append(resident_bytes())
        seconds = time.monotonic() - began
        per_row = (bytes_of(database, tables) - empty) / count
        print(f"persons            {count}")
        print(f"bytes a row        {per_row:.1f} (SQLite, table and index)")
        print(f"for {GOAL}  {per_row * GOAL / 1e9:.1f} GB")
        small = bytes_of(home / "keys.db", ("bucket_keks", "sqlite_autoindex_bucket_keks_1", "ix_bucket_keks_state"))
        print(f"bucket keys        {small} bytes, the same for any number of persons")
        print(f"keys a second      {count / seconds:.0f}")
        print(f"resident MiB       {', '.join(str(one >> 20) for one in samples)}")
        print(f"peak MiB           {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}")
    finally:
        world.close()


def main() -> None:
    """Read the arguments and run in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        run(parser.parse_args().count, Path(folder) / "home")


if __name__ == "__main__":
    main()
