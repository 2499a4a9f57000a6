"""The Makefile as a stranger meets it: odd paths, a moved checkout, a lost or unfit interpreter, no network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COPIED = ("Makefile", "pyproject.toml", "requirements.txt", "requirements-test.txt", "requirements-build.txt")
TARGETS = (
    "help",
    "venv",
    "demo",
    "test",
    "check",
    "bench",
    "export-campaign",
    "subjects-campaign",
    "rotation-campaign",
    "leaks",
    "foreign",
    "faults",
    "docs",
    "lock",
    "clean",
)
INTERPRETER = ".venv/stamps/python"
OLD = 1_000_000_000
"""Seconds since 1970 of all files of the copy, so that stamps and newer locks can be placed after them."""
UNAVAILABLE = 69
"""EX_UNAVAILABLE of sysexits.h: something that must be there is not."""

pytestmark = pytest.mark.usefixtures("make")


@pytest.fixture(scope="module")
def make(need):
    return need("make")


@pytest.fixture
def checkout(root, tmp_path):
    """What make needs of the checkout, in a folder whose name has spaces and Chinese characters."""
    folder = tmp_path / "a guard 守卫"
    folder.mkdir()
    for name in COPIED:
        shutil.copyfile(root / name, folder / name)
        os.utime(folder / name, (OLD, OLD))
    return folder


def run(make, folder: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run make in *folder* with an environment of PATH and HOME only."""
    environment = {"PATH": path or os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    return subprocess.run([make, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def script(path: Path, text: str) -> Path:
    """An executable shell script at *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def pretend_installed(folder: Path) -> None:
    """A venv whose stamps say that all locks are installed, made of the running interpreter."""
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/stamps").mkdir()
    script(folder / ".venv/bin/python", 'echo "python $*"')
    script(folder / ".venv/bin/guard", 'printf "[%s]" "$@"')
    for number, stamp in enumerate(("python", "locked", "run", "test")):
        path = folder / ".venv/stamps" / stamp
        path.write_text(f"{folder.resolve()}\n\n", encoding="utf-8")
        os.utime(path, (OLD + 1 + number, OLD + 1 + number))


def test_bare_make_explains_each_target(make, checkout):
    answer = run(make, checkout)
    assert answer.returncode == 0, answer.stderr
    assert [line.split()[1] for line in answer.stdout.splitlines()] == list(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_can_be_planned_in_an_odd_folder(make, checkout, target):
    answer = run(make, checkout, "-n", target)
    assert answer.returncode == 0, answer.stderr


def test_planning_touches_nothing(make, checkout):
    run(make, checkout, "-n", "demo")
    assert sorted(path.name for path in checkout.iterdir()) == sorted(COPIED)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ((), "[demo]"),
        (("ONCE=1",), "[demo][--once]"),
        (("ONCE=0",), "[demo]"),
        (("LOG=my log.txt",), "[demo][--log][my log.txt]"),
        (("ONCE=1", "LOG=a"), "[demo][--once][--log][a]"),
    ],
)
def test_demo_hands_its_words_on_and_starts_at_once(make, checkout, words, arguments):
    pretend_installed(checkout)
    answer = run(make, checkout, "demo", *words)
    assert (answer.returncode, answer.stdout) == (0, arguments), answer.stderr


def test_a_newer_lock_is_installed(make, checkout):
    pretend_installed(checkout)
    (checkout / "requirements-test.txt").touch()
    answer = run(make, checkout, "-n", "test")
    assert "-r requirements-test.txt" in answer.stdout
    assert "-r requirements.txt" not in answer.stdout


def test_a_venv_is_made_in_an_odd_folder_and_again_after_a_move(make, checkout, tmp_path):
    first = run(make, checkout, INTERPRETER, f"PYTHON={sys.executable}")
    assert first.returncode == 0, first.stderr
    again = run(make, checkout, INTERPRETER)
    assert "up to date" in again.stdout
    moved = checkout.rename(tmp_path / "moved")
    assert run(make, moved, "-q", INTERPRETER).returncode == 1
    assert not (moved / ".venv/stamps").exists()


def test_a_venv_whose_interpreter_is_gone_is_stale(make, checkout):
    pretend_installed(checkout)
    assert run(make, checkout, "-q", "demo").returncode == 1  # demo always runs; the stamps stand
    assert (checkout / ".venv/stamps").is_dir()
    (checkout / ".venv/bin/python").unlink()
    run(make, checkout, "-n", "demo")
    assert not (checkout / ".venv/stamps").exists()


def test_another_interpreter_by_name_makes_the_venv_stale(make, checkout):
    pretend_installed(checkout)
    run(make, checkout, "-n", "demo", f"PYTHON={sys.executable}")
    assert not (checkout / ".venv/stamps").exists()


def test_an_old_python_is_refused_in_one_line(make, checkout, tmp_path):
    old = script(tmp_path / "old python", "exit 1")
    answer = run(make, checkout, INTERPRETER, f"PYTHON={old}")
    assert f"Error {UNAVAILABLE}" in answer.stderr
    assert answer.stderr.startswith("guard needs Python 3.11 or newer")
    assert len(answer.stderr.splitlines()) == 2  # ours, and make's own
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_refused_in_one_line(make, checkout, tmp_path):
    bare = script(tmp_path / "bare", f'case "$*" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"')
    answer = run(make, checkout, INTERPRETER, f"PYTHON={bare}")
    assert f"Error {UNAVAILABLE}" in answer.stderr
    assert "cannot create virtual environments" in answer.stderr
    assert len(answer.stderr.splitlines()) == 2
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_passed_over_for_one_that_has_it(make, checkout, tmp_path):
    tools = tmp_path / "tools"
    script(tools / "python3.14", f'case "$*" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"')
    script(tools / "python3.13", "exit 127")
    script(tools / "python3.12", f'exec "{sys.executable}" "$@"')
    answer = run(make, checkout, INTERPRETER, path=f"{tools}:/usr/bin:/bin")
    assert answer.returncode == 0, answer.stderr
    assert (checkout / ".venv/bin/python").exists()


def test_an_active_venv_never_becomes_the_root_of_its_successor(make, checkout):
    assert run(make, checkout, INTERPRETER, f"PYTHON={sys.executable}").returncode == 0
    (checkout / INTERPRETER).unlink()
    active = run(make, checkout, INTERPRETER, path=f"{checkout}/.venv/bin:/usr/bin:/bin")
    assert active.returncode == 0, active.stderr
    home = (checkout / ".venv/pyvenv.cfg").read_text(encoding="utf-8").splitlines()[0]
    assert str(checkout) not in home


def test_clean_removes_what_was_made_and_nothing_else(make, checkout):
    pretend_installed(checkout)
    (checkout / "dist").mkdir()
    assert run(make, checkout, "clean").returncode == 0
    assert sorted(path.name for path in checkout.iterdir()) == sorted(COPIED)


def test_lock_says_what_it_lacks(make, checkout, tmp_path):
    pretend_installed(checkout)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("rm", "sed", "sh"):
        (tools / name).symlink_to(shutil.which(name))
    answer = run(make, checkout, "lock", path=str(tools))
    assert answer.stderr.startswith("make lock needs uv: ")
    assert f"Error {UNAVAILABLE}" in answer.stderr


def test_lock_asks_for_hashes_and_for_no_address(make, checkout):
    pretend_installed(checkout)
    script(checkout / ".venv/bin/uv", 'echo "$*" >> asked')
    assert run(make, checkout, "lock", path="/usr/bin:/bin").returncode == 0
    asked = (checkout / "asked").read_text(encoding="utf-8").splitlines()
    outputs = [words.split(" -o ")[1].split()[0] for words in asked]
    assert outputs == ["requirements.txt", "requirements-test.txt", "requirements-build.txt"]
    for words in asked:
        assert {"--generate-hashes", "--universal", "--no-config"} <= set(words.split())
        assert "emit" not in words
