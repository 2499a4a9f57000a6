"""`guard dev`, `guard serve` and `guard worker` as processes: what they write, how they are found, how they end."""

import fcntl
import json
import os
import shlex
import signal
import socket
import sqlite3
import stat

import pytest

from tests.api.asking import Wire, request_bytes
from tests.cli.conftest import until
from tests.cli.processes import Server, guard, told
from tests.cli.verbs import example

PRIVATE = {"client.json", "admin.json", "root.key", "guard.db", "lock"}


def free(home) -> bool:
    """Whether another process could take the home: the start of one more gets as far as its settings."""
    done = guard("serve", "--home", str(home), variables={"GUARD_PORTT": "1"})
    assert "GUARD_PORTT" in told(done)
    with (home / "lock").open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def test_dev_writes_private_files_of_exactly_the_promised_form(dev):
    for name in ("client", "admin"):
        path = dev.home / f"{name}.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found = json.loads(path.read_text())
        assert set(found) == {"url", "token"}
        assert found["url"] == dev.server.url
        assert found["token"].startswith("grd_pat_")
    for name in PRIVATE:
        assert stat.S_IMODE((dev.home / name).stat().st_mode) & 0o077 == 0, name
    assert "grd_" not in dev.server.said
    assert str(dev.home / "client.json") in dev.server.said


def test_dev_serves_what_needs_no_token(dev):
    with Wire(dev.server.port) as wire:
        assert wire.ask("GET", "/livez").json == {"status": "ok"}
        assert wire.ask("GET", "/readyz").json["status"] == "ok"
        assert wire.ask("GET", "/openapi.json").json["openapi"].startswith("3.1")
        assert wire.ask("GET", "/version").status == 200


def test_the_home_is_found_by_option_by_variable_and_by_nearness(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with Server(tmp_path / ".guard", typed=["--port", "0"], cwd=tmp_path) as server:
        assert str(tmp_path / ".guard") in server.said, "without --home it is ./.guard"
        ways = (
            guard("access", "whoami", "--home", str(server.home)),
            guard("access", "whoami", variables={"GUARD_HOME": str(server.home)}),
            guard("access", "whoami", cwd=deep),
        )
        assert [json.loads(done.stdout)["subject"] for done in ways] == ["user:local|developer"] * 3
        admin = guard("access", "whoami", "--as", "admin", cwd=deep)
        assert json.loads(admin.stdout)["roles"] == ["role:auditor", "role:platform-admin"]
        server.stop()
        nobody = guard("access", "whoami", cwd=deep)
        assert nobody.returncode == 69
        assert "start it" in told(nobody)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_order(tmp_path, number, status):
    home = tmp_path / "home"
    server = Server(home)
    with Wire(server.port) as idle, Wire(server.port) as unfinished:
        assert idle.ask("GET", "/livez").status == 200
        unfinished.send(request_bytes("GET", "/livez")[:-2])
        assert server.stop(number) == status
    assert "Traceback" not in server.said
    assert free(home)
    assert not (home / "guard.db-wal").exists(), "the store was closed, not abandoned"
    with sqlite3.connect(home / "guard.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_what_was_acknowledged_before_the_end_is_there_after_it(tmp_path):
    home = tmp_path / "home"
    for end in (Server.kill, Server.stop):
        with Server(home) as server:
            made = guard("run", "open", f"before {end.__name__}", "--home", str(home))
            assert made.returncode == 0
            end(server)
    with Server(home):
        listed = json.loads(guard("run", "incidents", "--home", str(home)).stdout)["data"]
        assert [one["title"] for one in listed] == ["before stop", "before kill"]
        log = json.loads(
            guard("audit", "list", "--action", "services.start", "--as", "admin", "--home", str(home)).stdout
        )
        assert len(log["data"]) == 3


def test_an_occupied_port_is_one_sentence_and_the_home_is_free_again(tmp_path):
    home = tmp_path / "home"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = guard("dev", "--home", str(home), "--port", str(port))
    assert done.returncode == 69
    assert told(done) == (
        f"Expected port {port} on 127.0.0.1 to be free, but another program listens there; stop it, or choose another --port."
    )
    assert free(home)
    assert not (home / "client.json").exists(), "nobody is sent to a server that never was"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "nope.invalid"])
