"""The checkout as the house rules see it: its files, and each module of guard parsed once."""

import ast
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
UNTRACKED = {".git", ".venv", ".guard", "dist", "__pycache__"}
"""Folders that no version control holds; consulted only where the checkout has no git."""


@dataclass(frozen=True)
class Module:
    """One Python file: its dotted name, its text and its syntax tree."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @cached_property
    def imports(self) -> frozenset[str]:
        """Absolute names of all that the file imports, wherever in it; `from a import b` counts as `a.b`."""
        return frozenset(imported(self.tree, self.package))

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the absolute dotted name of each import in *tree*, a part of *package*."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*base, node.module] if node.module else base)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def listed() -> list[Path]:
    """Every file that is, or on the next commit may be, part of the repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        output = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        return [path for path in ROOT.rglob("*") if path.is_file() and not UNTRACKED & set(path.parts)]
    return [path for name in output.split("\0") if name and (path := ROOT / name).is_file()]


def parse(path: Path) -> Module:
    """The module in *path*."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """All files of the repository, sorted."""
    return sorted(listed())


@pytest.fixture(scope="session")
def sources(files: list[Path]) -> list[Module]:
    """All Python files of the repository, tests too."""
    return [parse(path) for path in files if path.suffix == ".py"]


@pytest.fixture(scope="session")
def modules(sources: list[Module]) -> list[Module]:
    """The modules of guard; migrations have their tool's form and are left out."""
    return [module for module in sources if module.name.split(".")[0] == "guard" and "migrations" not in module.name]


@pytest.fixture(scope="session")
def parsed() -> Callable[[str], tuple[ast.Module, frozenset[str]]]:
    """`parsed(text)` gives the tree and the imports of *text*, read as a module of `guard.vault`."""

    def parse_text(text: str) -> tuple[ast.Module, frozenset[str]]:
        tree = ast.parse(text)
        return tree, frozenset(imported(tree, "guard.vault"))

    return parse_text
