"""Anchors as an operator meets them: real processes, a database put back, an anchor gone, a full disk, and the way out."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from tests.cli.conftest import until
from tests.cli.processes import ROOT, Server, environment, guard, told

RETRY = 75
VICTIM = """
import os, signal, sys
from pathlib import Path
from tests.world import world
with world(Path(sys.argv[1]), anchor_file=Path(sys.argv[2])) as made:
    for number in range(5):
        made.hire("acme", f"user:local|u{number}", "role:support")
    made.clock.advance(3600 * int(sys.argv[3]))
    assert made.call("checkpoints.stage").changed
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def home(tmp_path):
    """A home whose settings name an anchor that was made by hand."""
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    anchor = tmp_path / "anchor"
    assert guard("audit", "anchor", "create", str(anchor)).returncode == 0
    (made / "guard.toml").write_text(f'anchor_file = "{anchor}"\n')
    return made


def get(server, path):
    """Status and JSON of a public path."""
    try:
        with urllib.request.urlopen(server.url + path, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def size_in(path):
    """The size in a note of an anchor file, the latest one; 0 where there is none."""
    from guard.audit.anchor_store import AnchorFile

    text = AnchorFile(path).read()
    return int(text.split("\n")[1]) if text else 0


def rows(home, statement):
    with closing(sqlite3.connect(home / "guard.db")) as db:
        return db.execute(statement).fetchall()


def checkpoints(home):
    return [row[0] for row in rows(home, "SELECT note FROM audit_checkpoints ORDER BY size")]


def put_back(home, backup):
    for path in home.glob("guard.db*"):
        path.unlink()
    shutil.copy2(backup, home / "guard.db")


def backed_up(home, tmp_path):
    """What yesterday's backup is; guard went on since, and two administrators are known in it."""
    with Server(home) as server:
        assert (
            guard(
                "access", "grant", "user:local|deputy", "role:platform-admin", "--as", "admin", "--home", str(home)
            ).returncode
            == 0
        )
        until(lambda: checkpoints(home) != [])
        backup = tmp_path / "yesterday.db"
        with closing(sqlite3.connect(home / "guard.db")) as source, closing(sqlite3.connect(backup)) as to:
            source.backup(to)
        before = rows(home, "SELECT size FROM audit_head")[0][0]
        for _ in range(5):
            assert guard("fields", "list", "--home", str(home)).returncode == 0, server.said
        until(lambda: size_in(home.parent / "anchor") >= before + 5)
        server.stop()
    put_back(home, backup)
    return rows(home, "SELECT size FROM audit_head")[0][0], size_in(home.parent / "anchor")


def test_yesterday_s_database_is_refused_with_both_sizes_and_forked_by_two(home, tmp_path):
    before, anchored = backed_up(home, tmp_path)
    with Server(home) as server:
        assert "READ_ONLY(ROLLBACK_DETECTED)" in server.said
        assert get(server, "/livez") == (200, {"status": "ok"})
        status, problem = get(server, "/readyz")
        assert (status, problem["code"], problem["state"]) == (503, "GRD-STAND-001", "READ_ONLY(ROLLBACK_DETECTED)")
        for profile in ("client", "admin"):
            done = guard("fields", "list", "--as", profile, "--home", str(home))
            assert done.returncode == RETRY
            assert f"size {anchored} " in told(done)
            assert f"size {before} " in told(done)
            assert "guard audit fork --reason" in json.loads(done.stderr)["hint"]
        assert rows(home, "SELECT size FROM audit_head") == [(before,)]
        refused = fork(home, "user:local|deputy")
        assert json.loads(refused.stderr)["code"] == "GRD-STORE-002", "while it is served, nobody forks"
        server.stop()
    for second, code in (("user:local|admin", "GRD-CONF-002"), ("user:local|nobody", "GRD-AUTHZ-001")):
        refused = fork(home, second)
        assert json.loads(refused.stderr.splitlines()[-1])["code"] == code, refused.stderr
    done = fork(home, "user:local|deputy")
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert (answer["origin"], answer["follows"]) == ("guard.local/guard/main.2", "guard.local/guard/main")
    with Server(home) as server:
        assert get(server, "/readyz")[0] == 200
        assert guard("fields", "list", "--home", str(home)).returncode == 0
        listed = guard("audit", "anchors", "--as", "admin", "--home", str(home))
        assert json.loads(listed.stdout)["data"][0]["origin"] == "guard.local/guard/main.2"
        exported = guard("audit", "export", str(tmp_path / "evidence"), "--as", "admin", "--home", str(home))
        assert exported.returncode == 0, exported.stderr
    assert guard("verify", str(tmp_path / "evidence")).returncode == 0
    (kept,) = (home / "log").iterdir()
    assert guard("verify", str(kept)).returncode == 0
    (first,) = rows(home, "SELECT entry FROM audit_entries WHERE idx = 0")
    told_first = json.loads(first[0])["b"]
    assert told_first["actor"]["auth"] == "unproven", "named at the machine, and nobody asked for a credential"
    assert told_first["data"]["authenticated"] is False
    again = fork(home, "user:local|deputy")
    assert "nothing to fork from" in told(again)


def test_a_stolen_key_is_given_up_by_two_and_what_it_signed_since_is_refused(home, tmp_path):
    at = ("--as", "admin", "--home", str(home))
    with Server(home) as server:
        granted = guard("access", "grant", "user:local|deputy", "role:platform-admin", *at)
        assert granted.returncode == 0, granted.stderr
        until(lambda: checkpoints(home) != [])
        assert guard("audit", "export", str(tmp_path / "before"), *at).returncode == 0
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
        time.sleep(3)
        signed = len(checkpoints(home))
        assert guard("fields", "list", "--home", str(home)).returncode == 0
        until(lambda: len(checkpoints(home)) > signed)
        assert guard("audit", "export", str(tmp_path / "after"), *at).returncode == 0
        vkey = next(one["vkey"] for one in json.loads(guard("audit", "log-keys", *at).stdout)["data"])
        assert json.loads(stolen(home, vkey, since).stderr)["code"] == "GRD-STORE-002", "stop guard first"
        server.stop()
    alone = stolen(home, vkey, since, second="user:local|admin")
    assert json.loads(alone.stderr.splitlines()[-1])["code"] == "GRD-CONF-002"
    done = stolen(home, vkey, since)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["origin"] == "guard.local/guard/main.2"
    assert answer["vkey"].split("+")[2] != vkey.split("+")[2]
    with Server(home) as server:
        assert get(server, "/readyz")[0] == 200
        assert guard("audit", "export", str(tmp_path / "new"), *at).returncode == 0
        told = {one["vkey"]: one for one in json.loads(guard("audit", "log-keys", *at).stdout)["data"]}
        assert told[vkey]["stolen_us"] > 0
    ranges = ("--ranges", str(tmp_path / "new" / "ranges.json"))
    verdicts = {name: guard("verify", str(tmp_path / name), *ranges).returncode for name in ("before", "after", "new")}
    assert verdicts == {"before": 0, "after": 7, "new": 0}
    (kept,) = (home / "log").iterdir()
    assert guard("verify", str(kept), *ranges).returncode == 0


def stolen(home, vkey, since, second="user:local|deputy"):
    persons = ("--as", "user:local|admin", "--with", second, "--home", str(home))
    return guard("audit", "key-stolen", vkey, "--since", since, "--reason", "a stranger read the host", *persons)


def fork(home, second):
    return guard(
        "audit", "fork", "--reason", "disk lost", "--as", "user:local|admin", "--with", second, "--home", str(home)
    )


def test_an_anchor_that_is_gone_is_named_and_made_anew_only_by_hand(home, tmp_path):
    with Server(home) as server:
        until(lambda: size_in(tmp_path / "anchor") > 0)
        server.stop()
    (tmp_path / "anchor").unlink()
    with Server(home) as server:
        status, problem = get(server, "/readyz")
        assert (status, problem["code"]) == (503, "GRD-STAND-003")
        assert "guard audit anchor create" in problem["hint"]
        assert guard("fields", "list", "--home", str(home)).returncode == RETRY
        assert get(server, "/livez")[0] == 200
        server.stop()
    assert not (tmp_path / "anchor").exists()
    assert guard("audit", "anchor", "create", str(tmp_path / "anchor")).returncode == 0
    assert guard("audit", "anchor", "create", str(tmp_path / "anchor")).returncode == 6
    with Server(home) as server:
        assert get(server, "/readyz")[0] == 200
        until(lambda: size_in(tmp_path / "anchor") > 0)


def test_an_anchor_taken_away_while_guard_runs_is_noticed(home, tmp_path):
    with Server(home) as server:
        until(lambda: size_in(tmp_path / "anchor") > 0)
        (tmp_path / "anchor").unlink()
        guard("fields", "list", "--home", str(home))
        until(lambda: get(server, "/readyz")[1].get("code") == "GRD-STAND-003")
        assert guard("fields", "list", "--home", str(home)).returncode == RETRY
    assert not (tmp_path / "anchor").exists()


@pytest.mark.parametrize("name", ["guard.db", "guard.db-wal", "lock"])
def test_a_file_taken_away_while_guard_runs_is_noticed_within_a_beat(home, name):
    with Server(home) as server:
        until((home / name).exists)
        until(lambda: get(server, "/readyz")[0] == 200)
        (home / name).unlink()
        begun = time.monotonic()
        until(lambda: get(server, "/readyz")[1].get("code") == "GRD-STAND-005")
        assert time.monotonic() - begun < 5
        assert str(home / name) in get(server, "/readyz")[1]["detail"]
        assert get(server, "/livez")[0] == 200
        done = guard("fields", "list", "--home", str(home))
        assert (done.returncode, json.loads(done.stderr)["code"]) == (RETRY, "GRD-STAND-005")


def test_a_process_killed_between_swap_and_publication_publishes_the_anchor_s_note(home, tmp_path):
    from guard.audit.anchor_store import AnchorFile

    anchor = AnchorFile(tmp_path / "anchor")
    left = []
    for turn in range(1, 5):
        done = subprocess.run(
            [sys.executable, "-c", VICTIM, str(home), str(anchor.path), str(turn)],
            env=environment(),
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert checkpoints(home) == left, "each start publishes what the one before left, and not what it left itself"
        left.append(anchor.read())
        assert rows(home, "SELECT max(size) FROM audit_head")[0][0] >= size_in(anchor.path)
    with Server(home) as server:
        assert get(server, "/readyz")[0] == 200
        assert checkpoints(home)[:4] == left
    sizes = [note.split("\n")[1] for note in checkpoints(home)]
    assert len(sizes) == len(set(sizes)) >= 4, "never two notes of one size"


def test_a_server_killed_again_and_again_is_never_accused(home, tmp_path):
    for turn in range(6):
        with Server(home) as server:
            assert get(server, "/readyz")[0] == 200, server.said
            guard("fields", "list", "--home", str(home))
            time.sleep(0.15 * turn)
            server.kill()
    sizes = [int(note.split("\n")[1]) for note in checkpoints(home)]
    assert sizes == sorted(set(sizes))


# a full disk


@pytest.fixture
def small(tmp_path):
    """A file system of 24 MiB."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("this test mounts a tmpfs, which needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this test mounts a tmpfs, which is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_refuses_fast_and_guard_goes_on_by_itself(small):
    home = small / "home"
    home.mkdir(mode=0o700)
    (home / "guard.toml").write_text(f"minimum_free_bytes = {8 << 20}\n")
    with Server(home) as server:
        assert guard("fields", "list", "--home", str(home)).returncode == 0
        size = rows(home, "SELECT size FROM audit_head")[0][0]
        disk = os.statvfs(small)
        ballast = small / "ballast"
        ballast.write_bytes(bytes(disk.f_bavail * disk.f_frsize - (4 << 20)))
        until(lambda: get(server, "/readyz")[0] == 507)
        assert get(server, "/readyz")[1]["code"] == "GRD-STAND-004"
        assert get(server, "/livez")[0] == 200
        for _ in range(3):
            begun = time.monotonic()
            done = guard("fields", "list", "--home", str(home))
            assert (done.returncode, json.loads(done.stderr)["code"]) == (RETRY, "GRD-STAND-004")
            assert time.monotonic() - begun < 10
        ballast.unlink()
        until(lambda: get(server, "/readyz")[0] == 200)
        listed = guard("audit", "list", "--action", "audit.resumed", "--as", "admin", "--home", str(home))
        (resumed,) = json.loads(listed.stdout)["data"]
        prove = ("audit", "prove", str(resumed["index"]), "--as", "admin", "--home", str(home))
        until(lambda: guard(*prove).returncode == 0)  # a checkpoint has to cover it first
        proved = guard(*prove)
        entry = json.loads(json.loads(proved.stdout)["entry"])
        assert entry["b"]["data"]["refused"] >= 3
        assert rows(home, "SELECT size FROM audit_head")[0][0] > size
        exported = guard("audit", "export", str(small / "evidence"), "--as", "admin", "--home", str(home))
        assert exported.returncode == 0, exported.stderr
        server.stop()
    assert guard("verify", str(small / "evidence")).returncode == 0
