"""The lock files: every distribution pinned and hashed, from nowhere in particular, under a licence that lets us ship."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("requirements.txt", "requirements-test.txt", "requirements-build.txt")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")

REFUSED_LICENCE = re.compile(r"\b(A|L)?GPL|Affero|General Public|Commercial|Proprietary|SSPL|BUSL", re.IGNORECASE)
LICENCE_EXCEPTIONS = {
    "pysigma": "LGPL-2.1: used unchanged, as a library that its user can replace; nothing of it is copied"
}


@dataclass(frozen=True, slots=True)
class Pin:
    """One entry of a lock file."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)


def pins(text: str) -> Iterator[Pin]:
    """Yield the entries of a lock file's *text*; its lines are joined at their backslashes."""
    for line in text.replace("\\\n", " ").splitlines():
        head = line.split(" --hash", 1)[0].strip()
        if head and not head.startswith("#"):
            yield Pin(Requirement(head), tuple(HASH.findall(line)))


def licence(name: str) -> str:
    """What the installed distribution *name* says about its licence: expression, else classifiers, else first line."""
    data = metadata.metadata(name)
    classifiers = [
        line.rpartition("::")[2].strip() for line in data.get_all("Classifier") or () if line.startswith("License ::")
    ]
    free_text = (data.get("License") or "").strip().splitlines()[:1]
    return data.get("License-Expression") or ", ".join(classifiers) or "".join(free_text)


@pytest.fixture(scope="module")
def locks(root):
    return {name: list(pins((root / name).read_text(encoding="utf-8"))) for name in LOCKS}


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LOCKS)
def test_each_entry_is_one_version_with_hashes(locks, name):
    assert locks[name]
    for pin in locks[name]:
        (specifier,) = pin.requirement.specifier
        assert specifier.operator == "==", pin
        assert "*" not in specifier.version, pin
        assert pin.hashes, pin
        assert pin.requirement.url is None, pin


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_entries_and_nothing_else(root, name):
    lines = (root / name).read_text(encoding="utf-8").splitlines()
    entry = re.compile(r"[a-z0-9][a-z0-9-]*==\S+( ; [^\\]+)? \\")
    assert [line for line in lines if not entry.fullmatch(line) and not HASH.match(line.strip())] == []


def test_locks_do_not_diverge(locks):
    versions = {}
    for entries in locks.values():
        for pin in entries:
            versions.setdefault(pin.name, set()).add(str(pin.requirement.specifier))
    assert {name: seen for name, seen in versions.items() if len(seen) > 1} == {}


def test_the_locks_fit_what_the_project_asks_for(locks, project):
    wanted = {
        "requirements.txt": project["project"]["dependencies"],
        "requirements-test.txt": project["project"]["optional-dependencies"]["test"],
        "requirements-build.txt": project["build-system"]["requires"],
    }
    for name, lines in wanted.items():
        pinned = {pin.name: next(iter(pin.requirement.specifier)).version for pin in locks[name]}
        for asked in map(Requirement, lines):
            version = pinned.get(canonicalize_name(asked.name))
            assert version is not None, f"{name} lacks {asked}; run make lock"
            assert asked.specifier.contains(version), f"{name} has {version} where {asked} is asked for; run make lock"


def test_the_build_lock_can_make_an_editable_install(locks):
    assert {"hatchling", "editables"} <= {pin.name for pin in locks["requirements-build.txt"]}


def test_every_distribution_has_a_licence_that_lets_us_ship(locks):
    applies = [
        pin for pin in locks["requirements.txt"] if not pin.requirement.marker or pin.requirement.marker.evaluate()
    ]
    found = {pin.name: licence(pin.name) for pin in applies}
    assert [name for name, text in found.items() if not text] == []
    refused = {name: text for name, text in found.items() if REFUSED_LICENCE.search(text)}
    assert refused.keys() == LICENCE_EXCEPTIONS.keys(), refused


@pytest.mark.parametrize(
    "text", ["GPL-3.0-or-later", "GNU Affero General Public License v3", "LGPL-2.1-only", "AGPLv3"]
)
def test_the_licence_check_refuses(text):
    assert REFUSED_LICENCE.search(text)


@pytest.mark.parametrize("text", ["MIT", "Apache-2.0", "BSD-3-Clause", "MPL-2.0", "PSF-2.0", "Apache Software License"])
def test_the_licence_check_passes(text):
    assert not REFUSED_LICENCE.search(text)


def test_an_entry_is_read_with_its_marker_and_its_hashes():
    text = f"a-b==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n"
    (pin,) = pins(text)
    assert (pin.name, str(pin.requirement.marker), len(pin.hashes)) == ("a-b", 'sys_platform == "win32"', 2)
