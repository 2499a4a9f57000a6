"""A guard that was stopped in its tracks while another took its home over (A03): once awake it writes nothing.

Somebody removes the lock of a process that hangs and starts another. What the two sign must be one history.
"""

import json
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from contextlib import closing

from tests.cli.conftest import until
from tests.cli.processes import Server, guard

ASLEEP_SECONDS = 3
RECORDS = 5


def rows(home, statement):
    with closing(sqlite3.connect(home / "guard.db")) as db:
        return db.execute(statement).fetchall()


def size(home):
    return rows(home, "SELECT size FROM audit_head")[0][0]


def asked(url, token):
    """The status with which a server answers an operation."""
    request = urllib.request.Request(f"{url}/api/v1/fields", headers={"authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0  # it has ended


def test_the_one_that_wakes_up_writes_nothing_and_says_why(tmp_path):
    home = tmp_path / "home"
    with Server(home) as first:
        token, url = first.token(), first.url
        assert asked(url, token) == 200
        until(lambda: rows(home, "SELECT count(*) FROM audit_checkpoints")[0][0] > 0)
        first.process.send_signal(signal.SIGSTOP)
        try:
            (home / "lock").unlink()
            with Server(home) as second:
                for _ in range(RECORDS):
                    assert asked(second.url, second.token()) == 200
                before = size(home)
                time.sleep(ASLEEP_SECONDS)
                first.process.send_signal(signal.SIGCONT)
                until(lambda: asked(url, token) in {0, 503})
                assert asked(second.url, second.token()) == 200
                until(lambda: "FILE_LOST" in first.said or first.process.poll() is not None)
                mine = rows(home, f"SELECT entry FROM audit_entries WHERE idx >= {before}")
                exported = guard("audit", "export", str(tmp_path / "out"), "--as", "admin", "--home", str(home))
                assert exported.returncode == 0, exported.stderr
                second.stop()
        finally:
            first.process.send_signal(signal.SIGCONT)
            first.process.kill()
    assert guard("verify", str(tmp_path / "out")).returncode == 0
    nodes = {json.loads(entry)["b"]["node"] for (entry,) in mine}
    starts = [
        json.loads(one)["b"] for (one,) in rows(home, "SELECT entry FROM audit_entries") if b"services.start" in one
    ]
    assert nodes == {starts[-1]["node"]}, "a record of the one that slept came after the other's"
    sizes = [one for (one,) in rows(home, "SELECT size FROM audit_checkpoints")]
    assert len(sizes) == len(set(sizes))
