"""A key service that is away for an hour, or that lies: who is unsealed serves, and all that waits says what for."""

import os
import socket
import sqlite3
import threading
from contextlib import closing, suppress

import pytest

from guard.app import build
from guard.catalogue import PLATFORM
from guard.errors import CustodyUnreachable, NotUnsealed, Sealed, WrongRootKey
from guard.settings import Settings
from guard.vault import slots
from guard.vault.custody import RANDOMNESS_BYTES
from guard.vault.starting import opening
from guard.wire.custody import UnsealService
from tests.vault.shop import EMAIL, Shop, bare, shown
from tests.world import WORKER, World, world

PHRASE = "a passphrase of the tests"
ADDRESS = {"aws_kms": "endpoint", "azure_kv": "key", "gcp_kms": "address", "transit": "address"}
SERVICES = tuple(ADDRESS)


class Line:
    """A TCP line to a service, which can be cut as a cable is: whoever calls then is refused at once."""

    def __init__(self, port: int) -> None:
        self._far, self.port = port, 0
        self._open: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open = []

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._far))
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while piece := one.recv(65536):
            other.sendall(piece)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Outage:
    """A key service of one kind behind a line: the options of a key there, and the way to cut and mend it."""

    def __init__(self, peers, plugin: str) -> None:
        self.options = peers.options(plugin)
        member = ADDRESS[plugin]
        host, _, rest = self.options[member].removeprefix("http://").partition("/")
        self.line = Line(int(host.rpartition(":")[2]))
        self.options[member] = f"http://127.0.0.1:{self.line.port}" + (f"/{rest}" if rest else "")


@pytest.fixture(params=SERVICES)
def service(request, custody_peers):
    made = Outage(custody_peers, request.param)
    made.plugin = request.param
    yield made
    made.line.cut()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def admins(made: World):
    return [made.hire(PLATFORM, f"user:local|{name}", "role:platform-admin") for name in ("eve", "bob")]


def add(made: World, plugin: str, options, **more) -> str:
    """One more slot, by two persons; its name."""
    eve, bob = admins(made)
    asked = made.call("custody.add", eve, plugin=plugin, options=options, **more)
    made.call("custody.approve", bob, slot=asked.slot)
    return asked.slot


def held_by(service, home, tmp_path, *, phrase: bool = False) -> str:
    """A home whose root key the service holds, with one value in it; the name of the slot."""
    with world(home, **bare(tmp_path)) as made:
        slot = add(made, service.plugin, service.options)
        if phrase:
            add(made, "passphrase", {}, secrets={"passphrase": PHRASE})
        made.call("custody.remove", admins(made)[0], slot="file-1")
        (home / "root.key").unlink()
        return slot


class TestAnHourAway:
    def test_who_is_unsealed_serves_and_rotates_and_takes_tenants_in(self, service, home, tmp_path):
        held_by(service, home, tmp_path)
        with world(home, **bare(tmp_path)) as made:
            shop = Shop(made)
            sealed = [shop.seal("before@example.org")[0]]
            service.line.cut()
            for minutes in range(0, 60, 10):
                made.clock.advance(600)
                sealed.append(shop.seal(f"after{minutes}@example.org")[0])
                assert shop.rotate() == minutes // 10 + 2
            wanted = ["before@example.org", *(f"after{minutes}@example.org" for minutes in range(0, 60, 10))]
            assert [shop.open(text) for text in sealed] == wanted
            other = Shop(made, "globex")
            assert other.open(other.seal("new@example.org")[0]) == "new@example.org"
            assert made.call("custody.status", admins(made)[0]).state == "unsealed"

    def test_a_change_of_custody_names_what_does_not_answer_and_changes_nothing(self, service, home, tmp_path):
        slot = held_by(service, home, tmp_path)
        with world(home, **bare(tmp_path)) as made:
            eve = admins(made)[0]
            service.line.cut()
            for name, more in (("custody.add", {}), ("custody.move", {"slot": slot})):
                with pytest.raises(CustodyUnreachable, match="does not answer") as caught:
                    made.call(name, eve, plugin=service.plugin, options=service.options, **more)
                assert caught.value.code == "GRD-SEAL-004"
            shown = made.call("custody.status", eve)
            assert ([one.slot for one in shown.slots], shown.requests) == ([slot], [])
            service.line.mend()
            asked = made.call("custody.move", eve, slot=slot, plugin=service.plugin, options=service.options)
            assert [one.slot for one in made.call("custody.status", eve).requests] == [asked.slot]

    def test_a_start_says_what_it_waits_for_once_and_opens_by_itself_when_it_is_back(self, service, home, tmp_path):
        slot = held_by(service, home, tmp_path)
        with world(home, **bare(tmp_path)) as made:
            sealed = Shop(made).seal("ana@example.org")[0]
        service.line.cut()
        with pytest.raises(Sealed) as caught:
            build(Settings(home=home, **bare(tmp_path)))
        assert f"{slot}: " in caught.value.detail
        assert "does not answer" in caught.value.detail
        assert "guard custody status" in caught.value.hint
        told = []
        way = opening(Settings(home=home), lambda name, detail: told.append((name, detail)))
        assert [way.attempt() for _ in range(3)] == [False] * 3
        assert [name for name, _ in told] == [slot]
        assert "does not answer" in told[0][1]
        shown = way.view()
        assert (shown.state, shown.failures) == ("sealed", 0)  # an outage is no wrong secret
        assert shown.waiting == [f"{slot}: {told[0][1]}"]
        with pytest.raises(NotUnsealed, match="does not answer"):
            way.offer(UnsealService())
        service.line.mend()
        assert way.attempt()
        assert way.view().waiting == []
        assert opened_value(home, tmp_path, way, sealed) == "ana@example.org"

    def test_a_slot_beside_it_opens_meanwhile(self, service, home, tmp_path):
        slot = held_by(service, home, tmp_path, phrase=True)
        with world(home, **bare(tmp_path)) as made:
            sealed = Shop(made).seal("ana@example.org")[0]
        service.line.cut()
        way = opening(Settings(home=home))
        assert not way.attempt()
        assert list(way.waiting) == [slot]
        with pytest.raises(NotUnsealed):
            way.offer(UnsealService(secrets={"passphrase": "another passphrase"}))
        assert way.offer(UnsealService(secrets={"passphrase": PHRASE})).state == "unsealed"
        assert way.opened.plugin == "passphrase"
        assert way.opened.failures == 1  # the passphrase that was wrong, and no attempt at the service
        assert opened_value(home, tmp_path, way, sealed) == "ana@example.org"


