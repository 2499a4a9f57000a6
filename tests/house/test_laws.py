"""The laws of a module: pure files reach no outside, one file reads the environment, two catch everything."""

import ast
from collections.abc import Iterable, Iterator

import pytest

OUTSIDE = {
    *("asyncio", "ftplib", "http.client", "http.server", "importlib", "logging", "os", "random", "secrets", "select"),
    *("selectors", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile"),
    *("time", "urllib.request", "apscheduler", "httpx2", "requests", "sqlalchemy", "structlog", "uvicorn"),
    *("pathlib.Path", "datetime.UTC.now", "io.open", "uuid.uuid1", "uuid.uuid4", "uuid.getnode"),
}
"""Modules and names that reach a file, a socket, a database, a log, a clock or randomness. PurePath reaches nothing."""

INSIDE = {"random.Random"}
"""A seeded generator is an argument like any other; without a seed it is randomness, which the calls below refuse."""

CALLS = {"open", "input", "print", "breakpoint"}
METHODS = {
    *("now", "utcnow", "today", "generate_key", "generate_private_key", "urandom"),
    *("read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "rglob", "mkdir", "unlink"),
}
"""`datetime.now`, `date.today`, `AESGCM.generate_key`, `Path.read_text` and their like."""

ROOMS = ("guard.vault", "guard.access", "guard.audit", "guard.detect", "guard.runbook")
PLUGIN_FOLDERS = {"custody", "engines", "exports", "formats", "outputs", "sinks", "steps"}
PURE = "No I/O"
DECLARATIONS = "guard.catalogue"
"""Its import brings the database's types and calls nothing, so purity is not followed through it."""
SHELLS = {
    "guard.audit.archive": "writes the exported log to its place on disk",
    "guard.audit.disk": "is the one way to immutable files",
    "guard.audit.courier": "carries checkpoints to witnesses",
    "guard.audit.tile_watch": "looks whether the files of the log are still there",
    "guard.audit.shelf": "writes the parts of an export to their places on disk",
    "guard.audit.stream": "logs for the operator which sink is lost or late",
    "guard.vault.custody_http": "carries wraps to key services, for the custody plugins",
    "guard.vault.memory": "asks the kernel to keep keys out of dumps and swap",
    "guard.vault.starting": "makes the home of a new store",
    "guard.audit.verifier.__main__": "runs alone, as a program",
    "guard.audit.verifier.command": "is the command of the verifier, which evidence carries as one file",
    "guard.audit.verifier.files": "reads the log that is verified",
    "guard.audit.verifier.stamps": "asks the program openssl about time-stamps",
}
"""Files of a room that reach outside although they are neither store nor plugin, with the reason."""

EVERYTHING = {"Exception", "BaseException"}
CATCHERS = ("guard.gate", "guard.worker")
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def prefixes(name: str) -> list[str]:
    """*name* and each package that it is part of."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def within(name: str, outside: Iterable[str]) -> bool:
    """Is *name*, or a package that it is part of, among *outside*?"""
    return any(prefix in outside for prefix in prefixes(name))


def calls_outside(tree: ast.AST) -> Iterator[str]:
    """Yield each call in *tree* that by its name reaches outside."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                yield f"{name}() in line {node.lineno}"
            case ast.Call(func=ast.Name(id="Random"), args=[]):
                yield f"Random() without a seed in line {node.lineno}"
            case ast.Call(func=ast.Attribute(attr=name)) if name in METHODS:
                yield f".{name}() in line {node.lineno}"
            case ast.Attribute(value=ast.Name(id="sys"), attr="stdin" | "stdout" | "stderr" | "argv"):
                yield f"sys.{node.attr} in line {node.lineno}"


def impurities(tree: ast.AST, imports: Iterable[str]) -> list[str]:
    """What in a module of this *tree* and these *imports* reaches outside."""
    names = sorted(set(imports) - INSIDE)
    return [*(f"import of {name}" for name in names if within(name, OUTSIDE)), *calls_outside(tree)]


def caught_whole(tree: ast.AST) -> list[int]:
    """Lines of *tree* that catch or suppress every exception."""
    lines = []
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=None):
                lines.append(node.lineno)
            case ast.ExceptHandler(type=ast.expr() as caught) if names_in(caught) & EVERYTHING:
                lines.append(node.lineno)
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=caught):
                lines += [node.lineno for each in caught if names_in(each) & EVERYTHING]
    return lines


def names_in(expression: ast.AST) -> set[str]:
    """Every name and attribute that *expression* mentions."""
    nodes = list(ast.walk(expression))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def environment_reads(tree: ast.AST) -> list[int]:
    """Lines of *tree* that read or change the environment, an option with `envvar=` included."""
    lines = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in ENVIRONMENT:
                lines.append(node.lineno)
            case ast.ImportFrom(module="os", names=names) if {alias.name for alias in names} & ENVIRONMENT:
                lines.append(node.lineno)
            case ast.keyword(arg="envvar"):
                lines.append(node.lineno)
    return lines


