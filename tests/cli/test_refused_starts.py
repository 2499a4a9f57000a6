"""Starts that must not happen: one plain sentence, the right exit code, and not a byte of the store changed."""

import hashlib
import json
import os
import secrets
import shutil
import sqlite3

import pytest

from guard.app import build
from guard.cli.session import EXIT
from guard.errors import GuardError
from guard.settings import load
from tests.cli.processes import ROOT, Server, guard, told

RETRY, INVALID = 75, 2
SOURCE = 'name = "a"\ntenant = "dev"\nurl = "sqlite:///a.db"\ntable = "t"\nprimary_key = "id"\n'


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A home that was served and closed in order."""
    home = tmp_path_factory.mktemp("refused") / "home"
    with Server(home) as server:
        assert guard("fields", "list", "--home", str(home)).returncode == 0
        assert server.stop() == 0
    return home


@pytest.fixture
def home(sound, tmp_path):
    """A copy of it, to be spoilt."""
    copy = tmp_path / "home"
    shutil.copytree(sound, copy)
    return copy


def state(home) -> dict[str, str]:
    """A digest of every file of the home but the lock, which names the last process."""
    files = (path for path in home.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(home, status: int, code: str, *, variables=None) -> str:
    """Start on *home*, as `guard serve` does; the sentence of the refusal. A few do it in a process, see `typed`."""
    before = state(home)
    with pytest.raises(GuardError) as refusal:
        build(load(home, {}, variables or {})).close()
    error = refusal.value
    assert (EXIT[error.kind], error.code) == (status, code), error.detail
    assert "\n" not in error.detail + error.hint
    assert state(home) == before
    return f"{error.detail} {error.hint}"


def typed(home, status: int, code: str, *, variables=None) -> None:
    """The same by the command itself: JSON where there is no terminal, one line where a table is asked for."""
    before = state(home)
    for verb, form in (("dev", []), ("worker", ["-o", "table"])):
        done = guard(verb, "--home", str(home), *form, variables=variables)
        assert (done.returncode, done.stdout) == (status, b""), done.stderr.decode()
        text = done.stderr.decode()
        assert "Traceback" not in text
        line, *rest = text.splitlines()
        assert f"[{code}]" in line if form else json.loads(text)["code"] == code
        assert all(more.startswith("  ") for more in rest), "findings may follow, each on a line of its own"
        assert state(home) == before


def write_key(home, content: bytes, mode: int = 0o600) -> None:
    (home / "root.key").unlink()
    (home / "root.key").write_bytes(content)
    (home / "root.key").chmod(mode)


# The root key


def test_another_root_key(home):
    write_key(home, secrets.token_hex(32).encode() + b"\n")
    assert "does not open this data" in refused(home, RETRY, "GRD-SEAL-001")


def test_no_root_key(home):
    (home / "root.key").unlink()
    assert "no key file" in refused(home, RETRY, "GRD-SEAL-003")
    assert not (home / "root.key").exists(), "no new key is made for old data"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_root_key_that_others_may_read(home, mode):
    (home / "root.key").chmod(mode)
    sentence = refused(home, RETRY, "GRD-SEAL-003")
    assert "chmod 600" in sentence
    assert f"{mode:04o}" in sentence


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"canary" * 8, b"0" * 63, b"0" * 66, bytes(range(200, 232))],
    ids=["empty", "newline", "words", "short", "long", "raw"],
)
def test_what_is_no_root_key_is_not_shown(home, content):
    write_key(home, content)
    assert "canary" not in refused(home, RETRY, "GRD-SEAL-003")


def test_a_directory_in_the_root_key_s_place(home):
    (home / "root.key").unlink()
    (home / "root.key").mkdir()
    refused(home, RETRY, "GRD-SEAL-003")


def test_a_root_key_elsewhere_that_is_not_there(home):
    sentence = refused(home, RETRY, "GRD-SEAL-003", variables={"GUARD_ROOT_KEY_FILE": "/nonexistent/root.key"})
    assert "/nonexistent/root.key" in sentence


# The database


def overwrite(path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


DAMAGE = {
    "its first page": lambda path: overwrite(path, 0, b"\x00" * 4096),
    "its header": lambda path: overwrite(path, 16, b"\xff" * 32),
    "its pages": lambda path: [overwrite(path, page * 4096, b"\x55" * 4096) for page in range(2, 12)],
    "its second half": lambda path: os.truncate(path, path.stat().st_size // 2 // 4096 * 4096),
    "all but a few bytes": lambda path: os.truncate(path, 40),
    "everything": lambda path: os.truncate(path, 0),
    "its kind": lambda path: path.write_bytes(b"This is no database.\n" * 1000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_database_that_lost(home, damage):
    damage(home / "guard.db")
    sentence = refused(home, RETRY, "GRD-STORE-001")
    assert "nothing was changed" in sentence
    assert "restore the last backup" in sentence


def test_a_database_of_a_newer_release(home):
    with sqlite3.connect(home / "guard.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert "newer" in refused(home, RETRY, "GRD-STORE-001")


def test_a_database_of_another_program(home):
    (home / "guard.db").unlink()
    with sqlite3.connect(home / "guard.db") as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('somebody else')")
    database.close()
    refused(home, RETRY, "GRD-STORE-001")


# Policies, rules and plans


@pytest.fixture
def own(home, tmp_path):
    """Copies of policies and runbooks that the home's settings name."""
    for name in ("policies", "runbooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    lines = [f'{name} = "{tmp_path / name}"' for name in ("policies", "runbooks")]
    (home / "guard.toml").write_text("\n".join(lines) + "\n")
    return tmp_path


def append(path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


WRONG_FILES = {
    "a role row": ("policies/access/roles.csv", "\np, role:x, *, keys/all, keys.list\n", "GRD-AUTHZ-004"),
    "a role of another form": (
        "policies/access/roles.csv",
        "\np, wanda, *, keys/all, keys.list, allow\n",
        "GRD-AUTHZ-004",
    ),
    "a row of another kind": ("policies/access/roles.csv", "\nq, a, b\n", "GRD-AUTHZ-004"),
    "roles in a circle": (
        "policies/access/roles.csv",
        "\ng, role:a, role:b, *\ng, role:b, role:a, *\n",
        "GRD-AUTHZ-004",
    ),
    "a field": ("policies/fields/customers.yaml", "\n  shoe: {class: nope}\n", "GRD-AUTHZ-004"),
    "YAML of a field": ("policies/fields/customers.yaml", "\n  : : [\n", "GRD-AUTHZ-004"),
    "a rule": ("policies/detections/login.yaml", "\n---\ntitle: x\n", "GRD-DETECT-001"),
    "YAML of a rule": ("policies/detections/login.yaml", "\n---\na: [\n", "GRD-DETECT-001"),
    "a plan": ("runbooks/region-outage.yaml", "\nnope: 1\n", "GRD-RUNBOOK-001"),
    "YAML of a plan": ("runbooks/region-outage.yaml", "\n : : [\n", "GRD-RUNBOOK-001"),
}


@pytest.mark.parametrize(("name", "text", "code"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_malformed_file_is_named(own, home, name, text, code):
    append(own / name, text)
    assert name.rpartition("/")[2] in refused(home, INVALID, code)


BUNDLED = (ROOT / "policies" / "access" / "model.conf").read_text()
MODELS = {
    "nothing": "",
    "no model": "wanda canary",
    "without a matcher": "[request_definition]\nr = sub, dom, obj, act\n",
    "of another shape": "[request_definition]\nr = a\n[policy_definition]\np = a\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = r.a == p.a\n",
    "with a function that is none": BUNDLED.replace("actMatch", "nopeMatch"),
    "with a matcher cut off": BUNDLED.rstrip()[:-1],
    "without its roles": BUNDLED.replace("g = _, _, _", "g = _"),
    "where an allow beats a deny": BUNDLED.replace(" && !some(where (p.eft == deny))", ""),
    "that looks at no role": BUNDLED.replace("g(r.sub, p.sub, r.dom) && ", ""),
    "that looks at no resource": BUNDLED.replace(" && resMatch(r.obj, p.obj)", ""),
    "that looks at no action": BUNDLED.replace("actMatch(r.act, p.act) && ", ""),
    "that allows everything": "[request_definition]\nr = sub, dom, obj, act\n[policy_definition]\np = sub, dom, obj, act, eft\n[role_definition]\ng = _, _, _\n[policy_effect]\ne = some(where (p.eft == allow)) && !some(where (p.eft == deny))\n[matchers]\nm = true\n",
}


@pytest.mark.parametrize("text", MODELS.values(), ids=MODELS.keys())
def test_a_malformed_model(own, home, text):
    (own / "policies" / "access" / "model.conf").write_text(text)
    sentence = refused(home, INVALID, "GRD-AUTHZ-004")
    assert "model.conf" in sentence
    assert "canary" not in sentence


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("policies/access/model.conf", "GRD-AUTHZ-004"),
        ("policies/access/roles.csv", "GRD-AUTHZ-004"),
        ("policies/fields/*.yaml", "GRD-AUTHZ-004"),  # one table fewer is allowed, a folder without any is not
    ],
)
def test_a_missing_file_is_named(own, home, name, code):
    for path in own.glob(name):
        path.unlink()
    sentence = refused(home, INVALID, code)
    assert name.split("/")[1] in sentence


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("policies/access/roles.csv", "GRD-AUTHZ-004"),
        ("policies/fields/customers.yaml", "GRD-AUTHZ-004"),
        ("policies/detections/login.yaml", "GRD-DETECT-001"),
        ("runbooks/region-outage.yaml", "GRD-RUNBOOK-001"),
    ],
)
def test_a_file_that_is_no_text(own, home, name, code):
    (own / name).write_bytes(b"\xff\xfe\x00canary")
    assert "canary" not in refused(home, INVALID, code)


