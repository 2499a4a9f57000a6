import pytest

from tests.detect.shipping import Shipper
from tests.world import START_US, world


@pytest.fixture(scope="session")
def apache_log(conformance):
    """10,000 real lines."""
    return conformance("logs/apache_logs").read_bytes().removesuffix(b"\n").split(b"\n")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One guard; each test has a tenant of its own."""
    with world(tmp_path_factory.mktemp("shared") / "home") as made:
        yield made


@pytest.fixture
def place(shared):
    """The shared guard, at the time when the world began."""
    shared.clock.now_us = START_US
    return shared


@pytest.fixture
def shipper(place):
    return Shipper(place)
