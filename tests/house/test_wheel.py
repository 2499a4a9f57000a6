"""The wheel holds all that an installed guard needs, and nothing of the tests."""

import subprocess
import sys
import zipfile

import pytest

BUNDLED = {"policies": "guard/_bundled/policies", "runbooks": "guard/_bundled/runbooks"}


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Build without isolation, as `make venv` does: no package registry is asked."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def read(wheel, ending):
    (name,) = [name for name in wheel.namelist() if name.endswith(ending)]
    return wheel.read(name).decode()


@pytest.mark.parametrize("folder", BUNDLED)
def test_policies_and_runbooks_travel_with_it(root, files, wheel, folder):
    ours = {path.relative_to(root / folder).as_posix() for path in files if path.is_relative_to(root / folder)}
    theirs = {name.removeprefix(BUNDLED[folder] + "/") for name in wheel.namelist() if name.startswith(BUNDLED[folder])}
    assert ours, f"{folder} is empty"
    assert ours - theirs == set()


def test_all_files_of_the_package_are_in(root, files, wheel):
    ours = {path.relative_to(root).as_posix() for path in files if path.is_relative_to(root / "guard")}
    assert ours - set(wheel.namelist()) == set()


def test_nothing_else_is_in(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if top != "guard" and not top.endswith(".dist-info")} == set()


def test_it_names_its_licence_and_its_command(wheel):
    assert "License-Expression: Apache-2.0" in read(wheel, ".dist-info/METADATA")
    assert "Apache License" in read(wheel, ".dist-info/licenses/LICENSE")
    assert "guard = guard.cli.main:main" in read(wheel, ".dist-info/entry_points.txt")
