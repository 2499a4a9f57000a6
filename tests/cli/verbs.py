"""Every verb of the command line, as the command itself lists them."""

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from guard.cli.main import app

EXAMPLE = re.compile(r"Example: (.+?)\s*$", re.MULTILINE)


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _walk(inner, (*path, name))
    else:
        yield " ".join(path), command


VERBS = dict(_walk(typer.main.get_command(app), ()))


def example(verb: str) -> str:
    """The example in the verb's help."""
    found = EXAMPLE.findall(VERBS[verb].help)
    assert len(found) == 1, f"{verb} has {len(found)} examples"
    return found[0]