def reached(name: str, by_name) -> list:
    """The modules of guard that importing *name* runs, itself included."""
    seen, waiting = {}, [name]
    while waiting:
        module = by_name.get(waiting.pop())
        if module is None or module.name in seen:
            continue
        seen[module.name] = module
        if module.name != DECLARATIONS:
            waiting += [prefix for full in module.imports for prefix in prefixes(full)]
    return list(seen.values())


def in_room(name: str) -> bool:
    """Is *name* a file of a room that is neither its store, nor a plugin, nor a named shell?"""
    parts = name.split(".")
    outside = name.endswith("store") or PLUGIN_FOLDERS & set(parts) or name in SHELLS
    return ".".join(parts[:2]) in ROOMS and not outside


def allowed(name: str) -> set[str]:
    """What *name* may import of the outside: operations name files to the parts that read and write them."""
    return {"pathlib.Path"} if name.endswith("operations") else set()


def test_files_that_promise_no_io_reach_none_not_even_through_others(modules):
    by_name = {module.name: module for module in modules}
    pure = [module for module in modules if PURE in module.docstring]
    assert pure, f"no module says {PURE!r}; the rule would hold over nothing"
    found = {
        f"{module.where} through {other.where}": impurities(other.tree, other.imports)
        for module in pure
        for other in reached(module.name, by_name)
    }
    assert {where: reasons for where, reasons in found.items() if reasons} == {}


def test_rooms_leave_the_outside_to_stores_and_plugins(modules):
    found = {m.where: impurities(m.tree, m.imports - allowed(m.name)) for m in modules if in_room(m.name)}
    assert {where: reasons for where, reasons in found.items() if reasons} == {}


def test_each_named_shell_is_there_and_needs_its_exception(modules):
    shells = {m.name: impurities(m.tree, m.imports) for m in modules if m.name in SHELLS}
    assert shells.keys() == SHELLS.keys()
    assert [name for name, reasons in shells.items() if not reasons] == []


def test_only_the_gate_and_the_worker_catch_everything(modules):
    found = {m.where: caught_whole(m.tree) for m in modules if m.name not in CATCHERS}
    assert {where: lines for where, lines in found.items() if lines} == {}


def test_only_settings_reads_the_environment(modules):
    found = {m.where: environment_reads(m.tree) for m in modules if m.name != "guard.settings"}
    assert {where: lines for where, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "import os.path",
        "import socket as s",
        "from time import monotonic",
        "from pathlib import Path",
        "from uuid import uuid4",
        "import http.client",
        "from urllib.request import urlopen",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.date.today()",
        "open('a')",
        "print(1)",
        "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\nAESGCM.generate_key(256)",
        "import sys\nsys.stdout.write('a')",
        "def f():\n    import secrets",
        "from random import Random\nRandom().random()",
        "from random import random",
    ],
)
def test_the_check_sees_what_reaches_outside(parsed, text):
    assert impurities(*parsed(text))


@pytest.mark.parametrize(
    "text",
    [
        "from pathlib import PurePosixPath",
        "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)",
        "from uuid import UUID",
        "import io\nio.BytesIO()",
        "from urllib.parse import urlsplit",
        "import sys\nsys.intern('a')",
        "from random import Random\nRandom(7).random()",
        "now = 5\nprinted = now",
    ],
)
def test_the_check_passes_what_stays_inside(parsed, text):
    assert impurities(*parsed(text)) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("try: f()\nexcept: g()", 1),
        ("try: f()\nexcept Exception: g()", 1),
        ("try: f()\nexcept (ValueError, BaseException) as e: g()", 1),
        ("import builtins\ntry: f()\nexcept builtins.Exception: g()", 1),
        ("with contextlib.suppress(Exception): f()", 1),
        ("with suppress(KeyError): f()", 0),
        ("try: f()\nexcept (ValueError, KeyError): g()", 0),
        ("raise Exception", 0),
    ],
)
def test_the_check_sees_what_catches_everything(text, count):
    assert len(caught_whole(ast.parse(text))) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("import os\nos.environ['A']", 1),
        ("import os\nos.getenv('A')", 1),
        ("from os import environ", 1),
        ("typer.Option(envvar='GUARD_A')", 1),
        ("import os\nos.sep", 0),
        ("environ = {}\nenviron['A']", 0),
    ],
)
def test_the_check_sees_who_reads_the_environment(text, count):
    assert len(environment_reads(ast.parse(text))) == count
