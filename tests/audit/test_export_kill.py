"""kill -9 at random moments of an export: what was on record stands, the rest is made again, and nothing is left over."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.audit.exporting import auditor, check, directory, fill, parted, work

RECORDS = 3000
KILLS = 6
CHILD = """
import sys
from pathlib import Path
from tests.audit.exporting import auditor, beat, parted
with parted(Path(sys.argv[1])) as made:
    print("up", flush=True)
    while True:
        beat(made)
"""


@pytest.mark.parametrize("name", ["jsonl", "tiles"])
def test_an_export_that_is_killed_again_and_again_ends_whole(tmp_path, name):
    home, chance, parts_seen = tmp_path / "home", random.Random(name), []
    with parted(home) as made:
        fill(made, RECORDS)
        view = made.call("exports.create", auditor(made), format=name)
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(home)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert child.stdout.readline() == b"up\n"
        time.sleep(chance.uniform(0, 0.08))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        parts_seen.append(len(list((home / "exports" / view.id / "parts").glob("*[0-9].*[a-z]"))))
    with parted(home) as made:
        eve = auditor(made)
        now = made.call("exports.read", eve, export=view.id)
        assert now.size == view.size, "the prefix stays the one that was frozen"
        ready = work(made, eve, view.id)
        assert (ready.state, ready.done) == ("ready", view.parts)
        found = check(directory(made, eve, ready, tmp_path / "out"), made.guard.log.verifier.encode())
        assert found["matched"] == view.size
        left = [path for path in (home / "exports").rglob("*") if path.suffix in {".tmp", ".part"}]
        assert left == []
    assert parts_seen == sorted(parts_seen)
