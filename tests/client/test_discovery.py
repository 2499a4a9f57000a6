"""Where the SDK finds server and token: argument, then both variables, then a private file in the nearest home."""

import json
import subprocess
import sys

import pytest

from guard.client import discover
from guard.client.session import LOOPBACK
from guard.errors import GuardError
from tests.cli.processes import environment
from tests.client.canned import Canned, Reply

SCRIPT = """
import sys
from pathlib import Path
from guard.client import discover
from guard.errors import GuardError
try:
    found = discover(Path(sys.argv[1]) if sys.argv[1] else None, *sys.argv[2:])
    print(found.url, found.token)
except GuardError as error:
    print(error.code, error.detail)
"""
WRONG = {
    "no JSON": "x",
    "a list": "[]",
    "a text": '"x"',
    "no token": '{"url":"http://127.0.0.1:1"}',
    "a number": '{"url":5,"token":"t"}',
    "null": '{"url":"http://127.0.0.1:1","token":null}',
    "nothing": "",
}


def refused(home) -> str:
    """How the file in *home* is refused."""
    with pytest.raises(GuardError) as refusal:
        discover(home)
    return f"{refusal.value.code} {refusal.value.detail}"


def discovered(home: object = "", *profile: str, cwd=None, **variables: str) -> str:
    """What a fresh process in *cwd* with these variables finds."""
    command = [sys.executable, "-c", SCRIPT, str(home), *profile]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd, env=environment(**variables))
    return done.stdout.strip()


def write(home, token: str = "filed", name: str = "client", mode: int = 0o600, text: str | None = None):
    home.mkdir(exist_ok=True)
    path = home / f"{name}.json"
    path.write_text(json.dumps({"url": "http://127.0.0.1:1", "token": token}) if text is None else text)
    path.chmod(mode)
    return home


def test_the_nearest_home_at_or_above_is_used(tmp_path):
    write(tmp_path / ".guard")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert discovered(cwd=deep) == "http://127.0.0.1:1 filed"
    write(tmp_path / "a" / ".guard", "nearer")
    assert discovered(cwd=deep) == "http://127.0.0.1:1 nearer"


def test_an_argument_beats_variables_and_variables_beat_files(tmp_path):
    write(tmp_path / ".guard")
    named, given = write(tmp_path / "named", "named"), write(tmp_path / "given", "given")
    both = {"GUARD_URL": "http://127.0.0.1:2", "GUARD_TOKEN": "varied"}
    assert discovered(cwd=tmp_path, GUARD_HOME=str(named)) == "http://127.0.0.1:1 named"
    assert discovered(cwd=tmp_path, GUARD_HOME=str(named), **both) == "http://127.0.0.1:2 varied"
    assert discovered(given, cwd=tmp_path, GUARD_HOME=str(named), **both) == "http://127.0.0.1:1 given"


def test_another_profile_is_another_file(tmp_path):
    home = write(write(tmp_path / "home"), "root", "admin")
    assert discovered(home, "admin") == "http://127.0.0.1:1 root"
    assert discovered(home, "client") == "http://127.0.0.1:1 filed"


@pytest.mark.parametrize("variables", [{"GUARD_URL": "http://127.0.0.1:2"}, {"GUARD_TOKEN": "varied"}])
def test_one_variable_without_the_other_is_no_mixture_of_both(tmp_path, variables):
    write(tmp_path / ".guard")
    answer = discovered(cwd=tmp_path, **variables)
    assert answer.startswith("GRD-CONF-001 Expected GUARD_URL and GUARD_TOKEN together")
    assert "varied" not in answer


def test_no_home_says_how_to_get_one(tmp_path):
    answer = discovered(cwd=tmp_path)
    assert answer.startswith("GRD-HTTP-000 ")
    assert "guard dev" in answer


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_may_read_is_not_used(tmp_path, mode):
    answer = refused(write(tmp_path / "home", mode=mode))
    assert answer.startswith("GRD-CONF-001 ")
    assert "chmod 600" in answer
    assert "filed" not in answer


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_file_of_another_form_is_told_so_without_its_content(tmp_path, text):
    answer = refused(write(tmp_path / "home", text=text))
    assert answer.startswith("GRD-CONF-001 Expected {url, token}")


def test_a_directory_in_the_file_s_place_is_no_file(tmp_path):
    (tmp_path / "client.json").mkdir()
    assert refused(tmp_path).startswith("GRD-HTTP-000 ")


PROXIED = """
from guard.client import Address, Client
print(Client(Address("{url}", "t")).call("actors.whoami"))
"""


def test_a_server_on_this_machine_is_not_looked_for_behind_a_proxy():
    with Canned(Reply(body=b'{"fine":true}')) as server:
        proxies = {
            "HTTP_PROXY": "http://127.0.0.1:1",
            "http_proxy": "http://127.0.0.1:1",
            "ALL_PROXY": "http://127.0.0.1:1",
        }
        command = [sys.executable, "-c", PROXIED.format(url=server.url)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(**proxies))
        assert "fine" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://127.0.0.1:8420", False),
        ("http://localhost", False),
        ("http://[::1]:8420/", False),
        ("https://127.0.0.1:8420", True),
        ("HTTPS://localhost", True),
        ("https://guard.example.org", True),
        ("http://127.0.0.1.example.org", True),
        ("http://127.0.0.1@example.org", True),
        ("http://127.0.0.1:80@example.org", True),
        ("http://localhost.example.org/", True),
        (" http://localhost/", True),
    ],
)
def test_only_plain_http_to_this_very_machine_goes_unchecked(url, checked):
    assert (LOOPBACK.match(url) is None) == checked
