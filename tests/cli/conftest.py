"""One `guard dev` for the tests of the command line, with tables of an application beside it."""

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from guard.client import Address, Client, discover
from tests.cli.processes import Server, guard

MANY = 30_000
"""Rows of a big table: more than half a minute of re-encryption, so that a job can be paused."""
WAIT_SECONDS = 20
DEPUTY = "user:local|dana"
CLOUD = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
"""What an operator's environment holds for a KMS; the one of the tests takes any."""
LINE = b'192.0.2.7 - - [01/Dec/2026:10:00:%02d +0000] "GET /item/%d HTTP/1.1" 200 512 "-" "Mozilla/5.0"\n'


@dataclass
class Dev:
    """The server, its home, and the command line and SDK on it."""

    server: Server
    home: Path

    def run(self, *arguments: str, **options: Any) -> CompletedProcess[bytes]:
        """A command on this home."""
        variables = {"GUARD_HOME": str(self.home), **options.pop("variables", {})}
        return guard(*arguments, variables=variables, **options)

    def json(self, *arguments: str, **options: Any) -> Any:
        """The answer of a command that succeeds."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def client(self, profile: str = "client") -> Client:
        return Client(discover(self.home, profile))

    def deputy(self) -> Address:
        """Another person, who may approve what the developer asks for."""
        with self.client() as client:
            client.grants.add(member=DEPUTY, role="role:deputy")
            return Address(self.server.url, client.tokens.create(subject=DEPUTY, kind="pat")["token"])

    def second_admin(self) -> Client:
        """Another administrator of the platform, who may ask for what the first approves."""
        with self.client("admin") as client:
            client.grants.add(member=DEPUTY, role="role:platform-admin")
            return Client(Address(self.server.url, client.tokens.create(subject=DEPUTY, kind="pat")["token"]))


def sources(folder: Path) -> str:
    """The settings of four tables: two empty ones, and two with many values that guard has not sealed."""
    text = ""
    for name, rows in (("customers", 0), ("broken", 0), ("archive", MANY), ("slow", MANY)):
        path = folder / f"{name}.db"
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT)")
            database.executemany("INSERT INTO customers (email) VALUES (?)", [("x",)] * rows)
        database.close()
        text += f'[[sources]]\nname = "{name}"\ntenant = "dev"\nurl = "sqlite:///{path}"\ntable = "customers"\n'
        text += 'primary_key = "id"\ncolumns = {email = "customers.email"}\n\n'
    return text


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory):
    """A running `guard dev`."""
    folder = tmp_path_factory.mktemp("cli")
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "guard.toml").write_text(sources(folder))
    with Server(home, variables=CLOUD) as server:
        made = Dev(server, home)
        with made.client() as client, made.client("admin") as admin:
            for _ in range(20):  # the examples prove record 17
                client.actors.whoami()
            admin.checkpoints.publish()
        yield made


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """A small access log: 20 good lines."""
    path = tmp_path / "access.log"
    path.write_bytes(b"".join(LINE % (number, number) for number in range(20)))
    return path


def until(holds: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Wait until `holds()` is true; what it gave."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found
