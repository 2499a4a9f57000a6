"""What people do with output: pipes, terminals, other locales; and what strangers put into it stays inert."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from guard.cli.session import Output, Session, inert
from tests.cli.processes import COMMAND, environment

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
STYLE = re.compile(rb"\x1b\[([0-9;]*)m")
COLOURS = re.compile(rb"(^|;)(3[0-8]|4[0-8]|9[0-7]|10[0-7])(;|$)")
HOSTILE = {
    "an escape sequence": "\x1b[2J\x1b]0;owned\x07",
    "an 8-bit escape": "\x9b2J",
    "a carriage return": "good\rbad",
    "a line break": "a\nb",
    "turned round": "\u202egpj.exe",
    "markup": "[bold]x[/bold] [/x] [link=file:///etc/passwd]y[/link]",
    "a bracket left open": "[red",
    "NUL": "a\x00b",
    "DEL": "a\x7fb",
}


def piped(line: str, dev, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A line of shell in which `$guard` is the command."""
    given = {"guard": f"{sys.executable} -m guard", "GUARD_HOME": str(dev.home), **variables}
    return subprocess.run(["sh", "-c", line], env=environment(**given), capture_output=True, timeout=60, check=False)


def on_terminal(dev, *arguments: str, **variables: str) -> tuple[int, bytes]:
    """Run a command with a terminal of 80 columns as its output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(GUARD_HOME=str(dev.home), TERM="xterm-256color", COLUMNS="80", **variables),
    )
    os.close(theirs)
    parts, end = [], time.monotonic() + 60
    while time.monotonic() < end:
        ready, _, _ = select.select([ours], [], [], 1)
        try:
            part = os.read(ours, 65536) if ready else b" "
        except OSError:
            break  # Linux ends a terminal so
        if not part:
            break
        parts.append(part if ready else b"")
    os.close(ours)
    return process.wait(10), b"".join(parts)


@pytest.mark.parametrize(("output", "reader"), [("json", "head -1"), ("jsonl", "true"), ("table", "head -c 1")])
def test_a_reader_that_goes_away_is_no_failure(dev, output, reader):
    with dev.client() as client:
        for _ in range(3):
            client.actors.whoami()
    done = piped(f"$guard audit list --limit 500 -o {output} --as admin | {reader}", dev)
    assert done.returncode == 0
    assert done.stderr == b""


def test_without_a_terminal_the_output_is_json_and_with_one_a_table(dev):
    assert json.loads(dev.run("keys", "list").stdout)["data"]
    status, shown = on_terminal(dev, "keys", "list")
    assert status == 0
    assert b"customers.email" in shown
    assert not shown.lstrip().startswith(b"{")


def test_jsonl_is_one_object_a_line(dev):
    lines = dev.run("keys", "list", "-o", "jsonl").stdout.decode().splitlines()
    assert len(lines) >= 3
    assert all(json.loads(line)["key"] for line in lines)
    assert json.loads(dev.run("access", "whoami", "-o", "jsonl").stdout)["tenant"] == "dev"


@pytest.mark.parametrize("verb", ["keys list", "access grants", "access roles", "logs rules", "fields list"])
def test_a_table_fits_and_carries_no_colour_where_none_is_wanted(dev, verb):
    status, shown = on_terminal(dev, *verb.split(), NO_COLOR="1")
    assert status == 0
    assert [style for style in STYLE.findall(shown) if COLOURS.search(style)] == []
    plain = STYLE.sub(b"", shown).decode()
    assert "\x1b" not in plain
    assert max(len(line.rstrip()) for line in plain.splitlines()) <= 80


def test_an_error_on_a_terminal_is_a_sentence(dev):
    status, shown = on_terminal(dev, "keys", "show", "nope")
    assert status == 3
    assert shown.startswith(b"guard: Expected the name of a key, got nope")


@pytest.mark.parametrize(
    ("variables", "output"),
    [
        ({"LC_ALL": "C"}, "json"),
        ({"LC_ALL": "C"}, "table"),
        ({"LANG": "zh_CN.UTF-8"}, "table"),
        ({"PYTHONIOENCODING": "ascii"}, "json"),
        ({"PYTHONIOENCODING": "latin-1"}, "table"),
    ],
)
def test_chinese_text_passes_in_every_locale(dev, variables, output):
    done = dev.run("plan", "show", "credential-stuffing", "--language", "zh", "-o", output, variables=variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "轮换".encode() in done.stdout or b"\\u8f6e\\u6362" in done.stdout
    if output == "json":
        assert "PYTHONIOENCODING" in variables or "轮换" in done.stdout.decode()


def test_chinese_text_goes_in_by_the_command_line_and_comes_out(dev):
    made = dev.json("run", "open", "登录页面不可用", "--severity", "2", variables={"LC_ALL": "C"})
    assert made["title"] == "登录页面不可用"
    sealed = dev.json("fields", "encrypt", "customers.email", "--row", "行", stdin="陈美@例子.公司".encode())[
        "ciphertext"
    ]
    shown = dev.json("fields", "decrypt", "customers.email", "billing", "--row", "行", stdin=sealed.encode())
    assert shown == {"value": "陈美@例子.公司"}


def test_what_is_no_text_on_the_command_line_is_refused(dev):
    done = dev.run("run", "open", os.fsdecode(b"a\xff"))
    assert done.returncode == 2, done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_what_a_stranger_wrote_steers_no_terminal(dev):
    with dev.client() as client:
        written = {
            client.incidents.open(title=f"down {text}", severity=1)["id"]: f"down {text}" for text in HOSTILE.values()
        }
    for output in ("table", "json", "jsonl"):
        done = dev.run("run", "incidents", "-o", output)
        assert done.returncode == 0, done.stderr.decode()
        assert CONTROL.findall(done.stdout.decode()) == []
    titles = {one["id"]: one["title"] for one in dev.json("run", "incidents")["data"]}
    assert {name: titles[name] for name in written} == written, "JSON still says exactly what was written"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_members_rows_and_errors_are_inert_alike(text, capsys):
    session = Session(None, "client", Output.TABLE)
    session.show({"title": text, "more": [text], "none": None})
    session.show({"data": [{"title": text, "at_us": 5, "deep": {text: text}}]})
    session.show({"data": []})
    session.show(text)
    shown = capsys.readouterr().out
    assert CONTROL.findall(shown) == []
    assert "(none)" in shown
    assert CONTROL.findall(inert(text)) == []


def test_ordinary_text_stays_as_it_is():
    assert inert("Ana Müller 陈美 🧑‍🚀 [x] \\n") == "Ana Müller 陈美 🧑‍🚀 [x] \\n"


def test_times_are_shown_for_people_and_given_in_microseconds(dev):
    status, shown = on_terminal(dev, "access", "tokens")
    assert status == 0
    assert re.search(rb"20\d\d-\d\d-\d\d", shown)
    assert isinstance(dev.json("access", "tokens")["data"][0]["expires_us"], int)
