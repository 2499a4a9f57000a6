"""Findings: how they read, and that their codes stay."""

import pytest

from guard.errors import InvalidPlan
from guard.runbook.finding import Code, Finding, Severity, dotted, invalid
from guard.runbook.reader import Node, nearest, quoted
from guard.runbook.text import load

FINDING = Finding(Code.CYCLE, Severity.ERROR, "runbooks/a.yaml", 12, "steps.a.next.success", "It turns in a circle.")

# Codes stand in suppression lists and in other people's pipelines: one may be added here, none taken away.
PUBLISHED = """
YAML_INVALID DUPLICATE_KEY KEY_NOT_TEXT TAG_REFUSED ANCHOR_REFUSED ALIAS_REFUSED NUMBER_REFUSED TOO_LARGE TOO_DEEP
SHAPE KEY_UNKNOWN KEY_MISSING KIND_UNKNOWN
DANGLING_REF UNREACHABLE CYCLE NO_END ROLE_UNDEFINED APPROVAL_IMPOSSIBLE DEADLINE_NO_LADDER TEXT_MISSING
EFFECT_UNPROVEN OPERATION_UNKNOWN FORM_INVALID VAR_UNDECLARED SECRET_LITERAL STEP_LIMIT
"""


def test_codes_are_never_taken_away():
    assert {code.value for code in Code} == set(PUBLISHED.split())


def test_a_finding_reads_like_a_compiler_message():
    assert str(FINDING) == "runbooks/a.yaml:12: error CYCLE It turns in a circle."
    assert FINDING.to_json() == {
        "code": "CYCLE",
        "severity": "error",
        "place": "runbooks/a.yaml:12",
        "file": "runbooks/a.yaml",
        "line": 12,
        "path": "steps.a.next.success",
        "message": "It turns in a circle.",
    }


@pytest.mark.parametrize(("count", "tail"), [(1, ""), (2, " (and 1 more)"), (7, " (and 6 more)")])
def test_the_error_says_the_first_and_counts_the_rest(count, tail):
    error = invalid([FINDING] * count)
    assert isinstance(error, InvalidPlan)
    assert error.detail == "runbooks/a.yaml:12: It turns in a circle." + tail
    assert len(error.extra["findings"]) == count
    assert error.hint


def test_paths_are_dotted():
    assert dotted(("steps", "a", "with", 0)) == "steps.a.with.0"
    assert dotted(()) == ""


@pytest.mark.parametrize(
    ("word", "clause"),
    [
        ("opration", " Did you mean 'operation'?"),
        ("operation ", " Did you mean 'operation'?"),
        ("nxt", " Did you mean 'next'?"),
        ("something else", ""),
        ("", ""),
        ("o" * 100_000, ""),
    ],
)
def test_the_nearest_known_word(word, clause):
    assert nearest(word, ["kind", "operation", "next"]) == clause


@pytest.mark.parametrize(
    ("word", "shown"),
    [("name", "'name'"), ("a\nb\x1b[2Jc", "'ab[2Jc'"), ("x" * 100, "'" + "x" * 64 + "'"), ("\u202ename", "'name'")],
)
def test_a_foreign_word_cannot_write_into_a_log(word, shown):
    assert quoted(word) == shown


class TestNode:
    """What each reading method takes, and what it leaves behind otherwise."""

    def node(self, text):
        return Node.root(load(text, "a.yaml"))

    def faults(self, node):
        return [(fault.code.value, fault.path) for fault in node.faults]

    def test_a_wrong_root_reads_as_empty(self):
        node = self.node("- a\n")
        assert node.content == {}
        assert self.faults(node) == [("SHAPE", "")]

    @pytest.mark.parametrize(("text", "value"), [("n: 3", 3), ("n: 1", 1), ("m: 1", 2)])
    def test_whole_numbers(self, text, value):
        node = self.node(text)
        assert node.whole("n", 1, 3, 2) == value
        assert self.faults(node) == []

    @pytest.mark.parametrize("text", ["n: 0", "n: 4", "n: true", "n: '2'", "n: [2]", "n: null"])
    def test_no_whole_numbers(self, text):
        node = self.node(text)
        assert node.whole("n", 1, 3, 2) == 2
        assert self.faults(node) == [("SHAPE", "n")]

    @pytest.mark.parametrize(
        ("text", "value", "wrong"), [("f: true", True, 0), ("f: false", False, 0), ("f: yes", False, 1)]
    )
    def test_flags(self, text, value, wrong):
        node = self.node(text)
        assert node.flag("f") is value
        assert len(node.faults) == wrong

    def test_texts_by_locale(self):
        node = self.node("t: {en: Hello, zh: 你好, zh-Hant: 您好, English: x, fr: 5}\nu: text\n")
        assert node.locales("t") == {"en": "Hello", "zh": "你好", "zh-Hant": "您好"}
        assert node.locales("u") == {}
        assert node.locales("missing") == {}
        assert self.faults(node) == [("KEY_UNKNOWN", "t.English"), ("SHAPE", "t.fr"), ("SHAPE", "u")]

    def test_too_long_a_text(self):
        node = self.node("t:\n  en: |\n" + "    word\n" * 900)
        assert node.locales("t") == {}
        assert self.faults(node) == [("SHAPE", "t.en")]
