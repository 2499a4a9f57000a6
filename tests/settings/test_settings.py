"""Settings: flag over variable over file over default, and nothing unknown, mistyped or contradictory gets through."""

import stat
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import InvalidSetting
from guard.settings import (
    ENVIRONMENT,
    FOREIGN,
    MAX_FILE_BYTES,
    Settings,
    Source,
    bundled,
    client_environment,
    discover_home,
    load,
    supervisor,
)
from tests.world import world

SOURCE = """
[[sources]]
name = "customers"
tenant = "acme"
url = "sqlite:///app.db"
table = "customers"
primary_key = "id"
columns = {email = "customers.email"}
"""


@pytest.fixture
def home(tmp_path):
    return tmp_path


@pytest.fixture
def configured(home):
    """`configured(text)` writes guard.toml and loads it, with flags and variables if given."""

    def loaded(text="", flags=None, environment=None):
        (home / "guard.toml").write_text(text)
        return load(home, flags, environment or {})

    return loaded


def refused(loaded, *arguments, **more):
    with pytest.raises(InvalidSetting) as refusal:
        loaded(*arguments, **more)
    detail = refusal.value.detail
    assert detail.endswith(".")
    assert detail.count("\n") == 0
    return detail


# precedence


def test_without_anything_the_defaults_hold(home):
    assert load(home, environment={}) == Settings(home=home)
    assert load(home, {}, {}).port == 8420


def test_the_file_overrides_the_defaults(configured):
    assert configured('host = "0.0.0.0"\nport = 9000\n').port == 9000


@pytest.mark.parametrize(
    ("toml", "variables", "flags", "expected"),
    [
        ("", {}, {}, 8420),
        ("port = 1", {}, {}, 1),
        ("port = 1", {"GUARD_PORT": "2"}, {}, 2),
        ("port = 1", {"GUARD_PORT": "2"}, {"port": 3}, 3),
        ("port = 1", {}, {"port": 3}, 3),
        ("", {"GUARD_PORT": "2"}, {"port": None}, 2),
        ("port = 1", {}, {"port": None}, 1),
        ("", {"GUARD_PORT": "0"}, {}, 0),
    ],
)
def test_flag_over_variable_over_file_over_default(configured, toml, variables, flags, expected):
    assert configured(toml, flags, variables).port == expected


def test_each_variable_reaches_its_setting(home):
    given_ones = {
        "GUARD_HOME": "/elsewhere",
        "GUARD_HOST": "::1",
        "GUARD_PORT": "1234",
        "GUARD_ORIGIN": "example.org/guard",
        "GUARD_ROOT_KEY_FILE": "/keys/root.key",
        "GUARD_NEVER_BAN": "192.0.2.1, 2001:db8::/32 ,",
    }
    assert given_ones.keys() == ENVIRONMENT.keys()
    loaded = load(home, environment=given_ones)
    assert (loaded.host, loaded.port, loaded.origin) == ("::1", 1234, "example.org/guard")
    assert loaded.root_key_file == loaded.key_file == Path("/keys/root.key")
    assert loaded.never_ban == ("192.0.2.1", "2001:db8::/32")
    assert loaded.home == home  # whoever calls has looked at GUARD_HOME already, and at --home before it


def test_the_home_is_not_set_by_a_file_that_lies_in_it(configured, home):
    assert configured('home = "/elsewhere"').home == home


def test_paths_follow_from_the_home(home):
    assert Settings(home=home).database == home / "guard.db"
    assert Settings(home=home).key_file == home / "root.key"