def test_an_address_that_is_not_to_be_served_is_refused(tmp_path, host):
    done = guard("serve", "--home", str(tmp_path / "home"), "--host", host, "--port", "0")
    assert done.returncode == 2
    assert json.loads(done.stderr)["code"] == "GRD-CONF-001"


def test_the_first_start_of_serve_gives_one_token_that_works_once(tmp_path):
    home = tmp_path / "home"
    with Server(home, "serve") as server:
        token = server.await_line("No administrator").split()[-1]
        assert token.startswith("grd_one_")
        assert server.said.count("grd_") == 1
        once = {"GUARD_URL": server.url, "GUARD_TOKEN": token}
        assert guard("access", "tenants", variables=once).returncode == 5, "it can do nothing else"
        typed = shlex.split(example("access exchange"))[-3:]
        assert typed == ["guard", "access", "exchange"]
        first = guard(*typed[1:], variables=once)
        assert first.returncode == 0, first.stderr.decode()
        second = guard(*typed[1:], variables=once)
        assert second.returncode == 4
        personal = {"GUARD_URL": server.url, "GUARD_TOKEN": json.loads(first.stdout)["token"]}
        assert guard("access", "tenant", "acme", variables=personal).returncode == 0
        assert not (home / "client.json").exists(), "serve leaves no token in a file"
    with Server(home, "serve") as server:
        assert "grd_" not in server.said


def test_a_first_token_that_nobody_used_is_given_anew(tmp_path):
    home = tmp_path / "home"
    tokens = []
    for _ in range(2):
        with Server(home, "serve") as server:
            tokens.append(server.await_line("No administrator").split()[-1])
    assert tokens[0] != tokens[1]


def test_the_loops_run_alone_as_worker_and_own_the_home_meanwhile(tmp_path):
    home = tmp_path / "home"
    arguments = shlex.split(example("worker").replace("/var/lib/guard", str(home)))[2:]
    worker = Server(home, "worker", typed=arguments)
    until(lambda: checkpoints(home) >= 1)
    taken = guard("serve", "--home", str(home), "--port", "0")
    assert taken.returncode == 75
    assert f"process {worker.process.pid}" in told(taken)
    assert worker.stop() == 0
    assert free(home)


def checkpoints(home) -> int:
    """How many checkpoints the store holds."""
    with sqlite3.connect(f"file:{home / 'guard.db'}?mode=ro", uri=True) as database:
        count = database.execute("SELECT count(*) FROM audit_checkpoints").fetchone()[0]
    database.close()
    return count


def test_the_examples_of_dev_and_serve_work_with_another_port_and_place(tmp_path):
    line = example("dev").replace("8420", "0")
    with Server(tmp_path / ".guard", typed=shlex.split(line)[2:], cwd=tmp_path) as server:
        assert server.port
    line = example("serve").replace("/var/lib/guard", str(tmp_path / ".guard"))
    with Server(tmp_path / ".guard", "serve", typed=[*shlex.split(line)[2:], "--port", "0"]) as server:
        assert server.port


def test_a_supervisor_is_told_when_it_is_ready_and_that_it_lives(tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.settimeout(30)
        with Server(tmp_path / "home", "serve", variables={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}):
            assert channel.recv(64) == b"READY=1"
            assert channel.recv(64) == b"WATCHDOG=1"
            assert channel.recv(64) == b"WATCHDOG=1"


def test_a_home_with_blanks_and_chinese_in_its_name_works(tmp_path):
    home = tmp_path / "数据 目录"
    with Server(home, variables={"LC_ALL": "C"}):
        done = guard("fields", "list", "--home", str(home), variables={"LC_ALL": "C"})
        assert done.returncode == 0
    assert os.access(home / "root.key", os.R_OK)
