"""`guard dev`, `guard serve` and `guard worker` as processes: what they write, how they are found, how they end."""

import fcntl
import json
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
    """Whether another process could take the home."""
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
    typed = shlex.split(example("dev").replace("8420", "0"))[2:]
    with Server(tmp_path / ".guard", typed=typed, cwd=tmp_path) as server:
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


def test_it_ends_in_order_and_what_was_acknowledged_before_is_there_after(tmp_path):
    """By SIGTERM, by Ctrl-C and by a kill; in a directory whose name has blanks and Chinese, in a locale without them."""
    home, english = tmp_path / "数据 目录", {"LC_ALL": "C"}
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        server = Server(home, variables=english)
        with Wire(server.port) as idle, Wire(server.port) as unfinished:
            assert idle.ask("GET", "/livez").status == 200
            unfinished.send(request_bytes("GET", "/livez")[:-2])
            assert guard("run", "open", f"before {number.name}", "--home", str(home), variables=english).returncode == 0
            assert server.stop(number) == status
        assert "Traceback" not in server.said
        assert free(home)
        assert (home / "guard.db-wal").exists() == (number == signal.SIGKILL), (
            "else the store was closed, not abandoned"
        )
    with Server(home):
        listed = json.loads(guard("run", "incidents", "--home", str(home)).stdout)["data"]
        assert [one["title"] for one in listed] == ["before SIGKILL", "before SIGINT", "before SIGTERM"]
        started = guard("audit", "list", "--action", "services.start", "--as", "admin", "--home", str(home))
        assert len(json.loads(started.stdout)["data"]) == 4


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


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_an_address_that_is_not_to_be_served_is_refused(tmp_path, host):
    done = guard("serve", "--home", str(tmp_path / "home"), "--host", host, "--port", "0")
    assert done.returncode == 2
    assert json.loads(done.stderr)["code"] == "GRD-CONF-001"


def test_the_first_starts_of_serve_give_a_token_that_works_once(tmp_path):
    home = tmp_path / "home"
    typed = [*shlex.split(example("serve").replace("/var/lib/guard", str(home)))[2:], "--port", "0"]
    with Server(home, "serve", typed=typed) as server:
        unused = server.await_line("No administrator").split()[-1]
    with Server(home, "serve") as server:
        token = server.await_line("No administrator").split()[-1]
        assert token.startswith("grd_one_")
        assert token != unused, "one that nobody used is given anew"
        assert server.said.count("grd_") == 1
        once = {"GUARD_URL": server.url, "GUARD_TOKEN": token}
        assert guard("access", "tenants", variables=once).returncode == 5, "it can do nothing else"
        first = guard("access", "exchange", variables=once)
        assert first.returncode == 0, first.stderr.decode()
        assert guard("access", "exchange", variables=once).returncode == 4
        personal = {"GUARD_URL": server.url, "GUARD_TOKEN": json.loads(first.stdout)["token"]}
        assert guard("access", "tenant", "acme", variables=personal).returncode == 0
        assert not (home / "client.json").exists(), "serve leaves no token in a file"
    with Server(home, "serve") as server:
        assert "grd_" not in server.said


def test_the_loops_run_alone_as_worker_and_own_the_home_meanwhile(tmp_path):
    home = tmp_path / "home"
    arguments = shlex.split(example("worker").replace("/var/lib/guard", str(home)))[2:]
    with Server(home, "worker", typed=arguments) as worker:
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


def test_a_supervisor_is_told_when_it_is_ready_and_that_it_lives(tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.settimeout(30)
        with Server(tmp_path / "home", "serve", variables={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}):
            assert channel.recv(64) == b"READY=1"
            assert channel.recv(64) == b"WATCHDOG=1"
            assert channel.recv(64) == b"WATCHDOG=1"
