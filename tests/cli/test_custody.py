"""The seal as operators use it: a home of shares, a sealed start, an unsealing by several, a sealing, and an end."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.cli.processes import COMMAND, ROOT, Server, environment, guard, told

PHRASE = b"a passphrase of the tests\n"


def ask(server, path, body=None, token=""):
    """Status and JSON of one request."""
    request = urllib.request.Request(
        server.url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def command(home, *arguments, **options):
    return guard("custody", *arguments, "--home", str(home), "-o", "json", **options)


def answer(done):
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture
def shared(tmp_path):
    """A home that any two of three shares open."""
    home = tmp_path / "home"
    made = answer(command(home, "init", "shares", "--option", "threshold=2", "--option", "count=3"))
    return home, made["shares"]


def test_a_sealed_service_lives_and_says_what_to_do(shared):
    home, shares = shared
    with Server(home, "serve") as server:
        assert ask(server, "/livez") == (200, {"status": "ok"})
        for path, body in (("/readyz", None), ("/api/v1/encrypt", {"items": []}), ("/api/v1/whoami", None)):
            status, problem = ask(server, path, body, token="grd_pat_x")
            assert (status, problem["code"]) == (503, "GRD-SEAL-002")
            assert "waits for the holders of shares-1" in problem["detail"]
            assert "guard custody unseal" in problem["hint"]
        shown = answer(command(home, "status"))
        assert (shown["state"], shown["slots"][0]["need"], shown["slots"][0]["options"]) == ("sealed", 2, {})
        assert (home / "unseal.json").stat().st_mode & 0o777 == 0o600
        refused = command(home, "unseal", stdin=f"{shares[0]}\n{'ab' * 33}\n".encode())
        assert refused.returncode == 5, refused.stderr
        assert "do not open this data" in told(refused)
        assert ask(server, "/api/v1/custody/unseal", {})[0] == 401
        first = answer(command(home, "unseal", stdin=shares[0].encode()))
        assert (first["have"], first["need"], first["state"]) == (1, 2, "sealed")
        assert answer(command(home, "unseal", stdin=shares[2].encode()))["state"] == "unsealed"
        server.await_line("Use it once")
        assert ask(server, "/readyz")[0] == 200
        assert not (home / "unseal.json").exists()
        assert server.stop() == 0
    assert not any(share in server.said for share in shares)


def test_dev_seals_and_opens_by_its_key_file_when_its_owner_asks(tmp_path):
    home = tmp_path / "home"
    with Server(home) as server:
        port = server.port
        assert answer(command(home, "status", "--as", "admin"))["state"] == "unsealed"
        assert answer(command(home, "seal", "--as", "admin"))["state"] == "sealed"
        assert (home / "unseal.json").exists()  # the command waited for it
        server.await_line("guard: the service is sealed")
        status, problem = ask(server, "/readyz")
        assert (status, problem["code"]) == (503, "GRD-SEAL-002")
        assert ask(server, "/api/v1/custody/unseal", {}, token="wrong")[0] == 401
        assert answer(command(home, "unseal"))["state"] == "unsealed"
        again = [line for line in server.said.splitlines() if line.startswith("CLI and SDK")]
        while len(again) < 2:
            assert server.process.poll() is None, server.said
            again = [line for line in server.said.splitlines() if line.startswith("CLI and SDK")]
        assert server.port == port
        assert ask(server, "/readyz")[0] == 200
        assert answer(command(home, "status", "--as", "admin"))["slots"][0]["slot"] == "file-1"
        assert server.stop() == 0


def test_sealed_and_unsealed_again_and_again_with_no_wait_in_between(tmp_path):
    """Each command finds the service in the state that the one before it left, and with the token of that state."""
    home = tmp_path / "home"
    with Server(home):
        for _ in range(3):
            assert answer(command(home, "seal", "--as", "admin"))["state"] == "sealed"
            assert answer(command(home, "status"))["state"] == "sealed"
            assert answer(command(home, "unseal"))["state"] == "unsealed"
            assert answer(command(home, "status", "--as", "admin"))["state"] == "unsealed"


def test_what_a_process_left_that_was_killed_while_sealed_misleads_no_command(tmp_path):
    home = tmp_path / "home"
    with Server(home) as server:
        answer(command(home, "seal", "--as", "admin"))
        server.kill()
    assert (home / "unseal.json").exists()
    with Server(home):
        assert not (home / "unseal.json").exists()
        assert answer(command(home, "status", "--as", "admin"))["state"] == "unsealed"
        assert answer(command(home, "seal", "--as", "admin"))["state"] == "sealed"
        assert answer(command(home, "unseal"))["state"] == "unsealed"


@pytest.mark.parametrize("after", ["seal", "unseal"])
def test_a_signal_that_comes_while_the_service_changes_over_ends_it(tmp_path, after):
    """No server runs then that would hear it; it must not be lost, or a supervisor waits and kills."""
    home = tmp_path / "home"
    with Server(home) as server:
        answer(command(home, "seal", "--as", "admin"))
        if after == "unseal":
            answer(command(home, "unseal"))
        assert server.stop() == 0
    assert not (home / "unseal.json").exists()


def test_a_passphrase_comes_from_a_descriptor_and_never_from_an_argument(tmp_path):
    home = tmp_path / "home"
    reader, writer = os.pipe()
    os.write(writer, PHRASE)
    os.close(writer)
    done = subprocess.run(
        [*COMMAND, "custody", "init", "passphrase", "--fd", str(reader), "--home", str(home), "-o", "json"],
        pass_fds=[reader],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    os.close(reader)
    assert answer(done) == {"slot": "passphrase-1", "plugin": "passphrase", "shares": []}
    assert command(home, "unseal", "--passphrase", "x").returncode == 2
    again = command(home, "init", "passphrase", stdin=PHRASE)
    assert again.returncode == 6
    assert "there is one" in told(again)
    with Server(home, "serve") as server:
        assert answer(command(home, "unseal", stdin=PHRASE))["state"] == "unsealed"
        server.await_line("Use it once")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("init", "passphrase", "--option", "passphrase=in-the-wrong-place"), "secrets are no options"),
        (("init", "aws_kms"), "Expected key_id, region"),
        (("init", "shares", "--option", "threshold"), "NAME=VALUE"),
    ],
)
def test_commands_that_are_refused(tmp_path, arguments, message):
    done = command(tmp_path / "home", *arguments, stdin=PHRASE)
    assert done.returncode == 2
    assert message in told(done)
    assert "wrong-place" not in told(done)
    assert not (tmp_path / "home" / "guard.db").exists()


def test_memory_of_a_process_that_holds_keys_is_kept_from_dumps(tmp_path):
    with Server(tmp_path / "home") as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        assert next(line for line in limits.splitlines() if line.startswith("Max core file size")).split()[4:6] == [
            "0",
            "0",
        ]
    code = (
        "import ctypes, resource; from guard.vault.memory import harden; print(harden());"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "0 (0, 0)"]
