"""Takes a loaded document apart by key, and collects every fault instead of stopping at the first.

Law: a key that is not known is refused with the nearest known one, so a misspelt rule never silently does nothing.
Pure.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from guard.runbook.finding import MAX_FINDINGS, Code, Finding, Path, Severity, dotted, invalid
from guard.runbook.text import Document

MAX_COMPARED_CHARACTERS: Final = 64
"""Known names are shorter; comparing costs the product of both lengths."""
MAX_TEXT_CHARACTERS: Final = 4000
"""A step that needs more than two pages is two steps."""

LOCALE: Final = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})?", re.ASCII)


def nearest(word: str, known: Sequence[str]) -> str:
    """A clause with the most similar known word, or an empty text."""
    close = difflib.get_close_matches(word[:MAX_COMPARED_CHARACTERS], known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def quoted(word: str) -> str:
    """*word* for a message: cut to what a name may be, control characters left out."""
    return "'" + "".join(sign for sign in word[:MAX_COMPARED_CHARACTERS] if sign.isprintable()) + "'"


@dataclass(frozen=True, slots=True)
class Node:
    """One mapping of a document. Absent or wrong parts read as their default and leave a fault behind."""

    document: Document
    path: Path
    content: Mapping[str, object]
    faults: list[Finding] = field(repr=False)

    @classmethod
    def root(cls, document: Document) -> "Node":
        """The outermost mapping of *document*."""
        node = cls(document, (), {}, [])
        return node._mapping((), document.value)

    def fault(self, code: Code, path: Path, message: str) -> None:
        """Note a fault at *path*, which counts from the root.

        Raises:
            InvalidPlan: it is the hundredth.
        """
        line = self.document.line(path)
        self.faults.append(Finding(code, Severity.ERROR, self.document.file, line, dotted(path), message))
        if len(self.faults) >= MAX_FINDINGS:
            raise invalid(self.faults)

    def only(self, known: Sequence[str], required: Sequence[str] = ()) -> None:
        """Refuse keys outside *known* and note the *required* ones that are absent."""
        for key in self.content:
            if key not in known:
                message = f"{quoted(key)} is no key here; known: {', '.join(known)}.{nearest(key, known)}"
                self.fault(Code.KEY_UNKNOWN, (*self.path, key), message)
        for key in required:
            if key not in self.content:
                self.fault(Code.KEY_MISSING, self.path, f"The key '{key}' is missing here; add it.")

    def text(self, key: str, form: re.Pattern[str], what: str, default: str = "") -> str:
        """The text under *key* if it has the *form*; *what* describes the form to people."""
        if key not in self.content:
            return default
        return self._text((*self.path, key), self.content[key], form, what) or default

    def converted(self, key: str, convert: Callable[[str], int | None], what: str) -> int:
        """The number that *convert* makes of the text under *key*; 0 if there is none."""
        value = self.content.get(key)
        number = convert(value) if isinstance(value, str) else None
        if number is None and key in self.content:
            self.fault(Code.SHAPE, (*self.path, key), f"'{key}' is {what}; something else came.")
        return number or 0

    def whole(self, key: str, low: int, high: int, default: int) -> int:
        """The integer under *key* between *low* and *high*."""
        value = self.content.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.fault(
            Code.SHAPE, (*self.path, key), f"'{key}' is a whole number from {low} to {high}; something else came."
        )
        return default

    def flag(self, key: str, default: bool = False) -> bool:
        """The boolean under *key*."""
        value = self.content.get(key, default)
        if isinstance(value, bool):
            return value
        self.fault(Code.SHAPE, (*self.path, key), f"'{key}' is true or false; something else came.")
        return default

    def names(self, key: str, form: re.Pattern[str], what: str, limit: int) -> tuple[str, ...]:
        """The list of texts of the given *form* under *key*, at most *limit*, none twice."""
        path, value = (*self.path, key), self.content.get(key, [])
        if not isinstance(value, list) or len(value) > limit:
            self.fault(Code.SHAPE, path, f"'{key}' is a list of at most {limit}; something else came.")
            return ()
        found = [self._text((*path, index), item, form, what) for index, item in enumerate(value)]
        if len(set(found)) < len(found):
            self.fault(Code.SHAPE, path, f"'{key}' names each entry once; one stands there twice.")
        return tuple(name for name in found if name)

    def locales(self, key: str) -> dict[str, str]:
        """The map of locale to text under *key*; absent reads as empty."""
        child = self.child(key)
        texts: dict[str, str] = {}
        for locale, text in child.content.items():
            path = (*child.path, locale)
            if not LOCALE.fullmatch(locale):
                self.fault(Code.KEY_UNKNOWN, path, f"{quoted(locale)} is no locale; write it as in 'en' or 'zh'.")
            elif not isinstance(text, str) or len(text) > MAX_TEXT_CHARACTERS:
                self.fault(
                    Code.SHAPE, path, f"A text has at most {MAX_TEXT_CHARACTERS} characters; something else came."
                )
            else:
                texts[locale] = text
        return texts

    def child(self, key: str) -> "Node":
        """The mapping under *key*; absent reads as empty."""
        return self._mapping((*self.path, key), self.content.get(key, {}))

    def children(self, form: re.Pattern[str], what: str, limit: int | None = None) -> Iterator[tuple[str, "Node"]]:
        """Each key of the given *form* with its mapping; at most *limit*, without one as many as the file holds."""
        if limit is not None and len(self.content) > limit:
            self.fault(Code.SHAPE, self.path, f"At most {limit} entries stand here; {len(self.content)} came.")
            return
        for key, value in self.content.items():
            if form.fullmatch(key):
                yield key, self._mapping((*self.path, key), value)
            else:
                self.fault(Code.SHAPE, (*self.path, key), f"{quoted(key)} is no {what}.")

    def _mapping(self, path: Path, value: object) -> "Node":
        if not isinstance(value, dict):
            self.fault(Code.SHAPE, path, "A mapping of keys to values is expected here; something else came.")
            value = {}
        return Node(self.document, path, value, self.faults)

    def _text(self, path: Path, value: object, form: re.Pattern[str], what: str) -> str:
        if isinstance(value, str) and form.fullmatch(value):
            return value
        came = "something else" if isinstance(value, str) else "no text (put it in quotes)"
        self.fault(Code.SHAPE, path, f"{what} is expected here; {came} came.")
        return ""
