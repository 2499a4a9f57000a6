"""Every fault of the suite in a few rounds, as `make faults` runs it, and what its checkers see when something is wrong."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing

import pytest

from tests.cli.processes import RUN_SECONDS, environment, guard, told
from tests.conftest import ROOT
from tests.faults import clocks, disk, kills, order, siem, sync, syscalls, twins
from tests.faults.__main__ import FAULTS
from tests.faults.ledger import Client, compare, read
from tests.faults.processes import make_home, serve
from tests.faults.tally import Tally, Unfit, Verdict

RUN = {
    "kill": (kills.kill_rounds, 4),
    "syscalls": (syscalls.matrix, 12),
    "order": (order.before_the_disk, 6),
    "eatmydata": (order.unsynced, 4),
    "disk": (disk.full_disk, 1),
    "savepoint": (disk.full_savepoint, 3),
    "fsync": (sync.failing_fsync, 2),
    "clock": (clocks.jumping, 1),
    "faketime": (clocks.faked, 1),
    "twins": (twins.second_process, 1),
    **({"siem": (siem.stuck, 1)} if siem.KNOWN else {}),
}
IN_MEMORY = {"power", "long-wal", "normal", "recovery", "sync"}  # tried by test_power


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RUN)
def test_nothing_acknowledged_is_lost(name):
    fault, rounds = RUN[name]
    try:
        tally = fault(rounds)
    except Unfit as error:
        pytest.skip(str(error))
    print(tally.line())
    assert tally.good, [tally.line(), *tally.faults[:5]]


def test_each_fault_of_the_suite_is_tried_here():
    assert set(RUN) | IN_MEMORY == set(FAULTS)


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A home in which a client worked, with its ledger."""
    place = tmp_path_factory.mktemp("lived")
    home = make_home(place)
    with serve(home) as server:
        client = Client(place, "one", server.url, server.token())
        for _ in range(21):
            client.step()
        client.close()
    return home, place


@pytest.fixture
def copied(lived, tmp_path):
    """A copy that a test may damage."""
    home, place = lived
    shutil.copytree(home, tmp_path / "home")
    shutil.copy(place / "one.ledger", tmp_path)
    return tmp_path / "home", tmp_path


