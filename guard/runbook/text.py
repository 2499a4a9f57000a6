"""Strict YAML 1.2 for plans: core-schema scalars, no tags, anchors, aliases, directives or repeated keys.

Law: a document means what a reader sees. In YAML 1.1 `no` is false, `12:30` is 750 and of two equal keys the last wins;
here `no` and `12:30` stay text and a repeated key is a fault with its line (YAML 1.2.2 sections 3.2.1.3 and 10.3.2).
Built from the event stream with an own stack, so depth is bounded before memory is. Pure.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from guard.errors import InvalidPlan
from guard.runbook.finding import MAX_FINDINGS, Code, Finding, Path, Severity, dotted, invalid

MAX_CHARACTERS: Final = 2_000_000
"""Holds a plan of 5,000 steps in two languages; the scanner takes about six seconds for it."""
MAX_DEPTH: Final = 32
"""A plan needs seven levels; nesting in flow style costs the scanner more than linear time."""
MAX_LINE_CHARACTERS: Final = 20_000
"""A paragraph fits; within one line the scanner's work on tags and flow keys grows with the square of its length."""
MAX_DIGITS: Final = 16
"""2^53-1 has sixteen digits; longer numbers are refused before they are converted."""
MAX_INTEGER: Final = 2**53 - 1

_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FRACTION: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Document:
    """The value of a file (null, bool, int, str, list, dict) and the line of each part of it, counted from 1."""

    file: str
    value: object
    lines: Mapping[Path, int] = field(repr=False)

    def line(self, path: Path) -> int:
        """The line of *path*, or of the nearest part around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is being filled; `key` is set while the value of a mapping is awaited."""

    path: Path
    content: dict[str, object] | list[object]
    key: str | None = None


def load(text: str, file_name: str) -> Document:
    """The one document in *text*; *file_name* is for messages only and is not opened.

    Raises:
        InvalidPlan: not YAML 1.2, not exactly one document, too large or too deep, or one of the refused constructs;
            `extra["findings"]` lists at most 100 with file and line.
    """
    _check_size(text, file_name)
    builder = _Builder(file_name)
    for event in _events(text, file_name):
        builder.take(event)
    return builder.finish()


def _check_size(text: str, file_name: str) -> None:
    line, message = 1, ""
    if len(text) > MAX_CHARACTERS:
        message = f"A plan has at most {MAX_CHARACTERS} characters; {len(text)} came. Split it."
    else:
        longest = max(text.splitlines(), key=len, default="")
        if len(longest) > MAX_LINE_CHARACTERS:
            line = text.splitlines().index(longest) + 1
            message = f"A line of a plan has at most {MAX_LINE_CHARACTERS} characters; {len(longest)} came. Break it."
    if message:
        raise invalid([Finding(Code.TOO_LARGE, Severity.ERROR, file_name, line, "", message)])


def _events(text: str, file_name: str) -> Iterator[events.Event]:
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 2)
    try:
        yield from reader.parse(text)
    except ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        raise _unreadable(file_name, line, "a control character or lone surrogate stands here") from None
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        raise _unreadable(file_name, mark.line + 1 if mark else 1, str(fault.problem or fault.context)) from None
    except YAMLError:
        raise _unreadable(file_name, 1, "the text cannot be scanned") from None


def _unreadable(file_name: str, line: int, problem: str) -> InvalidPlan:
    message = f"A plan is one YAML 1.2 document; this is not readable as one: {problem}."
    return invalid([Finding(Code.YAML_INVALID, Severity.ERROR, file_name, line, "", message)])


