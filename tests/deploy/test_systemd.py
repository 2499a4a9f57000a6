"""The systemd unit: valid, tight by systemd's own measure, and wide enough for what guard does at run time."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy/guard.service"
EXPOSURE_LIMIT = 2.0
"""systemd-analyze's scale is 0 to 10; it calls up to 2 hardly exposed."""

WORK = """
import asyncio, os, re2, socket, sqlite3, ssl, threading
import argon2, fastapi, orjson, pydantic, sqlalchemy, uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

key = AESGCM.generate_key(256)
assert AESGCM(key).decrypt(bytes(12), AESGCM(key).encrypt(bytes(12), b"a", b"b"), b"b") == b"a"
AESSIV(AESSIV.generate_key(512)).encrypt(b"a", [b"b"])
Ed25519PrivateKey.generate().sign(b"a")
argon2.PasswordHasher(time_cost=1, memory_cost=1024).verify(argon2.PasswordHasher(time_cost=1, memory_cost=1024).hash("a"), "a")
assert re2.search(r"b+", "abb")
ssl.create_default_context()

with sqlite3.connect("guard.db") as database:
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE a (b)")
    database.execute("INSERT INTO a VALUES (1)")

async def echo(reader, writer):
    writer.write(await reader.read(1))
    await writer.drain()
    writer.close()

async def talk():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"a")
    assert await reader.read(1) == b"a"
    await asyncio.to_thread(os.statvfs, ".")
    writer.close()
    server.close()

uvloop.run(talk())
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect_ex("absent")
print("done")
"""
"""What a running guard asks of the kernel: cryptography, a regular-expression engine, SQLite, an event loop, notify."""

AS_ROOT_ONLY = {"chown", "fchown", "fchownat", "lchown"}
"""SQLite hands its journal to the database's owner only when it runs as root, which the service never does."""

CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(?P<name>[a-z_0-9]+)\(")
GAINS_EXECUTION = re.compile(r"(mmap|mmap2)\(.*PROT_WRITE\|PROT_EXEC|(mprotect|pkey_mprotect)\(.*PROT_EXEC|SHM_EXEC")


@pytest.fixture(scope="module")
def analyze(need):
    return need("systemd-analyze")


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    """The unit with a command that exists on every machine; nothing else is changed."""
    text = UNIT.read_text(encoding="utf-8")
    replaced, count = re.subn(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    assert count == 1
    path = tmp_path_factory.mktemp("unit") / "guard.service"
    path.write_text(replaced, encoding="utf-8")
    return path


def settings(unit):
    """The unit's settings, the last of each name; an empty value is one too."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def ask(analyze, *words):
    return subprocess.run([analyze, *words], capture_output=True, text=True, check=False)


def group(analyze, name):
    """The system calls of systemd's group *name*, groups inside it included."""
    lines = ask(analyze, "--no-pager", "syscall-filter", name).stdout.splitlines()
    names = {line.strip() for line in lines if line.startswith("    ") and "#" not in line}
    inner = {each for each in names if each.startswith("@")}
    return (names - inner).union(*(group(analyze, each) for each in inner))


def allowed(analyze, text):
    """The system calls that the unit's SystemCallFilter lines leave."""
    left = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, flags=re.MULTILINE):
        named = set().union(*(group(analyze, name) for name in line.removeprefix("~").split()))
        left = left - named if line.startswith("~") else left | named
    return left


@pytest.fixture(scope="module")
def trace(need, tmp_path_factory):
    """Every system call of a process that does guard's kind of work, one a line."""
    folder = tmp_path_factory.mktemp("trace")
    command = [need("strace"), "-f", "-qq", "-e", "signal=none", "-o", "trace", sys.executable, "-c", WORK]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if "ptrace" in answer.stderr.lower():
        pytest.skip("this machine does not let strace attach, so system calls cannot be seen")
    assert answer.stdout == "done\n", answer.stderr
    return (folder / "trace").read_text(encoding="utf-8", errors="replace").splitlines()


def test_systemd_accepts_the_unit(analyze, unit):
    answer = ask(analyze, "verify", "--man=no", unit)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_systemd_calls_the_unit_hardly_exposed(analyze, unit):
    answer = ask(analyze, "security", "--no-pager", "--offline=true", unit)
    found = re.search(r"Overall exposure level for guard\.service: ([0-9.]+)", answer.stdout)
    assert found, answer.stdout + answer.stderr
    assert float(found[1]) <= EXPOSURE_LIMIT, answer.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("WatchdogSec", "30"),
        ("LoadCredential", "root.key:/etc/guard/root.key"),
        ("StateDirectoryMode", "0700"),
        ("UMask", "0077"),
        ("LimitCORE", "0"),
        ("MemorySwapMax", "0"),
        ("CapabilityBoundingSet", ""),
        ("MemoryDenyWriteExecute", "yes"),
        ("ProtectSystem", "strict"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ],
)
def test_what_keeps_keys_in_and_others_out_stands_in_the_unit(unit, name, value):
    assert settings(unit)[name] == value


def test_the_unit_holds_no_secret_and_reads_its_key_as_a_credential(unit):
    assert settings(unit)["Environment"].split() == ["GUARD_HOME=/var/lib/guard", "GUARD_ROOT_KEY_FILE=%d/root.key"]


def test_the_filter_leaves_what_guard_calls(analyze, unit, trace):
    left = allowed(analyze, unit.read_text(encoding="utf-8"))
    called = {found["name"] for line in trace if (found := CALL.match(line))}
    assert {"openat", "futex", "socket", "fdatasync"} <= called
    assert called - left - AS_ROOT_ONLY == set()


def test_the_filter_refuses_what_an_intruder_wants(analyze, unit):
    left = allowed(analyze, unit.read_text(encoding="utf-8"))
    assert (
        left & {"ptrace", "mount", "bpf", "init_module", "reboot", "chroot", "setuid", "swapon", "kexec_load"} == set()
    )


def test_no_memory_becomes_executable_at_run_time(trace):
    assert [line for line in trace if GAINS_EXECUTION.search(line)] == []
