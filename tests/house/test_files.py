"""What the repository's files are and what must stand in none of them."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

TOP = ("pyproject.toml", "README.md", "DECISIONS.md", "CHANGELOG.md", "Makefile", ".ci/run")
"""Names that people, packagers and CI look for in the root."""
FOLDERS = ("guard", "policies", "runbooks", "deploy", "tests", "docs")

SHIPPED = ("guard", "policies", "runbooks", "deploy")
UNFINISHED = re.compile(
    r"\b(todo|fixme|xxx|hack|notimplementederror|not implemented|placeholder|for now)\b", re.IGNORECASE
)
REGISTRY = re.compile(
    r"index.url|\"resolved\":\s*\"http|https?://[^\s\"'>)]*"
    r"(?:pypi|pythonhosted|npmjs|yarnpkg|deb\.debian|security\.debian|crates\.io|proxy\.golang)\b",
    re.IGNORECASE,
)
COMMON_PARENTS = {Path("/"), Path("/tmp"), Path("/home"), Path("/root"), Path("/srv"), Path("/opt"), Path.home()}
"""Folders that a checkout may stand in and that say nothing about one machine."""


def texts(files: list[Path]) -> dict[Path, str]:
    """The text of each file of *files* that is UTF-8 text."""
    found = {}
    for path in files:
        try:
            found[path] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def lines_with(pattern: re.Pattern[str], text: str) -> list[str]:
    """Lines of *text* in which *pattern* occurs, with their numbers."""
    return [f"{number}: {line.strip()}" for number, line in enumerate(text.splitlines(), 1) if pattern.search(line)]


def machine_paths(root: Path) -> list[str]:
    """Paths that exist because of this machine: the checkout, the folder around it, a private interpreter."""
    paths = {root, Path(sys.base_prefix)} | ({root.parent} - COMMON_PARENTS)
    return [f"{path}/" for path in paths if path not in {Path("/usr"), Path("/usr/local"), Path("/")}]


@pytest.fixture(scope="module")
def contents(files):
    return texts(files)


@pytest.mark.parametrize("name", TOP)
def test_the_root_has_the_names_that_people_look_for(root, name):
    assert (root / name).is_file()


@pytest.mark.parametrize("name", FOLDERS)
def test_the_root_has_its_folders(root, name):
    assert (root / name).is_dir()


def test_the_licence_is_apache_2(root):
    text = (root / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]


def test_nothing_that_is_shipped_reads_unfinished(root, contents):
    shipped = {path: text for path, text in contents.items() if path.relative_to(root).parts[0] in SHIPPED}
    found = {str(path.relative_to(root)): lines_with(UNFINISHED, text) for path, text in shipped.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_file_names_a_package_registry(root, contents):
    here = Path(__file__).resolve()
    found = {str(path.relative_to(root)): lines_with(REGISTRY, text) for path, text in contents.items() if path != here}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_file_names_a_path_of_this_machine(root, contents):
    pattern = re.compile("|".join(re.escape(path) for path in machine_paths(root)))
    found = {str(path.relative_to(root)): lines_with(pattern, text) for path, text in contents.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_file_is_a_built_or_private_one(root, files):
    names = [str(path.relative_to(root)) for path in files]
    refused = re.compile(
        r"(^|/)(__pycache__|node_modules|\.venv|dist)/|\.(pyc|whl|key|p12|sqlite3?|db)$|(^|/)uv\.lock$"
    )
    assert [name for name in names if refused.search(name)] == []


@pytest.mark.parametrize(
    ("pattern", "text", "seen"),
    [
        (UNFINISHED, "# TODO: later", True),
        (UNFINISHED, "raise NotImplementedError", True),
        (UNFINISHED, "good enough for now", True),
        (UNFINISHED, "mastodon; hackney; for nowhere", False),
        (REGISTRY, "--index_url https://a.example/simple".replace("_", "-"), True),
        (REGISTRY, "see https://pypi.org/project/guard", True),
        (REGISTRY, json.dumps({"re_solved": "https://a.example/x.tgz"}).replace("_", ""), True),
        (REGISTRY, "deb http://deb.debian.org/debian bookworm main", True),
        (REGISTRY, "the package httpx2 on PyPI", False),
    ],
)
def test_the_checks_see_what_they_refuse_and_no_more(pattern, text, seen):
    assert bool(lines_with(pattern, text)) is seen


def test_machine_paths_are_the_checkout_and_what_surrounds_it(tmp_path):
    assert f"{tmp_path}/" in machine_paths(tmp_path)
    assert f"{tmp_path.parent}/" in machine_paths(tmp_path)
    assert "/tmp/" not in machine_paths(Path("/tmp/checkout"))