# Settings

WRONG_SETTINGS = {
    "an unknown one": ("prot = 8420\n", "did you mean port?"),
    "no TOML": ("port = \n", "line 1"),
    "a port too high": ("port = 99999\n", "65535"),
    "a port as text": ('port = "8420"\n', "port"),
    "a negative number": ("queue_limit = -1\n", "queue_limit"),
    "a yes as number": ("checkpoint_seconds = true\n", "checkpoint_seconds"),
    "a number as address": ("host = 5\n", "host"),
    "a number as path": ("policies = 5\n", "policies"),
    "a path to nothing": ('runbooks = "/nonexistent"\n', "/nonexistent"),
    "a network that is none": ('never_ban = ["example.org"]\n', "never_ban"),
    "a text as list": ('never_ban = "192.0.2.1"\n', "never_ban"),
    "a source with too little": ('[[sources]]\nname = "a"\n', "source 1"),
    "a source with too much": (f"[[sources]]\n{SOURCE}columns = {{}}\nmore = 1\n", "source 1"),
    "a source of numbers": ("[[sources]]\n" + SOURCE.replace('"t"', "5") + "columns = {}\n", "source 1"),
    "columns of numbers": (f"[[sources]]\n{SOURCE}columns = {{email = 5}}\n", "source 1"),
    "sources of another kind": ("sources = 5\n", "sources"),
    "a token": ('token = "grd_pat_canary"\n', "token"),
    "bytes": ("\udcff\n", "TOML"),
}


