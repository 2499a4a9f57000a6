"""Who may import whom, as far as the contracts in pyproject.toml cannot say it: libraries, plugins, light clients."""

import json
import subprocess
import sys
from collections.abc import Iterable

import pytest

OWNERS = {
    "alembic": ("guard.db",),
    "fastapi": ("guard.api", "guard.app", "guard.compat", "guard.console"),
    "sqlalchemy": ("guard.db", "*store"),
    "starlette": ("guard.api", "guard.app", "guard.compat", "guard.console"),
}
"""Libraries that only these may know; `*store` is any module whose name ends so. The rest uses what they offer."""

PLUGIN_FOLDERS = (
    "guard.vault.custody",
    "guard.audit.exports",
    "guard.detect.engines",
    "guard.detect.formats",
    "guard.detect.outputs",
    "guard.runbook.steps",
)

SERVER_LIBRARIES = ("apscheduler", "casbin", "fastapi", "sqlalchemy", "starlette")


def inside(name: str, package: str) -> bool:
    """Is *name* the module *package* or a part of it?"""
    return name == package or name.startswith(package + ".")


def owns(module: str, owners: Iterable[str]) -> bool:
    """May *module* use a library of these *owners*?"""
    return any(module.endswith(owner[1:]) if owner.startswith("*") else inside(module, owner) for owner in owners)


def strangers(module: str, imports: Iterable[str]) -> list[str]:
    """The libraries that *module* imports and does not own."""
    return [
        library
        for library, owners in OWNERS.items()
        if any(inside(name, library) for name in imports) and not owns(module, owners)
    ]


def siblings(module: str, imports: Iterable[str], names: Iterable[str]) -> list[str]:
    """The plugins among *names* that the plugin *module* imports, itself not counted."""
    folder = module.rpartition(".")[0]
    others = [name for name in names if name.rpartition(".")[0] == folder and name != module]
    return [other for other in others if any(inside(name, other) for name in imports)]


def test_libraries_are_known_to_their_owners_only(modules):
    found = {module.where: strangers(module.name, module.imports) for module in modules}
    assert {where: libraries for where, libraries in found.items() if libraries} == {}


@pytest.mark.parametrize("folder", PLUGIN_FOLDERS)
def test_plugins_do_not_know_one_another(modules, folder):
    plugins = [module for module in modules if module.package == folder and module.name != folder]
    names = [plugin.name for plugin in plugins]
    found = {plugin.where: siblings(plugin.name, plugin.imports, names) for plugin in plugins}
    assert {where: known for where, known in found.items() if known} == {}


@pytest.mark.parametrize("module", ["guard.client", "guard.cli.main"])
def test_the_client_and_the_cli_start_without_the_server(root, module):
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    loaded = json.loads(answer.stdout)
    assert [name for name in SERVER_LIBRARIES if name in loaded] == []


@pytest.mark.parametrize(
    ("module", "imports", "found"),
    [
        ("guard.gate", ["sqlalchemy.Connection"], ["sqlalchemy"]),
        ("guard.vault.operations", ["sqlalchemy"], ["sqlalchemy"]),
        ("guard.vault.store", ["sqlalchemy.select"], []),
        ("guard.detect.limitstore", ["sqlalchemy.select"], []),
        ("guard.db.schema", ["sqlalchemy.Table", "alembic.op"], []),
        ("guard.database", ["sqlalchemy.Table"], ["sqlalchemy"]),
        ("guard.gate", ["starlette.requests.Request", "fastapi"], ["fastapi", "starlette"]),
        ("guard.compat.authzen", ["starlette.requests.Request"], []),
        ("guard.gate", ["sqlalchemyish.select"], []),
    ],
)
def test_the_check_tells_owners_from_strangers(module, imports, found):
    assert strangers(module, imports) == found


def test_the_check_sees_a_plugin_that_knows_another():
    names = ["guard.detect.formats.nginx", "guard.detect.formats.apache", "guard.detect.outputs.nginx"]
    assert siblings(names[0], ["guard.detect.formats.apache.LINE"], names) == [names[1]]
    assert siblings(names[0], ["guard.detect.outputs.nginx", "guard.detect.formats"], names) == []
