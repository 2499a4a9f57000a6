"""How a client finds its server and token: given, from the environment, or from a file that only its owner can read."""

import json
import os

import pytest

from guard.client.discovery import Address, discover
from guard.errors import InvalidSetting, Unreachable
from tests.access.building import VECTOR

GOOD = {"url": "http://127.0.0.1:8420", "token": VECTOR}


@pytest.fixture
def home(tmp_path):
    return tmp_path


def put(home, content, mode=0o600, name="client.json"):
    path = home / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def test_a_file_gives_url_and_token(home):
    put(home, GOOD)
    assert discover(home) == Address(GOOD["url"], VECTOR)


def test_the_profile_names_the_file(home):
    put(home, GOOD | {"url": "http://admin"}, name="admin.json")
    put(home, GOOD)
    assert discover(home, "admin").url == "http://admin"
    assert discover(home).url == GOOD["url"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o666, 0o601, 0o610, 0o777, 0o620])
def test_a_file_that_others_may_use_is_refused_and_its_token_not_shown(home, mode):
    path = put(home, GOOD, mode)
    with pytest.raises(InvalidSetting) as refusal:
        discover(home)
    assert str(path) in refusal.value.detail
    assert "chmod 600" in refusal.value.detail
    assert VECTOR not in refusal.value.detail


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_one_s_own_is_read(home, mode):
    put(home, GOOD, mode)
    assert discover(home).token == VECTOR


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "7",
        '{"url": "http://x"}',
        f'{{"token": "{VECTOR}"}}',
        '{"url": null}',
        "\ufffd",
    ],
)
def test_a_file_of_another_form_is_refused_in_one_sentence(home, content):
    put(home, content)
    with pytest.raises(InvalidSetting, match=r"Expected \{url, token\}") as refusal:
        discover(home)
    assert VECTOR not in refusal.value.detail


def test_bytes_that_are_no_text_are_refused(home):
    put(home, GOOD).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSetting):
        discover(home)


def test_without_a_file_there_is_no_server_and_the_next_step_is_told(home):
    with pytest.raises(Unreachable, match="start one with 'guard dev'") as refusal:
        discover(home)
    assert str(home / "client.json") in refusal.value.detail


def test_a_directory_in_the_file_s_place_is_no_server(home):
    (home / "client.json").mkdir()
    with pytest.raises(Unreachable):
        discover(home)


def test_an_address_does_not_show_its_token():
    address = Address(GOOD["url"], VECTOR)
    assert VECTOR not in repr(address)
    assert GOOD["url"] in repr(address)


@pytest.fixture
def environment():
    """The process's own environment, put back afterwards."""
    before = dict(os.environ)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


def test_the_environment_is_used_where_no_home_is_given(home, environment):
    put(home, GOOD)
    environment.update(GUARD_URL="http://env", GUARD_TOKEN="grd_env", GUARD_HOME=str(home))
    assert discover() == Address("http://env", "grd_env")
    assert discover(home).url == GOOD["url"]
    for name in ("GUARD_URL", "GUARD_TOKEN"):
        half = dict(environment)
        del environment[name]
        with pytest.raises(InvalidSetting, match="set both or neither"):
            discover()
        environment.update(half)
    del environment["GUARD_URL"], environment["GUARD_TOKEN"]
    assert discover().url == GOOD["url"]
