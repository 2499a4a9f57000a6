"""YAML documents of a rule file, read strictly.

Law: a key that stands twice is refused (ordinary loading keeps the last one in silence), and so is a file whose
aliases unfold into more nodes than a person would write. YAML 1.2. No I/O.
"""

from collections.abc import Iterator
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from guard.errors import InvalidRule

MAX_FILE_CHARS: Final = 1 << 20
MAX_DOCUMENTS: Final = 1_000
MAX_NODES: Final = 100_000
"""Counted with aliases unfolded, so that a few lines of nested aliases cannot stand for millions of nodes."""


def read_documents(text: str, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The file's mappings with their number from 1; empty documents are passed over.

    Raises:
        InvalidRule: no YAML, a key twice, no mapping, or more than the limits above.
    """
    if len(text) > MAX_FILE_CHARS:
        raise InvalidRule(f"{file}: the file has {len(text)} characters; at most {MAX_FILE_CHARS} are read.", file=file)
    try:
        documents = list(YAML(typ="safe", pure=True).load_all(text))
    except YAMLError as error:
        raise InvalidRule(f"{file}: not valid YAML: {_problem(error)}.", file=file) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRule(f"{file}: not valid YAML: {type(error).__name__}.", file=file) from None
    if len(documents) > MAX_DOCUMENTS:
        raise InvalidRule(f"{file}: {len(documents)} documents; at most {MAX_DOCUMENTS} are read.", file=file)
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        if not isinstance(document, dict):
            raise InvalidRule(f"{file}: document {number} is a rule as a mapping, found other content.", file=file)
        if _nodes(document) > MAX_NODES:
            raise InvalidRule(f"{file}: document {number} unfolds into more than {MAX_NODES} nodes.", file=file)
        yield number, document


def _problem(error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return type(error).__name__


def _nodes(document: Any) -> int:
    """Nodes of the tree; stops counting beyond the limit, so that a cycle ends too."""
    count, stack = 0, [document]
    while stack and count <= MAX_NODES:
        node = stack.pop()
        count += 1
        if isinstance(node, dict):
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return count
