"""Each direct dependency is a decision that somebody can look up and argue with."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

ENTRY = re.compile(r"^- \*\*(?P<name>[A-Za-z0-9._-]+)\*\* (?P<text>.+)$", re.MULTILINE)
SHORTEST_REASON = 40
"""Fewer characters than this name a thing and do not argue for it."""


def decided(text: str) -> dict[str, str]:
    """What the section on dependencies in *text* says of each, by name."""
    section = re.search(r"^## Dependencies\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, "DECISIONS.md has no section '## Dependencies'"
    return {entry["name"].lower(): entry["text"] for entry in ENTRY.finditer(section[1])}


def asked_for(project: dict) -> list[str]:
    """Names of everything that pyproject.toml depends on: to run, to test and to build."""
    extras = project["project"]["optional-dependencies"].values()
    lines = [
        *project["project"]["dependencies"],
        *project["build-system"]["requires"],
        *(line for e in extras for line in e),
    ]
    return [Requirement(line).name.lower() for line in lines]


@pytest.fixture(scope="module")
def decisions(root):
    return decided((root / "DECISIONS.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def dependencies(root):
    return asked_for(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")))


def test_each_dependency_has_its_reason(decisions, dependencies):
    silent = [name for name in dependencies if len(decisions.get(name, "")) < SHORTEST_REASON]
    assert silent == [], "DECISIONS.md needs a line `- **name** why this one, licence, state` for each"


def test_each_reason_names_the_licence(decisions, dependencies):
    licence = re.compile(r"\b(MIT|BSD|Apache|MPL|LGPL|PSF|ISC)\b")
    assert [name for name in dependencies if not licence.search(decisions.get(name, ""))] == []


def test_no_reason_outlives_its_dependency(decisions, dependencies):
    assert sorted(set(decisions) - set(dependencies)) == []


def test_an_entry_is_a_bold_name_and_a_reason_in_its_section():
    text = "- **x** y\n## Dependencies\n- **Abc-1** does x. MIT.\n- other\n**bold** y\n## House\n- **rule** z\n"
    assert decided(text) == {"abc-1": "does x. MIT."}