# unknown names


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("prot = 1", "did you mean port?"),
        ("Port = 1", "did you mean port?"),
        ("never-ban = []", "did you mean never_ban?"),
        ("queue_limits = 1", "did you mean queue_limit?"),
        ("zzz = 1", ""),
        ("[server]\nport = 1", "Unknown setting 'server'"),
        ("database = 'x'", "Unknown setting 'database'"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(configured, line, suggestion):
    detail = refused(configured, line)
    assert detail.startswith("Unknown setting '")
    assert suggestion in detail


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [
        ("GUARD_PROT", "did you mean GUARD_PORT?"),
        ("GUARD_HOSTNAME", "did you mean GUARD_HOST?"),
        ("GUARD_ROOT_KEY", "did you mean GUARD_ROOT_KEY_FILE?"),
        ("GUARD_", ""),
        ("GUARD_DEBUG", ""),
        ("GUARD_QUEUE_LIMIT", ""),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name_and_without_its_value(home, variable, suggestion):
    detail = refused(load, home, {}, {variable: "canary-value"})
    assert f"Unknown variable {variable}" in detail
    assert suggestion in detail
    assert "canary-value" not in detail


def test_variables_of_others_and_of_clients_are_left_alone(home):
    others = dict.fromkeys([*FOREIGN, "PATH", "GUARDIAN", "guard_port", "XGUARD_PORT"], "x")
    assert load(home, environment=others) == Settings(home=home)


def test_an_unknown_flag_is_refused(home):
    assert "Unknown setting 'colour'" in refused(load, home, {"colour": "red"}, {})


# wrong types


WRONG = {
    "a port in quotes": 'port = "8420"',
    "a port of parts": "port = 84.2",
    "a port of truth": "port = true",
    "a negative port": "port = -1",
    "a port too high": "port = 65536",
    "a host of numbers": "host = 127",
    "a host of several": 'host = ["a", "b"]',
    "an origin of truth": "origin = false",
    "a truth of numbers": "public_log = 1",
    "a truth in quotes": 'public_log = "no"',
    "a limit of parts": "queue_limit = 1.5",
    "a limit in quotes": 'max_body_bytes = "4MB"',
    "a negative limit": "requests_per_minute = -1",
    "a date for a number": "lateness_seconds = 2026-01-01",
    "networks as one text": 'never_ban = "192.0.2.1"',
    "networks of numbers": "never_ban = [1]",
    "a network that is none": 'never_ban = ["192.0.2.1", "not-a-network"]',
    "a network too wide": 'never_ban = ["192.0.2.0/33"]',
    "a table of networks": "never_ban = {a = 1}",
    "policies that are a number": "policies = 5",
    "runbooks that are a list": 'runbooks = ["a"]',
    "a key file that is a number": "root_key_file = 3",
    "a key file that is a table": "root_key_file = {path = 'x'}",
    "sources that are a number": "sources = 5",
    "sources that are one table": '[sources]\nname = "x"',
    "a source that is a text": 'sources = ["customers"]',
    "a source without a table": SOURCE.replace('table = "customers"', ""),
    "a source with more": SOURCE + "password = 'x'",
    "a source whose address is a number": SOURCE.replace('"sqlite:///app.db"', "5"),
    "a source whose columns are a list": SOURCE.replace('{email = "customers.email"}', '["email"]'),
    "a source whose person is a number": SOURCE + "subject = 5",
    "a source whose lag is a number": SOURCE + "lag = 5",
    "a source that allows a lag of nothing": SOURCE + "lag_limit_seconds = 0",
    "a source that allows a lag in words": SOURCE + "lag_limit_seconds = 'five'",
    "a source with a column of numbers": SOURCE.replace('"customers.email"}', "5}"),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_wrong_type_is_refused_in_one_sentence(configured, text):
    detail = refused(configured, text)
    assert detail.startswith("Expected ")


@pytest.mark.parametrize("text", ["http", "-1", "8420 ", "", "0x20", "84.2", "8" * 400])
def test_a_port_that_is_no_number_is_refused_in_a_variable_too(home, text):
    assert refused(load, home, {}, {"GUARD_PORT": text}).startswith("Expected a port")


@pytest.mark.parametrize("text", ["a.example", "192.0.2.1/99", "192.0.2.1;192.0.2.2", "::/129"])
def test_an_address_that_is_none_is_refused_and_shown(home, text):
    assert repr(text) in refused(load, home, {}, {"GUARD_NEVER_BAN": text})


@given(st.text(max_size=60))
def test_any_text_in_a_variable_is_a_network_list_or_refused(text):
    try:
        load(Path("/nonexistent"), environment={"GUARD_NEVER_BAN": text})
    except InvalidSetting:
        return
    assert all(part.strip() for part in text.split(",") if part.strip())


def test_a_source_is_read_whole(configured):
    (source,) = configured(SOURCE).sources
    assert source == Source("customers", "acme", "sqlite:///app.db", "customers", "id", {"email": "customers.email"})


def test_a_source_may_say_whom_rows_are_about_and_how_far_its_replicas_are_behind(configured):
    (source,) = configured(SOURCE + 'subject = "person"\nlag = "SELECT 1"\nlag_limit_seconds = 9').sources
    assert (source.subject, source.lag, source.lag_limit_seconds) == ("person", "SELECT 1", 9)


# files


@pytest.mark.parametrize(
    "content", [b"port = ", b"port 1", b"[a\n", b"\xff\xfe", b"port = 1\nport = 2\n", b"a = '\n'", b"\x00"]
)
def test_bad_toml_names_its_file(home, content):
    (home / "guard.toml").write_bytes(content)
    detail = refused(load, home, {}, {})
    assert str(home / "guard.toml") in detail
    assert "does not parse" in detail


def test_bad_toml_names_its_line(configured):
    assert "line 3" in refused(configured, "port = 1\n\nhost = \n")


def test_a_huge_file_is_some_other_file(home):
    (home / "guard.toml").write_text("# x\n" * (MAX_FILE_BYTES // 4 + 1))
    assert f"at most {MAX_FILE_BYTES} bytes" in refused(load, home, {}, {})


def test_a_directory_in_the_file_s_place_is_refused(home):
    (home / "guard.toml").mkdir()
    assert "Expected to read" in refused(load, home, {}, {})


def test_no_setting_holds_a_secret():
    names = {field.name for field in fields(Settings)}
    assert not {name for name in names if any(word in name for word in ("secret", "password", "token", "pepper"))}
    assert {name for name in names if "key" in name} == {"root_key_file", "key_backup_days"}


# the home, and other readers of the environment


def test_the_home_is_the_variable_or_the_nearest_folder_above(tmp_path):
    (tmp_path / "a" / ".guard").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert discover_home({}, tmp_path / "a" / "b" / "c") == tmp_path / "a" / ".guard"
    assert discover_home({"GUARD_HOME": "/x"}, tmp_path / "a") == Path("/x")
    (tmp_path / "a" / "b" / ".guard").mkdir()
    assert discover_home({}, tmp_path / "a" / "b" / "c") == tmp_path / "a" / "b" / ".guard"


def test_a_file_called_guard_is_no_home(tmp_path):
    (tmp_path / ".guard").write_text("")
    assert discover_home({"GUARD_HOME": ""}, tmp_path) is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (None, None)),
        ({"GUARD_URL": "u"}, ("u", None)),
        ({"GUARD_URL": "u", "GUARD_TOKEN": "t"}, ("u", "t")),
    ],
)
def test_what_clients_read(variables, expected):
    assert client_environment(variables) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (None, None)),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000"}, ("/run/x", 15.0)),
        ({"WATCHDOG_USEC": "soon"}, (None, None)),
    ],
)
def test_what_the_supervisor_says(variables, expected):
    assert supervisor(variables) == expected


@pytest.mark.parametrize(("name", "file"), [("policies", "access/roles.csv"), ("runbooks", "region-outage.yaml")])
def test_what_ships_with_guard_is_found(name, file):
    assert (bundled(name) / file).is_file()


def test_a_new_home_is_readable_by_its_owner_alone(tmp_path):
    with world(tmp_path / "home") as made:
        assert stat.S_IMODE(made.home.stat().st_mode) == 0o700
        for path in made.home.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
