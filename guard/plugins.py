"""A plugin is a module found by its file name: `guard/<room>/<folder>/<name>.py`. Nothing registers itself."""

import importlib
import pkgutil
from types import ModuleType

from guard.errors import InvalidSetting


def names(folder: str) -> tuple[str, ...]:
    """Names of the plugins in *folder* (`"vault/custody"`), sorted."""
    package = importlib.import_module("guard." + folder.replace("/", "."))
    return tuple(sorted(found.name for found in pkgutil.iter_modules(package.__path__)))


def load(folder: str, name: str) -> ModuleType:
    """The plugin module *name* of *folder*.

    Raises:
        InvalidSetting: there is no such plugin; the message lists those there are.
    """
    known = names(folder)
    if name not in known:
        raise InvalidSetting(f"Expected one of {', '.join(known)} for {folder}, got {name!r}; correct the setting.")
    return importlib.import_module("guard." + folder.replace("/", ".") + "." + name)