def changed(home, *statements):
    with closing(sqlite3.connect(home / "guard.db", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def test_a_sound_home_agrees_with_its_ledger(copied):
    home, folder = copied
    assert compare(home, folder, export=True).verdict == Verdict()
    lines = Counter((line[0], line[1]) for line in read(folder))
    assert lines["ACK", "fields.encrypt"] == lines["TRY", "fields.encrypt"] == 6
    assert lines["ACK", "keys.rotate"] == 3


CREASED = (
    "UPDATE audit_entries SET entry = CAST(replace(CAST(entry AS TEXT), 'tokens.create', 'tokens.crease') AS BLOB)"
)
LAST = "(SELECT max(idx) FROM audit_index WHERE action = 'tokens.create' AND tenant = 'dev')"


@pytest.mark.parametrize(
    ("statements", "seen"),
    [
        (["DELETE FROM tokens WHERE subject LIKE 'svc:one-2'"], "tokens without their record"),
        (["DELETE FROM key_versions WHERE name = 'customers.phone' AND version = 2"], "key versions without"),
        ([f"UPDATE audit_index SET n = n + 100000 WHERE idx = {LAST}"], "is another"),
        ([CREASED], "does not hash"),
    ],
)
def test_state_without_its_record_and_a_changed_record_are_seen(copied, statements, seen):
    home, folder = copied
    with closing(sqlite3.connect(home / "guard.db", isolation_level=None)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
    changed(home, *statements)
    verdict = compare(home, folder).verdict
    assert any(seen in fault for fault in verdict.faults), verdict


def test_a_record_that_was_removed_is_a_hole_and_is_lost(copied):
    home, folder = copied
    changed(home, *(f"DELETE FROM {table} WHERE idx = {LAST}" for table in ("audit_entries", "audit_index")))
    verdict = compare(home, folder).verdict
    assert verdict.holes >= 1
    assert [one for one in verdict.lost if one.startswith("tokens.create req_")]


def test_what_the_store_never_had_is_lost(copied):
    home, folder = copied
    with (folder / "two.ledger").open("w") as file:
        for line in (
            ["ACK", "checks.evaluate", 200, "req_never"],
            ["ACK", "tokens.create", 200, "req_neither", "HANDLE"],
            ["ACK", "keys.rotate", 200, "req_nor", 99],
            ["ACK", "fields.encrypt", 200, "req_this", "row", "value", "gd1.AAAA"],
        ):
            file.write(json.dumps(line) + "\n")
    lost = compare(home, folder).verdict.lost
    assert len([one for one in lost if "req_" in one]) == 4
    assert "HANDLE" in lost
    assert "version 99 of customers.phone" in lost
    assert any(one.startswith("the value of row row") for one in lost)


def test_a_home_that_does_not_open_has_lost_everything(copied):
    home, folder = copied
    (home / "root.key").unlink()
    books = compare(home, folder)
    assert len(books.verdict.lost) == 21
    assert "does not open" in books.verdict.faults[0]


def test_the_order_check_sees_an_answer_that_is_too_early():
    wal, tcp = "7</h/guard.db-wal>", "12<TCP:[127.0.0.1:1->127.0.0.1:2]>"
    answer = f'2 write({tcp}, "HTTP/1.1 200 OK"..., 300) = 300\n'
    write, synced = f'3 pwrite64({wal}, "x"..., 24, 0) = 24\n', f"3 fdatasync({wal}) = 0\n"
    begun, ended = f"3 fdatasync({wal} <unfinished ...>\n", "3 <... fdatasync resumed>) = 0\n"
    assert order.early(write + synced + answer) == (1, 0, 1)
    assert order.early(write + begun + ended + answer) == (1, 0, 1)
    assert order.early(write + answer + synced) == (1, 1, 1)
    assert order.early(write + begun + answer + ended) == (1, 1, 1)
    assert order.early(begun + write + ended + answer) == (1, 1, 1)
    assert order.early(write + synced.replace("= 0", "= -1 EIO (INJECTED)") + answer) == (1, 1, 0)


def test_the_matrix_is_shared_between_all_calls_and_faults():
    counts = Counter({"write": 40, "rename": 1, "fsync": 3})
    many = syscalls.plan(counts, 90)
    assert {(call, fault) for call, fault, _ in many} == {(c, f) for c in counts for f in syscalls.FAULTS}
    assert {ordinal for call, fault, ordinal in many if (call, fault) == ("fsync", "EIO")} == {1, 2, 3}
    assert {1, 40} <= {ordinal for call, _, ordinal in many if call == "write"}
    assert len(syscalls.plan(counts, 4)) == 4


def test_a_tally_is_good_only_with_runs_and_without_loss_and_a_control_only_if_it_sees():
    assert not Tally("x").good
    assert Tally("x", runs=1).good
    assert not Tally("x", runs=1, holes=1).good
    assert not Tally("x", runs=1, faults=["y"]).good
    blind = Tally("x", control=True, runs=1)
    assert blind.blind
    assert not blind.good
    assert "BLIND" in blind.line()
    assert Tally("x", control=True, runs=1, lost=3).good
    assert Tally("a fault", runs=2).line() == "a fault | runs 2 | lost 0 | holes 0 | doubled 0"


def test_the_command_prints_one_line_for_each_fault_and_how_it_ended():
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults", "--rounds", "2", "--only", "normal"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    line, end = done.stdout.splitlines()
    assert "negative control, must lose: sees" in line
    assert end.startswith("good: rounds 2")


@pytest.mark.parametrize("verb", ["dev", "serve", "worker"])
def test_a_production_start_refuses_a_failpoint(tmp_path, verb):
    found = guard(verb, "--home", str(tmp_path / "home"), variables={"GUARD_FAILPOINT": "after_state:kill"})
    assert found.returncode != 0
    assert "Unknown variable GUARD_FAILPOINT" in told(found)
    assert not (tmp_path / "home").exists()
