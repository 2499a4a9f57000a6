"""One `guard dev` for the tests of the SDK."""

import pytest

from guard.client import Client, discover
from tests.cli.processes import Server


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """A running `guard dev`."""
    with Server(tmp_path_factory.mktemp("client") / "home") as server:
        yield server


@pytest.fixture
def client(dev):
    """The SDK as a developer has it."""
    with Client(discover(dev.home)) as made:
        yield made


@pytest.fixture
def admin(dev):
    """The SDK as the platform's administrator has it."""
    with Client(discover(dev.home, "admin")) as made:
        yield made
