"""A skip is honest on a desk and a failure in CI: the law of tests/conftest.py, tried on a suite of its own."""

import os
import shutil
import subprocess
import sys

import pytest

SUITE = """
import pytest

def test_program(need):
    assert need({program!r})

def test_data(conformance):
    assert conformance("merkle").is_dir()

@pytest.mark.xfail(strict=True)
def test_expected_failure():
    assert False

def test_port(free_port):
    assert 0 < free_port() < 65536
"""
SKIPS_ITSELF = "import pytest\npytest.skip('this file needs nothing that is here', allow_module_level=True)\n"


@pytest.fixture
def suite(root, tmp_path):
    """Runs a small suite under the real conftest.py and gives pytest's outcome counts."""
    folder = tmp_path / "checkout" / "tests"
    folder.mkdir(parents=True)
    shutil.copy(root / "tests/conftest.py", folder)

    def run(text, **variables):
        (folder / "test_it.py").write_text(text, encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GUARD_", "PYTEST_"))}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(folder)]
        answer = subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=False, cwd=folder)
        return answer.stdout

    return run


def test_what_is_missing_is_skipped_with_its_name(suite):
    output = suite(SUITE.format(program="no-such-program"))
    assert "1 passed, 2 skipped, 1 xfailed" in output
    assert "needs the program no-such-program, which is not installed" in output
    assert "needs the conformance data merkle" in output


def test_a_missing_program_fails_where_all_is_required(suite):
    output = suite(SUITE.format(program="no-such-program"), GUARD_TEST_REQUIRE="all")
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed" in output
    assert "GUARD_TEST_REQUIRE=all refuses skips" in output


def test_missing_data_fail_where_they_were_promised(suite, tmp_path):
    output = suite(SUITE.format(program="sh"), GUARD_TEST_REQUIRE="all", GUARD_CONFORMANCE=str(tmp_path / "gone"))
    assert "1 failed, 2 passed, 1 xfailed" in output


def test_data_are_found_beside_the_checkout_and_by_the_variable(suite, tmp_path):
    for name in ("shared/conformance", "elsewhere"):
        (tmp_path / name / "merkle").mkdir(parents=True)
        variables = {"GUARD_CONFORMANCE": str(tmp_path / name)} if name == "elsewhere" else {}
        assert "3 passed, 1 xfailed" in suite(SUITE.format(program="sh"), GUARD_TEST_REQUIRE="all", **variables)


def test_a_file_that_skips_itself_fails_where_all_is_required(suite):
    assert "1 skipped" in suite(SKIPS_ITSELF)
    assert "1 error" in suite(SKIPS_ITSELF, GUARD_TEST_REQUIRE="all")
