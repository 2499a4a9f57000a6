"""Help: each verb explains itself with one example, and takes no secret in its arguments."""

import re

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from tests.cli.processes import guard
from tests.cli.verbs import VERBS, example

COMMON = {"home", "profile", "output"}
FREE_TEXT = {"reason", "note", "title", "form", "inputs"}
"""What a person writes for other people; it stands in the service's pages and not in any sealed field."""
NAMES = {
    "act",
    "action",
    "activate",
    "active",
    "actor",
    "address",
    "again",
    "allowed",
    "approve",
    "associated_data",
    "at_once",
    "by_search",
    "days",
    "decision",
    "directory",
    "domain",
    "drill",
    "dry_run",
    "erasure",
    "everything",
    "export",
    "fd",
    "field",
    "file",
    "first",
    "form",
    "format_",
    "grant_id",
    "handle",
    "hold",
    "honey",
    "host",
    "incident",
    "index",
    "job",
    "keep",
    "keep_days",
    "kek",
    "key",
    "key_version",
    "kind",
    "language",
    "last",
    "lease",
    "limit",
    "lines_for",
    "log",
    "log_format",
    "matter",
    "member",
    "min_index",
    "mldsa",
    "mode",
    "name",
    "new_kek",
    "once",
    "open_values",
    "option",
    "out",
    "outcome",
    "overlap_days",
    "path",
    "plan",
    "plugin",
    "policy",
    "port",
    "principal",
    "proof",
    "prove",
    "purpose",
    "ranges",
    "rate",
    "receipt",
    "replace",
    "replaces",
    "request",
    "resource",
    "role",
    "row",
    "run",
    "scope",
    "sealed_before",
    "second",
    "seconds",
    "severity",
    "show",
    "since",
    "slot",
    "source",
    "step",
    "stream",
    "subject",
    "suite",
    "target",
    "tenant",
    "to",
    "tsa_ca",
    "until",
    "use",
    "version",
    "vkey",
    "wait",
}
"""Ids, names, paths, numbers and choices. A new parameter is written down here by somebody who thought about it."""
SEARCHED = {"logs check": {"value"}}
"""An address or account to look for, as it stands in a request log."""
SECRET = re.compile(r"token|secret|passw|plaintext|ciphertext|credential|private|pepper")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_works_and_shows_an_example(verb):
    result = CliRunner().invoke(app, [*verb.split(), "--help"])
    assert result.exit_code == 0
    shown = " ".join(result.output.replace("│", " ").split())
    assert "Usage:" in shown
    assert "Example: " in shown
    assert f"guard {verb}" in example(verb)
    assert "--home" in shown


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_no_parameter_takes_a_secret_or_a_value(verb):
    taken = {parameter.name for parameter in VERBS[verb].params} - COMMON - FREE_TEXT
    assert taken - SEARCHED.get(verb, set()) <= NAMES
    assert [name for name in taken if SECRET.search(name)] == []


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_first_line_of_a_help_is_one_sentence(verb):
    first = VERBS[verb].help.splitlines()[0]
    assert first.endswith(".")
    assert first[0].isupper()


@pytest.mark.parametrize("arguments", [["--help"], ["fields", "encrypt", "-h"]])
def test_help_of_the_real_command(arguments):
    done = guard(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Usage:" in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["keys"], ["nope"], ["keys", "nope"], ["keys", "list", "--nope"], ["keys", "show"]]
)
def test_a_wrong_usage_is_2_without_a_traceback(arguments):
    done = guard(*arguments)
    assert done.returncode == 2
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Usage:" in done.stdout + done.stderr


def test_a_mistyped_verb_is_guessed():
    assert b"rotate" in guard("keys", "rotat").stderr


def test_completion_is_offered():
    done = guard(variables={"_GUARD_COMPLETE": "complete_bash", "COMP_WORDS": "guard ke", "COMP_CWORD": "1"})
    assert b"keys" in done.stdout
    assert b"Traceback" not in done.stderr
