"""The size budget: files and functions that fit a reader's head, documented, tested by real parts."""

import ast
import io
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterator

import pytest

FILE_MEDIAN_LINES, FILE_MAX_LINES = 150, 500
FUNCTION_MEDIAN_LINES, FUNCTION_P90_LINES, FUNCTION_MAX_LINES = 10, 30, 70
DOCUMENTED_SHARE, TEST_LINES_PER_CODE_LINE, MOCKS_PER_TEST = 0.90, 1.3, 0.1
EMPTY_FILE_LINES = 3
"""A file up to this long is a package's first sentence and would only flatter the median."""
MOCKS = {"Mock", "MagicMock", "AsyncMock", "monkeypatch", "mocker", "patch"}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of *function* without its docstring and its decorators."""
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return total
    docstring = function.body[0]
    return total - (docstring.end_lineno - docstring.lineno + 1)


def function_lengths(tree: ast.AST) -> dict[str, int]:
    """Length of each function in *tree*, by name and line."""
    return {f"{node.name}:{node.lineno}": lines_of(node) for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}


def public_parts(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield each public function, class and method with whether it has a docstring."""
    for node in tree.body:
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)) or node.name.startswith("_"):
            continue
        yield node.name, ast.get_docstring(node) is not None
        for inner in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(inner, (*FUNCTIONS, ast.ClassDef)) and not inner.name.startswith("_"):
                yield f"{node.name}.{inner.name}", ast.get_docstring(inner) is not None


def mocks_in(text: str) -> int:
    """How many names in *text* stand for a mocking tool; strings and comments do not count."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.NAME and token.string in MOCKS for token in tokens)


def percentile_90(values: list[int]) -> int:
    return sorted(values)[int(len(values) * 0.9)]


def longest(lengths: dict[str, int]) -> str:
    return ", ".join(f"{name} {lines}" for name, lines in Counter(lengths).most_common(6))


@pytest.fixture(scope="module")
def file_lines(modules):
    lines = {module.where: module.text.count("\n") for module in modules}
    return {name: count for name, count in lines.items() if count > EMPTY_FILE_LINES}


@pytest.fixture(scope="module")
def function_lines(modules):
    return {f"{m.where}:{name}": lines for m in modules for name, lines in function_lengths(m.tree).items()}


@pytest.fixture(scope="module")
def tests(sources):
    return [module for module in sources if module.name.split(".")[0] == "tests"]


def test_files_are_short(file_lines):
    highest, median = max(file_lines.values()), statistics.median(file_lines.values())
    assert highest <= FILE_MAX_LINES, longest(file_lines)
    assert median <= FILE_MEDIAN_LINES, longest(file_lines)


def test_functions_are_short(function_lines):
    values = list(function_lines.values())
    highest, high, median = max(values), percentile_90(values), statistics.median(values)
    assert highest <= FUNCTION_MAX_LINES, longest(function_lines)
    assert high <= FUNCTION_P90_LINES, longest(function_lines)
    assert median <= FUNCTION_MEDIAN_LINES, longest(function_lines)


def test_public_parts_are_documented(modules):
    parts = {f"{m.where}: {name}": told for m in modules for name, told in public_parts(m.tree)}
    silent = [name for name, told in parts.items() if not told]
    assert 1 - len(silent) / len(parts) >= DOCUMENTED_SHARE, "\n".join(silent)


def test_there_is_more_test_than_code(modules, tests):
    code = sum(module.text.count("\n") for module in modules)
    test = sum(module.text.count("\n") for module in tests)
    assert test / code >= TEST_LINES_PER_CODE_LINE, f"{test} lines of tests for {code} lines of code"


def test_parts_are_real_and_not_mocked(tests):
    count = sum(
        node.name.startswith("test_") for m in tests for node in ast.walk(m.tree) if isinstance(node, FUNCTIONS)
    )
    mocks = {module.where: mocks_in(module.text) for module in tests}
    assert sum(mocks.values()) / count <= MOCKS_PER_TEST, longest(mocks)


def test_the_measure_leaves_docstrings_and_decorators_out():
    text = "@first\n@second\ndef f():\n    '''One.\n\n    Two.\n    '''\n    a = 1\n    return a\n"
    assert function_lengths(ast.parse(text)) == {"f:3": 3}


def test_the_measure_finds_silent_parts_and_passes_private_ones():
    text = "class A:\n    '''Told.'''\n    def f(self): ...\n    def _g(self): ...\ndef _h(): ...\n"
    assert dict(public_parts(ast.parse(text))) == {"A": True, "A.f": False}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("def test(monkeypatch): pass\n", 1),
        ("from unittest.mock import Mock, patch\n", 2),
        ("# a patch of land\nword = 'patch'\n", 0),
    ],
)
def test_the_measure_counts_mocks_and_not_words(text, count):
    assert mocks_in(text) == count
