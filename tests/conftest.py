"""What every room's tests share: programs, conformance data, free ports, and the law that CI skips nothing.

Law: a test whose program is missing skips with a plain reason; under `GUARD_TEST_REQUIRE=all` that skip is a failure,
so a CI machine without nginx cannot look green. Conformance data are not part of the repository: where the checkout
has none beside it and `GUARD_CONFORMANCE` is unset, their absence stays a skip even then.
"""

import os
import shutil
import socket
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Debian keeps servers in sbin, which a user's PATH often lacks."""


def required() -> bool:
    """Is a skip a failure in this run?"""
    return os.environ.get("GUARD_TEST_REQUIRE") == "all"


def conformance_folder() -> Path:
    """Where conformance data would lie: `GUARD_CONFORMANCE`, else beside the checkout."""
    return Path(os.environ.get("GUARD_CONFORMANCE") or ROOT.parent / "shared" / "conformance")


def conformance_expected() -> bool:
    """Was the data promised, by the variable or by a folder in the usual place?"""
    return bool(os.environ.get("GUARD_CONFORMANCE")) or conformance_folder().is_dir()


def find_program(program: str) -> Path:
    """Path of *program*; skips the running test where the machine has none."""
    found = shutil.which(program, path=SYSTEM_PATH)
    if found is None:
        pytest.skip(f"this test needs the program {program}, which is not installed")
    return Path(found)


@pytest.fixture(scope="session")
def need() -> Callable[[str], Path]:
    """`need("nginx")` gives the program's path, or skips the test with a plain reason."""
    return find_program


@pytest.fixture(scope="session")
def conformance() -> Callable[[str], Path]:
    """`conformance("merkle")` gives the folder of that name in the conformance data, or skips the test."""

    def folder(name: str) -> Path:
        path = conformance_folder() / name
        if not path.exists():
            pytest.skip(f"this test needs the conformance data {name}, and GUARD_CONFORMANCE names none")
        return path

    return folder


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """`free_port()` gives a port of 127.0.0.1 that nothing listens on at this moment."""

    def port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return port


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where skips are refused. An expected failure is no skip."""
    if not (required() and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if "conformance" in reason.lower() and not conformance_expected():
        return
    report.outcome = "failed"
    report.longrepr = f"GUARD_TEST_REQUIRE=all refuses skips. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test fails where skips are refused."""
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that skips itself fails where skips are refused."""
    report = yield
    refuse_skip(report)
    return report