class _Builder:
    """Turns events into values without recursion, noting lines and refused constructs."""

    def __init__(self, file_name: str) -> None:
        self.file = file_name
        self.stack: list[_Frame] = []
        self.lines: dict[Path, int] = {}
        self.findings: list[Finding] = []
        self.root: object = None
        self.documents = 0

    def take(self, event: events.Event) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, events.DocumentStartEvent):
            self._begin(event, line)
        elif isinstance(event, events.AliasEvent):
            self._fault(Code.ALIAS_REFUSED, line, "Aliases are refused in plans; write the value out.")
            self._put(None, line)
        elif isinstance(event, events.ScalarEvent):
            self._marks(event, line)
            self._put(event.value if not event.implicit[0] else self._plain(event.value, line), line)
        elif isinstance(event, events.MappingStartEvent | events.SequenceStartEvent):
            self._marks(event, line)
            self._open({} if isinstance(event, events.MappingStartEvent) else [], line)
        elif isinstance(event, events.MappingEndEvent | events.SequenceEndEvent):
            frame = self.stack.pop()
            self._put(frame.content, self.lines[frame.path], frame.path)

    def finish(self) -> Document:
        if self.documents == 0:
            self._fault(Code.YAML_INVALID, 1, "A plan is one YAML document; the file is empty.")
        if self.findings:
            raise invalid(self.findings)
        return Document(self.file, self.root, self.lines)

    def _begin(self, event: events.DocumentStartEvent, line: int) -> None:
        self.documents += 1
        if self.documents > 1:
            self._fault(Code.YAML_INVALID, line, "A plan is one YAML document; a second one begins here.")
        if event.version is not None or event.tags:
            self._fault(Code.YAML_INVALID, line, "Directives are refused in plans; remove the line that begins with %.")

    def _marks(self, event: events.ScalarEvent | events.CollectionStartEvent, line: int) -> None:
        if event.anchor is not None:
            self._fault(
                Code.ANCHOR_REFUSED, line, "Anchors are refused in plans; write the value out where it is used."
            )
        if event.tag is not None:
            self._fault(Code.TAG_REFUSED, line, "Tags are refused in plans; quote what is meant as text.")

    def _open(self, content: dict[str, object] | list[object], line: int) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self._fault(Code.TOO_DEEP, line, f"A plan is nested at most {MAX_DEPTH} deep; this goes deeper.")
            raise invalid(self.findings)
        path = self._path_of_next()
        if self._awaits_key():
            self._fault(Code.KEY_NOT_TEXT, line, "A key is text; a list or mapping stands here as one.")
            raise invalid(self.findings)
        self.lines.setdefault(path, line)
        self.stack.append(_Frame(path, content))

    def _put(self, value: object, line: int, path: Path | None = None) -> None:
        """Place a finished value (or a key) into the innermost open list or mapping."""
        if not self.stack:
            self.root = value
            self.lines.setdefault((), line)
            return
        frame = self.stack[-1]
        if isinstance(frame.content, list):
            self.lines.setdefault(path or (*frame.path, len(frame.content)), line)
            frame.content.append(value)
        elif frame.key is None:
            frame.key = self._key(frame.content, value, line, frame.path)
        else:
            frame.content[frame.key] = value
            frame.key = None

    def _key(self, content: dict[str, object], value: object, line: int, path: Path) -> str:
        if not isinstance(value, str):
            self._fault(Code.KEY_NOT_TEXT, line, "A key is text; put it in quotes.", path)
            return f"line {line}"
        if value in content:
            first = self.lines[(*path, value)]
            self._fault(
                Code.DUPLICATE_KEY, line, f"A key stands once in a mapping; this one is on line {first} too.", path
            )
        self.lines.setdefault((*path, value), line)
        return value

    def _awaits_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].content, dict) and self.stack[-1].key is None

    def _path_of_next(self) -> Path:
        if not self.stack:
            return ()
        frame = self.stack[-1]
        last = len(frame.content) if isinstance(frame.content, list) else frame.key
        return frame.path if last is None else (*frame.path, last)

    def _plain(self, word: str, line: int) -> object:
        """An unquoted scalar after the core schema, YAML 1.2.2 section 10.3.2."""
        if word in _WORDS:
            return _WORDS[word]
        if _INTEGER.fullmatch(word):
            number = _integer(word)
            if number is None:
                self._fault(
                    Code.NUMBER_REFUSED, line, "A number in a plan is at most 2^53-1; put longer ones in quotes."
                )
            return number
        if _FRACTION.fullmatch(word):
            self._fault(Code.NUMBER_REFUSED, line, "Numbers in plans have no fraction; put it in quotes.")
            return None
        return word

    def _fault(self, code: Code, line: int, message: str, path: Path | None = None) -> None:
        where = dotted(self._path_of_next() if path is None else path)
        self.findings.append(Finding(code, Severity.ERROR, self.file, line, where, message))
        if len(self.findings) >= MAX_FINDINGS:
            raise invalid(self.findings)


def _integer(word: str) -> int | None:
    if len(word) > MAX_DIGITS + 2:  # two for a sign or a prefix
        return None
    number = int(word[2:], {"0o": 8, "0x": 16}[word[:2]]) if word[:2] in {"0o", "0x"} else int(word)
    return number if abs(number) <= MAX_INTEGER else None
