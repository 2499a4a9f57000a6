import pytest


@pytest.fixture(scope="session")
def apache_log(conformance):
    """10,000 real lines."""
    return conformance("logs/apache_logs").read_bytes().removesuffix(b"\n").split(b"\n")
