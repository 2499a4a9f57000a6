"""kill -9 in the middle of writes: what was acknowledged is there, what is there is whole, and the log verifies.

A killed process loses no page cache, so this proves atomicity and recovery; what survives a power cut rests on
`synchronous=FULL`, which `test_engine` finds in force.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from contextlib import closing

import pytest

from guard.app import build
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM, Actor
from guard.settings import Settings
from tests.conftest import ROOT
from tests.db.building import PATIENCE_SECONDS, rows

ROUNDS = 6
WORKER = Actor("system:worker", PLATFORM, "system")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def victims(tmp_path, home):
    """A process that forks a victim for each line; imports are paid once."""
    command = [sys.executable, str(ROOT / "tests" / "db" / "victim.py"), str(home), str(tmp_path / "ledger")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.stdin.close()
    process.wait(PATIENCE_SECONDS)
    process.stdout.close()


def opened(home):
    """The home opened as a restart does, with the real clock."""
    return closing(build(Settings(home=home)))


def strike(process, ledger, wanted):
    """Let a victim work until it has acknowledged *wanted* more things, then kill it at no particular moment."""
    before = lines(ledger)
    process.stdin.write("\n")
    process.stdin.flush()
    pid = int(process.stdout.readline())
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(lines(ledger)) < len(before) + wanted:
        assert time.monotonic() < deadline, "the victim does not work"
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert process.stdout.readline() == "dead\n"


def lines(ledger):
    """What was acknowledged; a line that the kill cut short was not yet complete, its thing was."""
    return [line.split(" ") for line in ledger.read_text().splitlines()] if ledger.exists() else []


def bodies(path):
    """The records of tenant acme by request id."""
    joined = "SELECT e.entry FROM audit_entries e JOIN audit_index i USING (idx) WHERE i.tenant = 'acme' ORDER BY i.idx"
    found = [json.loads(entry)["b"] for (entry,) in rows(path, joined)]
    records = {body["request"]["id"]: body for body in found}
    assert len(records) == len(found)
    return records


def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path, home, victims):
    with opened(home) as guard:
        for tenant, subject, role in (("acme", "ana", "role:tenant-admin"), ("system", "eve", "role:auditor")):
            hire = {"tenant": tenant, "subject": f"user:local|{subject}", "roles": [role]}
            guard.gate.call_named("principals.bootstrap", hire, WORKER, "hire")
    chance, ledger = random.Random(7), tmp_path / "ledger"
    sizes = []
    for _ in range(ROUNDS):
        strike(victims, ledger, chance.randrange(20, 300))
        sizes.append(check_what_is_stored(home / "guard.db", lines(ledger)))
        with opened(home) as guard:
            guard.gate.call_named("checkpoints.publish", {}, WORKER, "publish")
            assert guard.log.size > sizes[-1]
    assert sizes == sorted(set(sizes))
    with opened(home) as guard:
        check_export(guard, home, tmp_path)


def check_what_is_stored(path, acknowledged):
    """Before any restart has repaired anything: the ledger is in the store, each row has its record and the reverse."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    records = bodies(path)
    stored = {handle for (handle,) in rows(path, "SELECT handle FROM tokens WHERE subject LIKE 'svc:s%'")}
    assert [request for _, request, _ in acknowledged if request not in records] == []
    handles = {handle for kind, _, handle in acknowledged if kind == "write"}
    assert handles - stored == set()
    recorded = {body["data"]["handle"] for body in records.values() if body["action"] == "tokens.create"}
    assert recorded == stored
    for tenant in ("acme", "system"):
        numbers = [n for (n,) in rows(path, "SELECT n FROM audit_index WHERE tenant = ? ORDER BY idx", tenant)]
        assert numbers == list(range(len(numbers)))
    indexes = [index for (index,) in rows(path, "SELECT idx FROM audit_entries ORDER BY idx")]
    assert indexes == list(range(len(indexes)))
    return len(indexes)


def check_export(guard, home, tmp_path):
    """The whole log, with a checkpoint of every life, holds up under the offline verifier; a changed byte does not."""
    latest = guard.gate.call_named("checkpoints.publish", {}, WORKER, "publish")
    eve = Actor("user:local|eve", "system", "pat")
    view = guard.gate.call_named("exports.create", {"prove": [0, latest.size - 1]}, eve, "export")
    archive = home / "exports" / f"{view.id}.zip"
    report = verify(archive, vkeys=[guard.log.verifier.encode()])
    assert report.faults == []
    assert report.size == view.size == latest.size
    assert report.counts["records"] == latest.size
    assert report.counts["checkpoints"] >= ROUNDS
    assert report.counts["proofs"] == 2
    spoilt = tmp_path / "spoilt"
    zipfile.ZipFile(archive).extractall(spoilt)
    bundle = next(path for path in sorted(spoilt.rglob("entries/*")) if path.is_file())
    bundle.write_bytes(bundle.read_bytes().replace(b"tokens.create", b"tokens.crease", 1))
    assert verify(spoilt).faults