@pytest.mark.parametrize(("text", "shown"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS.keys())
def test_a_wrong_setting_is_named(home, text, shown):
    (home / "guard.toml").write_bytes(text.encode(errors="surrogateescape"))
    sentence = refused(home, INVALID, "GRD-CONF-001")
    assert shown in sentence
    assert "canary" not in sentence


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("GUARD_PORTT", "1", "did you mean GUARD_PORT?"),
        ("GUARD_ROOT_KEY", "canary", "GUARD_ROOT_KEY"),
        ("GUARD_PORT", "canary", "GUARD_PORT"),
        ("GUARD_NEVER_BAN", "nonsense", "never_ban"),
    ],
)
def test_a_wrong_variable_is_named(home, variable, value, shown):
    sentence = refused(home, INVALID, "GRD-CONF-001", variables={variable: value})
    assert shown in sentence
    assert "canary" not in sentence


@pytest.mark.parametrize("place", ["a file", "below a file", "/proc/guard"])
def test_a_home_that_cannot_be(tmp_path, place):
    file = tmp_path / "file"
    file.write_text("mine")
    home = {"a file": file, "below a file": file / "home"}.get(place, place)
    done = guard("dev", "--home", str(home), "--port", "0")
    assert done.returncode == INVALID, done.stderr.decode()
    assert json.loads(done.stderr)["code"] == "GRD-CONF-001"
    assert str(home) in told(done)
    assert file.read_text() == "mine"


def test_a_mistake_on_a_new_home_leaves_nothing_behind(tmp_path):
    done = guard("serve", "--home", str(tmp_path / "home"), "--port", "0", variables={"GUARD_PORTT": "1"})
    assert done.returncode == INVALID
    assert list(tmp_path.iterdir()) == []


TYPED = {
    "another root key": (lambda home: write_key(home, secrets.token_hex(32).encode()), RETRY, "GRD-SEAL-001"),
    "a damaged database": (lambda home: DAMAGE["its first page"](home / "guard.db"), RETRY, "GRD-STORE-001"),
    "a wrong setting": (lambda home: append(home / "guard.toml", "prot = 1\n"), INVALID, "GRD-CONF-001"),
}


@pytest.mark.parametrize(("spoil", "status", "code"), TYPED.values(), ids=TYPED.keys())
def test_the_command_says_it_in_one_line(home, spoil, status, code):
    spoil(home)
    typed(home, status, code)


def test_a_plan_s_findings_follow_line_by_line(own, home):
    append(own / "runbooks" / "region-outage.yaml", "nope: 1\n")
    done = guard("serve", "--home", str(home), "-o", "table")
    line, *rest = done.stderr.decode().splitlines()
    assert done.returncode == INVALID
    assert line.endswith("[GRD-RUNBOOK-001]")
    assert rest
    assert all(more.startswith("  ") for more in rest)


def test_the_sound_home_starts(home):
    with Server(home) as server:
        assert server.stop() == 0
