"""Reading a declared YAML file so that every refusal names its file and line.

Law: only plain YAML 1.2 mappings, lists, strings, integers and booleans pass. Duplicate keys, anchors, aliases, tags
and floats are refused: a reviewer must see what the loader sees, and an alias can grow a short file without bound.
"""

from dataclasses import dataclass
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from guard.errors import InvalidPolicy

MAX_CHARACTERS: Final = 256 * 1024
"""A table of 256 columns with indexes needs a tenth of it."""

_TAG: Final = "tag:yaml.org,2002:"
_SHOWN_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """One value with its place."""

    value: "str | int | bool | list[Entry] | dict[str, Entry] | None"
    file_name: str
    line: int

    def refuse(self, expected: str) -> InvalidPolicy:
        """The error that names this place, what was expected there and what came."""
        return refuse(self.file_name, self.line, f"expected {expected}; {self._came()} came")

    def mapping(self, required: frozenset[str], optional: frozenset[str] = frozenset()) -> "dict[str, Entry]":
        """The keys and values of a mapping that has all of `required` and nothing beyond `optional`.

        Raises:
            InvalidPolicy: it is none, or a key is unknown or missing.
        """
        found = self.open_mapping()
        for key, entry in found.items():
            if key not in required | optional:
                known = ", ".join(sorted(required | optional))
                raise refuse(
                    self.file_name, entry.line, f"expected one of the keys {known}; {key[:_SHOWN_CHARACTERS]!r} came"
                )
        missing = sorted(required - found.keys())
        if missing:
            raise refuse(self.file_name, self.line, f"expected the key {missing[0]!r} here; it is missing")
        return found

    def open_mapping(self) -> "dict[str, Entry]":
        """The keys and values of a mapping with names of the author's choice; InvalidPolicy if it is none."""
        if not isinstance(self.value, dict):
            raise self.refuse("a mapping of keys to values")
        return self.value

    def items(self, limit: int) -> "list[Entry]":
        """The items of a list of at most `limit`; InvalidPolicy if it is none or longer."""
        if not isinstance(self.value, list) or len(self.value) > limit:
            raise self.refuse(f"a list of at most {limit} items")
        return self.value

    def text(self, expected: str = "a text") -> str:
        """A string; InvalidPolicy with `expected` if it is none."""
        if not isinstance(self.value, str):
            raise self.refuse(expected)
        return self.value

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`; InvalidPolicy if it is none."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            raise self.refuse(f"an integer from {low} to {high}")
        return self.value

    def flag(self) -> bool:
        """True or false; InvalidPolicy if it is none."""
        if not isinstance(self.value, bool):
            raise self.refuse("true or false")
        return self.value

    def _came(self) -> str:
        if isinstance(self.value, dict | list):
            return f"a {'mapping' if isinstance(self.value, dict) else 'list'} of {len(self.value)}"
        return "nothing" if self.value is None else repr(self.value)[:_SHOWN_CHARACTERS]


def refuse(file_name: str, line: int, sentence: str) -> InvalidPolicy:
    """An error that begins with the place."""
    return InvalidPolicy(f"{file_name}:{line}: {sentence}.", file=file_name, line=line)


def read(text: str, file_name: str) -> Entry:
    """The one document of a YAML text.

    Raises:
        InvalidPolicy: too long, not well-formed, more than one document, or anything that the law above refuses.
    """
    if len(text) > MAX_CHARACTERS:
        raise refuse(file_name, 1, f"expected at most {MAX_CHARACTERS} characters; {len(text)} came")
    try:
        node = YAML(typ="safe", pure=True).compose(text)
        if node is None:
            raise refuse(file_name, 1, "expected a mapping; an empty file came")
        return _entry(node, file_name)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise refuse(file_name, line, f"expected well-formed YAML; the reader says: {error.problem}") from None
    except YAMLError:
        raise refuse(file_name, 1, "expected UTF-8 text without control characters") from None
    except RecursionError:
        raise refuse(file_name, 1, "expected a few levels of nesting; far more came") from None


def _entry(node: Node, file_name: str) -> Entry:
    line = node.start_mark.line + 1
    if node.anchor is not None:
        raise refuse(file_name, line, f"expected every value written out; the anchor {node.anchor!r} came")
    if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
        return Entry(_mapping(node, file_name), file_name, line)
    if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
        return Entry([_entry(item, file_name) for item in node.value], file_name, line)
    if isinstance(node, ScalarNode):
        return Entry(_scalar(node, file_name, line), file_name, line)
    raise refuse(file_name, line, f"expected a plain value; the tag {node.tag} came")


def _mapping(node: MappingNode, file_name: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key = _entry(key_node, file_name)
        name = key.text("a key that is a text")
        if name in found:
            raise refuse(file_name, key.line, f"expected each key once; {name[:_SHOWN_CHARACTERS]!r} came twice")
        value = _entry(value_node, file_name)
        # The line of the key: that of an empty value, or of a value on the next line, would mislead.
        found[name] = Entry(value.value, file_name, key.line)
    return found


def _scalar(node: ScalarNode, file_name: str, line: int) -> str | int | bool | None:
    text: str = node.value
    if node.tag == f"{_TAG}str":
        return text
    if node.tag == f"{_TAG}null":
        return None
    if node.tag == f"{_TAG}bool":
        return text.lower() == "true"
    if node.tag == f"{_TAG}int" and text.isascii() and text.lstrip("-").isdigit() and len(text) < _SHOWN_CHARACTERS:
        return int(text)
    raise refuse(
        file_name, line, f"expected a text, a decimal integer, true or false; {text[:_SHOWN_CHARACTERS]!r} came"
    )
