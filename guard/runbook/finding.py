"""What is wrong with a plan and where: one finding per fault, with a code that never changes its meaning.

Law: codes are append-only, and a message names keys, step names and places; the value that stands there is never quoted
unless it is a checked name, because a plan may hold a secret by mistake. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guard.errors import InvalidPlan

MAX_FINDINGS: Final = 100
"""Nobody repairs more at a time; the bound keeps the answer to a hostile file small."""

Path = tuple[str | int, ...]
"""Keys and list positions from the root of a document to one value."""


class Code(StrEnum):
    """Stable names of faults, for people, for continuous integration and for suppression lists."""

    # the text is no readable document
    YAML_INVALID = "YAML_INVALID"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    KEY_NOT_TEXT = "KEY_NOT_TEXT"
    TAG_REFUSED = "TAG_REFUSED"
    ANCHOR_REFUSED = "ANCHOR_REFUSED"
    ALIAS_REFUSED = "ALIAS_REFUSED"
    NUMBER_REFUSED = "NUMBER_REFUSED"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    # the document has not the shape of a plan
    SHAPE = "SHAPE"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    KEY_MISSING = "KEY_MISSING"
    KIND_UNKNOWN = "KIND_UNKNOWN"
    # the plan cannot be carried out as written
    DANGLING_REF = "DANGLING_REF"
    UNREACHABLE = "UNREACHABLE"
    CYCLE = "CYCLE"
    NO_END = "NO_END"
    ROLE_UNDEFINED = "ROLE_UNDEFINED"
    APPROVAL_IMPOSSIBLE = "APPROVAL_IMPOSSIBLE"
    DEADLINE_NO_LADDER = "DEADLINE_NO_LADDER"
    TEXT_MISSING = "TEXT_MISSING"
    EFFECT_UNPROVEN = "EFFECT_UNPROVEN"
    OPERATION_UNKNOWN = "OPERATION_UNKNOWN"
    FORM_INVALID = "FORM_INVALID"
    VAR_UNDECLARED = "VAR_UNDECLARED"
    SECRET_LITERAL = "SECRET_LITERAL"  # noqa: S105 -- the name of a finding
    STEP_LIMIT = "STEP_LIMIT"


class Severity(StrEnum):
    """An error keeps a plan from being stored; a warning is shown to the reviewer."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: `line` counts from 1; `path` is dotted, as in `steps.isolate.next.success`."""

    code: Code
    severity: Severity
    file: str
    line: int
    path: str
    message: str

    @property
    def place(self) -> str:
        """The form that editors and terminals make a link of: file and line."""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.severity} {self.code} {self.message}"

    def to_json(self) -> dict[str, str | int]:
        """Members `code`, `severity`, `place`, `file`, `line`, `path` and `message`."""
        return {
            "code": self.code.value,
            "severity": self.severity.value,
            "place": self.place,
            "file": self.file,
            "line": self.line,
            "path": self.path,
            "message": self.message,
        }


def dotted(path: Path) -> str:
    """A path as people write it."""
    return ".".join(str(part) for part in path)


def invalid(findings: Sequence[Finding]) -> InvalidPlan:
    """The error that carries at least one finding; its sentence is that of the first."""
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return InvalidPlan(
        f"{first.place}: {first.message}{more}",
        hint="Correct the places listed in findings and load the plan again.",
        findings=[finding.to_json() for finding in findings],
    )
