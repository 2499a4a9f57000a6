"""Fields as JSON lines: every line is answered in its place, and a bad one costs itself only."""

import json
import subprocess
import sys

import pytest

from tests.cli.processes import environment

LINES = [
    {"tenant": "acme", "field": "customers.email", "row": "1", "value": "ana@example.org"},
    {"field": "customers.email", "row": "2", "value": "ben@example.org"},
]


@pytest.fixture
def guard(dev):
    def run(*arguments: str, lines: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "guard", "fields", *arguments]
        env = environment(GUARD_HOME=str(dev.home))
        return subprocess.run(command, input=lines, env=env, capture_output=True, text=True, timeout=60, check=False)

    return run


def parsed(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_lines_are_sealed_sealed_anew_and_opened_again(guard, dev):
    with dev.client() as client:
        own = client.actors.whoami()["tenant"]
    lines = "".join(json.dumps(line | {"tenant": own}) + "\n" for line in LINES)
    sealed = guard("encrypt", lines=lines)
    assert (sealed.returncode, [one["row"] for one in parsed(sealed)]) == (0, ["1", "2"])
    given = "".join(
        json.dumps({name: one[name] for name in ("tenant", "field", "row", "sealed")}) + "\n" for one in parsed(sealed)
    )
    anew = guard("reencrypt", lines=given)
    assert anew.returncode == 0, anew.stderr
    assert [one["field"] for one in parsed(anew)] == ["customers.email"] * 2
    opened = guard("decrypt", "--purpose", "billing", lines=given)
    assert [one["value"] for one in parsed(opened)] == ["ana@example.org", "ben@example.org"]


def test_what_one_verb_answers_is_what_the_next_one_takes(guard):
    sealed = guard("encrypt", lines="".join(json.dumps(line) + "\n" for line in LINES[1:]))
    anew = guard("reencrypt", lines=sealed.stdout)
    assert [one["version"] for one in parsed(anew)] == [one["version"] for one in parsed(sealed)]
    opened = guard("decrypt", "--purpose", "billing", lines=anew.stdout)
    assert [one["value"] for one in parsed(opened)] == ["ben@example.org"]


def test_each_bad_line_is_one_problem_and_the_others_go_on(guard):
    good = json.dumps(LINES[1])
    bad = [
        "no json",
        '["a"]',
        '{"field": "customers.email", "row": "1"}',
        '{"field": "customers.email", "row": 1, "value": "canary"}',
        '{"field": "customers.email", "row": "1", "value": "canary", "version": "1"}',
        '{"field": "customers.email", "row": "1", "value": "canary", "version": true}',
        '{"field": "customers.nothing", "row": "1", "value": "canary"}',
        '{"field": "customers.email", "row": "1", "value": "canary", "more": "x"}',
        '{"tenant": "elsewhere", "field": "customers.email", "row": "1", "value": "canary"}',
        '{"field": "customers.email", "value": "canary"}',
    ]
    done = guard("encrypt", lines="\n".join([good, *bad, good]) + "\n")
    answers = parsed(done)
    assert done.returncode == 8
    assert ["problem" in one for one in answers] == [False, *[True] * len(bad), False]
    assert [one["line"] for one in answers if "problem" in one] == list(range(2, 2 + len(bad)))
    assert "canary" not in done.stdout + done.stderr


def test_a_search_answers_tokens_of_every_live_version(guard):
    done = guard("search", lines='{"field": "customers.email", "value": "ana@example.org"}\n')
    assert done.returncode == 0, done.stderr
    ((answer),) = parsed(done)
    assert answer["index"] == "exact"
    assert answer["tokens"]


@pytest.mark.parametrize("line", ["no json", '["a"]', '{"value": NaN}', '{"a": 1e999}', "[" * 60_000, '"text"'])
def test_what_is_no_line_is_told_in_the_same_words_by_every_verb(guard, dev, line):
    fields = parsed(guard("encrypt", lines=line + "\n"))
    tokens = [json.loads(one) for one in dev.run("tokens", "issue", stdin=line.encode() + b"\n").stdout.splitlines()]
    assert fields == tokens
    assert fields[0]["problem"]["detail"].startswith("Expected a JSON object")
