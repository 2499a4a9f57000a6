"""The demo's stage: a throw-away home, a server process that can be killed and started again, and its people."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from guard.cli.demo.customers import Customers, Person
from guard.client import Address, Client, discover
from guard.errors import GuardError, Unreachable

TENANTS = ("acme", "globex")
START_SECONDS = 20.0
NEVER_BAN = "192.0.2.250"
PEOPLE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "shop": ("svc:shop", ("role:storing-service",)),
    "billing": ("svc:billing", ("role:billing-service",)),
    "support": ("user:local|sam", ("role:support",)),
    "keys": ("user:local|kim", ("role:key-admin",)),
    "analyst": ("user:local|alex", ("role:analyst", "role:log-shipper")),
    "commander": ("user:local|cora", ("role:commander",)),
    "deputy": ("user:local|dana", ("role:deputy",)),
    "responder": ("user:local|rosa", ("role:sme", "role:customer-liaison")),
}


class Failed(Exception):
    """A check of the demo did not hold."""


def check(holds: bool, expected: str) -> None:
    """Fail the demo unless *holds*.

    Raises:
        Failed: it does not; *expected* says what should have been.
    """
    if not holds:
        raise Failed(expected)


class Stage:
    """Everything of one demo; `close` ends the server and removes the data."""

    def __init__(self, *, keep: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="guard-demo-"))
        self.home = self.folder / "home"
        self.keep = keep
        self.port = _free_port()
        self.clients: dict[tuple[str, str], Client] = {}
        self.people: dict[str, list[Person]] = {}
        self.log: Path | None = None
        self.customers = {name: Customers(self.folder / f"{name}.db") for name in TENANTS}
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = (self.folder / "server.log").open("ab")

    def start(self) -> float:
        """Start the server and wait until it answers; the seconds that it took."""
        began = time.monotonic()
        command = [sys.executable, "-m", "guard", "dev", "--home", str(self.home), "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=self._errors, stderr=self._errors, stdin=subprocess.DEVNULL)
        while time.monotonic() - began < START_SECONDS:
            if self._process.poll() is not None:
                break
            try:
                address = discover(self.home)
                with Client(address, total_seconds=2) as client:
                    client.call("actors.whoami")
                    return time.monotonic() - began
            except GuardError:
                time.sleep(0.05)
        raise Failed(f"the server starts within {START_SECONDS:.0f} s; see {self.folder / 'server.log'}")

    def kill(self) -> None:
        """End the server as `kill -9` does: no goodbye, no flush."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def admin(self) -> Client:
        """The platform's administrator."""
        return self._remember("system", "admin", discover(self.home, "admin"))

    def person(self, tenant: str, name: str) -> Client:
        """The client of a person or service of the story."""
        return self.clients[tenant, name]

    def hire(self, tenant: str) -> None:
        """Create a tenant with its people, and a token for each of them."""
        admin = self.admin()
        admin.call("tenants.create", tenant=tenant, title=f"{tenant.capitalize()} Ltd")
        for name, (subject, roles) in PEOPLE.items():
            for role in roles:
                admin.call("grants.add", tenant=tenant, member=subject, role=role)
            minted = admin.call("tokens.create", tenant=tenant, subject=subject, expires_in_seconds=86400, note="demo")
            self._remember(tenant, name, Address(self.url, minted["token"]))

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.port}"

    def write_settings(self) -> None:
        """The configuration a customer would write: sources and the addresses that are never banned."""
        self.home.mkdir(mode=0o700, parents=True)
        # The demo reads all the time and retires a version within seconds.
        lines = [f"never_ban = {json.dumps([NEVER_BAN])}", "quiet_hours = 0", ""]
        for tenant, customers in self.customers.items():
            lines += [
                "[[sources]]",
                'name = "customers"' if tenant == TENANTS[0] else f'name = "customers-{tenant}"',
                f'tenant = "{tenant}"',
                f"url = {json.dumps(f'sqlite:///{customers.path}')}",
                'table = "customers"',
                'primary_key = "id"',
                'columns = {email = "customers.email", phone = "customers.phone", identity_number = "customers.identity_number"}',
                "",
            ]
        (self.home / "guard.toml").write_text("\n".join(lines), encoding="utf-8")

    def is_alive(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> None:
        """Serve until the process ends."""
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """End the server and, unless asked to keep it, remove everything."""
        for client in self.clients.values():
            client.close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self._errors.close()
        for customers in self.customers.values():
            customers.close()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _remember(self, tenant: str, name: str, address: Address) -> Client:
        known = self.clients.get((tenant, name))
        if known is None or known.address != address:
            known = self.clients[tenant, name] = Client(address)
        return known


def until(what: str, seconds: float, holds: object) -> None:
    """Wait until `holds()` is true.

    Raises:
        Failed: it is not within *seconds*.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if callable(holds) and holds():
                return
        except Unreachable:
            pass
        time.sleep(0.05)
    raise Failed(what)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