def opened_value(home, folder, way, sealed: str) -> str:
    """A value of the home that *way* has opened, read by a guard that starts with it."""
    guard = build(Settings(home=home, **bare(folder)), opened=way.opened)
    try:
        request = {"tenant": "acme", "subject": "svc:reader", "roles": ["role:billing-service"]}
        minted = guard.gate.call_named("principals.bootstrap", request, WORKER, "t-1")
        actor = guard.gate.identify(f"Bearer {minted.token}", "test")
        items = [{"field": EMAIL, "context": {"row": "1"}, "ciphertext": sealed}]
        answer = guard.gate.call_named("fields.decrypt", {"purpose": "billing", "items": items}, actor, "t-2")
        return shown(answer["results"][0])
    finally:
        guard.close()


class TestWrongBytes:
    """The service answers, and what it gives is well formed and another secret."""

    @pytest.mark.parametrize("plugin", [*SERVICES, "pkcs11"])
    def test_they_are_named_by_the_check_value_and_nothing_is_opened(self, custody_peers, home, tmp_path, plugin):
        options = custody_peers.options(plugin)
        with world(home, **bare(tmp_path)) as made:
            slot = add(made, plugin, options)
            made.call("custody.remove", admins(made)[0], slot="file-1")
        with closing(sqlite3.connect(home / "guard.db")) as database, database:
            record, right = database.execute("SELECT record, wrapped FROM seal_slots").fetchone()
            holder = slots.kind(plugin).create(options, os.urandom(RANDOMNESS_BYTES))
            database.execute("UPDATE seal_slots SET wrapped = ?", (holder.wrap(record.encode(), os.urandom(64)),))
        told = []
        way = opening(Settings(home=home), lambda name, detail: told.append(name))
        assert not way.attempt()
        assert not way.attempt()
        assert told == [slot]
        assert isinstance(way.waiting[slot], WrongRootKey)
        assert way.opened is None
        with pytest.raises(Sealed, match="not the one this data is sealed with"):
            build(Settings(home=home, **bare(tmp_path)))
        with closing(sqlite3.connect(home / "guard.db")) as database, database:
            database.execute("UPDATE seal_slots SET wrapped = ?", (right,))
        assert opening(Settings(home=home)).attempt()

    @pytest.mark.parametrize("place", [0, 1, -1])
    @pytest.mark.parametrize("plugin", [*SERVICES, "pkcs11", "passphrase"])
    def test_a_wrap_that_was_changed_opens_nothing(self, custody_peers, home, tmp_path, plugin, place):
        options = {} if plugin == "passphrase" else custody_peers.options(plugin)
        secrets = {"passphrase": PHRASE} if plugin == "passphrase" else {}
        with world(home, **bare(tmp_path)) as made:
            slot = add(made, plugin, options, secrets=secrets)
            made.call("custody.remove", admins(made)[0], slot="file-1")
        with closing(sqlite3.connect(home / "guard.db")) as database, database:
            (wrapped,) = database.execute("SELECT wrapped FROM seal_slots").fetchone()
            changed = bytearray(wrapped)
            changed[place] ^= 1
            database.execute("UPDATE seal_slots SET wrapped = ?", (bytes(changed),))
        way = opening(Settings(home=home))
        if secrets:
            with pytest.raises(NotUnsealed):
                way.offer(UnsealService(slot=slot, secrets=secrets))
        else:
            assert not way.attempt()
            assert list(way.waiting) == [slot]
        assert way.opened is None

    def test_a_service_that_lies_while_a_slot_is_made_gets_no_slot(self, custody_peers, home, tmp_path):
        options, clouds = custody_peers.options("gcp_kms", "b"), custody_peers.clouds()
        honest = clouds.gcp["b"]
        with world(home, **bare(tmp_path)) as made:
            eve = admins(made)[0]
            clouds.gcp["b"] = Liar(honest)
            try:
                with pytest.raises(WrongRootKey, match="not the one this data is sealed with"):
                    made.call("custody.move", eve, slot="file-1", plugin="gcp_kms", options=options)
            finally:
                clouds.gcp["b"] = honest
            shown = made.call("custody.status", eve)
            assert ([one.slot for one in shown.slots], shown.requests) == (["file-1"], [])


class Liar:
    """A key that opens everything it sealed, to other bytes of the same length."""

    def __init__(self, honest) -> None:
        self._honest = honest

    def encrypt(self, nonce, data, associated):
        return self._honest.encrypt(nonce, data, associated)

    def decrypt(self, nonce, data, associated):
        return bytes(byte ^ 0x55 for byte in self._honest.decrypt(nonce, data, associated))
