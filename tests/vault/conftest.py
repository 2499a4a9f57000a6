import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guard.vault.envelope import SuiteId
from guard.vault.keys import KeyVersion, Secret
from guard.vault.suites import SUITES
from guard.vault.versions import State
from tests.vault.peers import Peers, peers
from tests.vault.shop import Shop, Table, source_of, world

MakeKey = Callable[..., KeyVersion]


@pytest.fixture(scope="session")
def make_key() -> MakeKey:
    """A key version with random material of the right length; every part can be given."""

    def make(suite: SuiteId = SuiteId.CBL256, **parts: object) -> KeyVersion:
        given: dict[str, object] = {
            "key_id": secrets.token_bytes(8),
            "name": "users.email",
            "tenant": "acme",
            "version": 1,
            "state": State.ACTIVE,
            "material": Secret(secrets.token_bytes(SUITES[suite].key_bytes), "users.email version 1"),
        } | parts
        return KeyVersion(suite=suite, **given)  # type: ignore[arg-type]  # tests give parts by name

    return make


@pytest.fixture(scope="session")
def conformance() -> Path:
    root = Path(__file__).resolve().parents[2]
    path = Path(os.environ.get("GUARD_CONFORMANCE", root / "../shared/conformance"))
    if not path.is_dir():
        pytest.skip(f"no conformance data at {path}; set GUARD_CONFORMANCE")
    return path


@pytest.fixture(scope="session")
def custody_peers(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Peers]:
    """SoftHSM2, a KMS and OpenBao, each started when it is first asked for and ended with the session."""
    with peers(tmp_path_factory.mktemp("peers"), free_port) as made:
        yield made


@pytest.fixture
def table(tmp_path):
    """An application's table of customers."""
    return Table(tmp_path / "app.db")


@pytest.fixture
def shop(tmp_path, table):
    """A guard that knows that table, and its people."""
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        yield Shop(made)
