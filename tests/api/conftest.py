"""A guard with everything switched on: two actors that may do all, one that may do nothing, and two live servers."""

import base64
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from guard.settings import Source, bundled
from tests.api.asking import Answer, Wire, ask
from tests.world import World, world

EVERYTHING = "\np, role:everything, *, **, *, allow\n"
LIMIT = 1 << 20


@dataclass
class Api:
    """A World with tokens of people who may do all (in two tenants), and of one who holds no role."""

    world: World
    full: str
    platform: str
    nobody: str

    def __call__(self, method: str, path: str, body: Any = b"", **options: Any) -> Answer:
        options.setdefault("token", self.full)
        return ask(self.world.guard.front, method, path, body, **options)

    def encrypt(self, *values: str, field: str = "customers.email", token: str | None = None) -> list[str]:
        """Seal values for the rows 0, 1, 2 and so on."""
        items = [
            {"field": field, "context": {"row": str(row)}, "plaintext": base64.b64encode(value.encode()).decode()}
            for row, value in enumerate(values)
        ]
        answer = self("POST", "/api/v1/fields/encrypt", {"items": items}, token=token or self.full)
        return [result["ciphertext"] for result in answer.json["results"]]


def policies_with_everything(folder: Path) -> Path:
    """A copy of the bundled policies with one role more, which may do all."""
    copy = folder / "policies"
    shutil.copytree(bundled("policies"), copy)
    with (copy / "access" / "roles.csv").open("a") as roles:
        roles.write(EVERYTHING)
    return copy


def customers_source(folder: Path) -> Source:
    """A database with a customers table, empty."""
    path = folder / "customers.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT)")
    database.close()
    return Source("customers", "acme", f"sqlite:///{path}", "customers", "id", {"email": "customers.email"})


def open_api(folder: Path, **settings: object) -> Iterator[Api]:
    """A fresh Api below *folder*, closed at the end."""
    given: dict[str, object] = {
        "policies": policies_with_everything(folder),
        "sources": (customers_source(folder),),
        "max_body_bytes": LIMIT,
        "failures_per_minute": 1_000_000,
        "public_log": False,  # here nothing is open to all; tests/api/test_tiles.py has what is
    } | settings
    with world(folder / "home", **given) as made:
        full = made.token("acme", "user:local|ana", "role:everything", "role:commander", "role:deputy")
        platform = made.token("system", "user:local|root", "role:everything")
        root = made.gate.identify(f"Bearer {full}", "test")
        nobody = made.call("tokens.create", root, subject="user:local|noor", kind="pat").token
        made.call("checkpoints.publish")
        yield Api(made, full, platform, nobody)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One guard for the tests of a file."""
    yield from open_api(tmp_path_factory.mktemp("api"))


@pytest.fixture
def fresh_api(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """`fresh_api(**settings)` gives a guard of this test's own."""
    opened = []

    def make(**settings: object) -> Api:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(open_api(folder, **settings))
        return next(opened[-1])

    yield make
    for one in opened:
        next(one, None)


class Live:
    """A uvicorn server in a thread, on a free port, with the HTTP protocol class given."""

    def __init__(self, api: Api, protocol: Any) -> None:
        config = uvicorn.Config(
            api.world.guard.front,
            port=0,
            http=protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        until(lambda: self._server.started)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]

    def ask(self, *args: Any, **options: Any) -> Answer:
        """One request on a connection of its own."""
        with Wire(self.port) as wire:
            return wire.ask(*args, **options)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def hot(api: Api) -> Iterator[Live]:
    """The server as `guard serve` runs it: hot operations are answered by the protocol."""
    live = Live(api, api.world.guard.protocol)
    yield live
    live.stop()


@pytest.fixture(scope="module")
def plain(api: Api) -> Iterator[Live]:
    """The same guard behind uvicorn's own protocol: every operation goes through FastAPI."""
    live = Live(api, "httptools")
    yield live
    live.stop()


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait until `holds()` is true; fail after *seconds*."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
