"""A plugin is a module found by its file name; a name that is no file is refused with those there are."""

import pkgutil

import pytest

from guard import plugins
from guard.errors import InvalidSetting

FOLDERS = ("vault/custody", "detect/formats", "audit/sinks")


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_the_files_of_the_folder_sorted(folder):
    room, _, kind = folder.partition("/")
    package = __import__(f"guard.{room}.{kind}", fromlist=["_"])
    files = sorted(found.name for found in pkgutil.iter_modules(package.__path__))
    assert list(plugins.names(folder)) == files
    assert files


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_name_loads_its_own_module(folder):
    for name in plugins.names(folder):
        module = plugins.load(folder, name)
        assert module.__name__ == f"guard.{folder.replace('/', '.')}.{name}"
        assert module.__doc__


CUSTODY = ("aws_kms", "azure_kv", "file", "gcp_kms", "passphrase", "pkcs11", "shares", "slip39", "transit")


def test_the_names_of_this_release_are_these():
    assert plugins.names("vault/custody") == CUSTODY
    assert plugins.names("audit/sinks") == ("file", "syslog", "webhook")
    assert "combined" in plugins.names("detect/formats")


@pytest.mark.parametrize(
    "name",
    ["", "no-such", "File", "file.py", "../suites", "..suites", "file.", "os", "file\n", "__init__", "custody.file"],
)
def test_an_unknown_name_is_refused_with_those_there_are(name):
    with pytest.raises(InvalidSetting) as refusal:
        plugins.load("vault/custody", name)
    assert f"Expected one of {', '.join(CUSTODY)} for vault/custody, got {name!r}" in refusal.value.detail
    assert refusal.value.detail.endswith("correct the setting.")


def test_an_unknown_folder_is_a_defect_of_the_caller():
    with pytest.raises(ModuleNotFoundError):
        plugins.names("vault/no_such_folder")
