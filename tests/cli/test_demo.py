"""`guard demo` as a stranger runs it: passes, leaves nothing behind, says what failed, and can be ended at any line."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.processes import COMMAND, environment, guard
from tests.cli.verbs import example

LINES = re.compile(r"^ \[(\d)/8\] .+\(\d+\.\d s\)$", re.MULTILINE)
GOOD = '192.0.2.7 - - [01/Dec/2026:10:00:%02d +0000] "GET /item/%d HTTP/1.1" 200 512 "-" "Mozilla/5.0"\n'
HOSTILE = '192.0.2.8 - - [01/Dec/2026:10:01:00 +0000] "GET / HTTP/1.1" 200 1 "-" "\x1b[2J\x1b]0;owned\x07"\n'
END_SECONDS = 30


def processes_on(folder: Path) -> list[str]:
    """Command lines of running processes that name *folder*."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if entry.name.isdecimal() and str(folder) in line:
            found.append(line)
    return found


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] + processes_on(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One run to its end with a small log of the customer's own; what it said, and its temporary directory."""
    folder, log = tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("log") / "access.log"
    lines = [GOOD % (number, number) for number in range(50)] + ["this is no request\n", HOSTILE, "\n"]
    log.write_text("".join(lines))
    typed = shlex.split(example("demo"))[1:]
    done = guard(*typed, "--log", str(log), variables={"TMPDIR": str(folder)}, seconds=110)
    return done, folder


def test_it_passes_with_its_eight_lines(whole):
    done, _ = whole
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b""), text
    assert LINES.findall(text) == list("12345678")
    assert text.splitlines()[-1].startswith("demo passed: 8 of 8")


def test_it_leaves_no_file_and_no_process(whole):
    assert left_behind(whole[1]) == []


def test_it_shows_its_work_and_no_secret_and_no_person(whole):
    text = whole[0].stdout.decode()
    for shown in (
        "a made-up token is refused",
        "0 values in clear",
        "does not open in this context",
        "0 failed",
        "never-ban set: not banned",
        "rotated exactly once",
        "verified offline",
        "changed after it was logged",
    ):
        assert shown in text, shown
    assert "grd_" not in text
    assert re.findall(r"[a-z]+\.[a-z]+\d+@example\.org", text) == []


def test_the_customer_s_own_log_is_counted_whole_and_inert(whole):
    text = whole[0].stdout.decode()
    counted = re.search(r"your log access\.log: (\d+) lines in .*, (\d+) strict, (\d+) lenient, (\d+) unreadable", text)
    assert counted, text
    lines, strict, lenient, unreadable = map(int, counted.groups())
    assert lines == 53 == strict + lenient + unreadable
    assert unreadable >= 2
    assert "this is no request" in text
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text) == []


@pytest.mark.parametrize("name", ["missing", "directory", "no gzip.gz"])
def test_a_log_that_cannot_be_read_is_told_before_anything_starts(tmp_path, name):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "directory").mkdir()
    (tmp_path / "no gzip.gz").write_bytes(b"GET / HTTP/1.1")
    done = guard("demo", "--once", "--log", str(tmp_path / name), variables={"TMPDIR": str(tmp_path / "tmp")})
    assert (done.returncode, done.stdout) == (2, b"")
    members = json.loads(done.stderr)
    assert members["code"] == "GRD-CONF-002"
    assert str(tmp_path / name) in members["detail"]
    assert left_behind(tmp_path / "tmp") == []


def test_a_check_that_fails_is_exit_1_and_says_where_to_look(tmp_path):
    """The server of the demo is made to refuse its start, by a variable that guard does not know."""
    done = guard("demo", "--once", variables={"TMPDIR": str(tmp_path), "GUARD_HOSTT": "x"})
    text = done.stdout.decode()
    assert done.returncode == 1
    assert "[1/8]" in text
    assert "FAILED: expected the server starts" in text
    assert "demo passed" not in text
    kept = Path(re.search(r"kept in (\S+)", text)[1])
    assert kept.parent == tmp_path
    assert "GUARD_HOSTT" in (kept / "server.log").read_text()
    assert processes_on(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "number", "whole_group"),
    [(1, signal.SIGTERM, False), (4, signal.SIGINT, True)],
    ids=["SIGTERM in line 2", "Ctrl-C in line 5"],
)
def test_it_can_be_ended_in_the_middle(tmp_path, line, number, whole_group):
    """A terminal sends Ctrl-C to the whole group, the demo's server included."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--once"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(tmp_path)),
        start_new_session=True,
    )
    for text in process.stdout:
        if text.startswith(f" [{line}/8]".encode()):
            break
    time.sleep(0.15)
    assert processes_on(tmp_path), "its server runs"
    send = os.killpg if whole_group else os.kill
    send(process.pid, number)
    output, problem = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 130, output + problem
    assert b"Traceback" not in problem
    assert b"its data is removed" in problem
    assert b"demo passed" not in output
    assert left_behind(tmp_path) == []
