import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def conformance():
    """The folder of conformance data, which is no part of this repository."""
    folder = Path(os.environ.get("GUARD_CONFORMANCE", ROOT / "../shared/conformance"))
    if not folder.is_dir():
        pytest.skip("conformance data is not there; set GUARD_CONFORMANCE to its folder")
    return folder


@pytest.fixture(scope="session")
def apache_log(conformance):
    """10,000 real lines."""
    path = conformance / "logs" / "apache_logs"
    if not path.is_file():
        pytest.skip("logs/apache_logs is not among the conformance data")
    return path.read_bytes().removesuffix(b"\n").split(b"\n")
