"""Leases while a real server is killed and started again: what was revoked stays so, what was reported is kept."""

import base64
import json
import multiprocessing
import subprocess
import sys
import threading
import time

import pytest

from guard.client import Client, discover
from guard.errors import GuardError, LeaseEnded, Unreachable
from tests.cli.processes import Server, environment

EMAIL = "customers.email"
ROW = {"row": "1"}


class House:
    """A server that can be killed and started again on the same port and home."""

    def __init__(self, home, port):
        self.home, self.typed = home, ["--home", str(home), "--port", str(port)]
        self.server = Server(home, typed=self.typed)

    def kill(self):
        self.server.kill()

    def start(self):
        self.server = Server(self.home, typed=self.typed)

    def client(self):
        return Client(discover(self.home))

    def listed(self):
        with self.client() as asking:
            return {one["lease_id"]: one for one in asking.leases.list()["data"]}


@pytest.fixture
def house(tmp_path, free_port):
    made = House(tmp_path / "home", free_port())
    yield made
    made.server.stop()


def test_what_was_revoked_stays_revoked_and_what_was_reported_is_kept(house):
    client = house.client()
    one, field = client.local.lease(EMAIL), client.local.lease(EMAIL, "customers.phone")
    phone = client.local.lease("customers.phone")
    for lease, uses in ((one, 3), (field, 5), (phone, 7)):
        for _ in range(uses):
            lease.seal(max(lease._columns), "x", **ROW)
        client.local.renew(lease)
    gap = client.leases.revoke(lease=one.id)
    assert gap["revoked"] == 1
    assert gap["until_us"] / 1e6 == pytest.approx(time.time() + 300, abs=30)
    client.leases.revoke(field=EMAIL)
    house.kill()
    for lease in (one, field, phone):  # nobody answers: each goes on, the revoked ones too, until their time
        client.local.renew(lease)
        assert lease.usable()
    house.start()
    client = house.client()
    for lease in (one, field, phone):
        client.local.renew(lease)
    assert [lease.usable() for lease in (one, field, phone)] == [False, False, True]
    with pytest.raises(LeaseEnded, match="was revoked"):
        field.seal(EMAIL, "x", **ROW)
    seen = house.listed()
    assert one.id not in seen
    assert (seen[field.id]["state"], seen[field.id]["used"]) == ("revoked", 5)
    assert (seen[phone.id]["state"], seen[phone.id]["used"]) == ("live", 7)


def test_offline_and_revoked_it_stops_at_its_time_and_not_before(house):
    """Dossier case 16 on real clocks."""
    client = house.client()
    lease = client.local.lease(EMAIL, ttl_seconds=3, max_uses=1 << 20)
    asked = time.monotonic()
    until = client.leases.revoke(field=EMAIL)["until_us"] / 1e6 - time.time()
    house.kill()
    last, text = asked, ""
    with pytest.raises(LeaseEnded, match="end of its time"):
        while True:
            text = lease.seal(EMAIL, "gap", **ROW)
            last = time.monotonic()
            time.sleep(0.01)
    assert until - 2 < last - asked <= until + 0.1
    house.start()
    assert house.client().decrypt(EMAIL, text, "billing", row="1") == "gap"


def test_threads_go_on_while_the_server_is_killed_and_nothing_is_lost(house):
    client = house.client()
    client.local.seal(EMAIL, "first", **ROW)
    stop, texts, errors = threading.Event(), [], []

    def work(number):
        at = 0
        while not stop.is_set():
            try:
                texts.append((f"{number}-{at}", client.local.seal(EMAIL, f"{number}-{at}", **ROW)))
            except GuardError as error:
                errors.append(error)
            at += 1
            time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    time.sleep(0.3)
    house.kill()
    before = len(texts)
    time.sleep(0.5)
    assert len(texts) > before
    house.start()
    time.sleep(0.3)
    stop.set()
    for one in threads:
        one.join()
    assert errors == []
    reader = house.client()
    for value, text in [*texts[:20], *texts[before : before + 20], *texts[-20:]]:
        assert reader.decrypt(EMAIL, text, "billing", row="1") == value
    assert len({text for _, text in texts}) == len(texts)


def test_without_a_lease_a_killed_server_is_told_plainly(house, tmp_path):
    client = house.client()
    house.kill()
    with pytest.raises(Unreachable):
        client.local.seal(EMAIL, "x", **ROW)
    (tmp_path / "in").write_bytes(b"x")
    with pytest.raises(Unreachable):
        client.files.encrypt(tmp_path / "in", tmp_path / "out", EMAIL, **ROW)
    assert not (tmp_path / "out").exists()
    house.start()
    assert client.files.encrypt(tmp_path / "in", tmp_path / "out", EMAIL, **ROW).read == 1


# processes


def sealed_in_a_child(client, pipe):
    text = client.local.seal(EMAIL, "child", **ROW)
    pipe.send((text, client.local.sealing(EMAIL, "store", ROW).id))
    client.local.close()
    pipe.close()


def test_a_forked_child_has_a_lease_of_its_own_and_gives_only_that_back(dev):
    """As servers do that load an application once and fork."""
    client = Client(discover(dev.home))
    client.local.seal(EMAIL, "parent", **ROW)
    parent = client.local.sealing(EMAIL, "store", ROW)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=sealed_in_a_child, args=(client, there))
    child.start()
    text, lease = here.recv()
    child.join()
    assert lease != parent.id
    with Client(discover(dev.home)) as other:
        live = {one["lease_id"] for one in other.leases.list()["data"]}
        assert (parent.id in live, lease in live) == (True, False)
        assert other.decrypt(EMAIL, text, "billing", row="1") == "child"
    assert client.local.seal(EMAIL, "parent still", **ROW)
    assert client.local.sealing(EMAIL, "store", ROW).id == parent.id


FAILS = """
import sys, logging, traceback, faulthandler
logging.basicConfig(level=logging.DEBUG)
from guard.client import Client, discover
from pathlib import Path
from rich.traceback import install
client = Client(discover(Path(sys.argv[1])))
client.local.seal("customers.email", "planted-value-7f3a", row="1")
lease = client.local.sealing("customers.email", "store", {"row": "1"})
Path(sys.argv[2]).write_bytes(lease._key.expose())
print(vars(client.local), vars(lease), lease.report(), [vars(one) for one in client.local._keys._kept.values()])
faulthandler.dump_traceback()
install(show_locals=True)
lease.seal("customers.phone", "x", row="1")
"""


def test_debug_logs_and_a_traceback_with_locals_show_no_key(dev, tmp_path):
    command = [sys.executable, "-c", FAILS, str(dev.home), str(tmp_path / "key"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), timeout=60)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "Expected a field of" in said
    assert "LeaseKey" in said
    raw = (tmp_path / "key").read_bytes()
    assert len(raw) == 32
    for form in (str(raw), raw.hex(), base64.b64encode(raw).decode(), repr(bytearray(raw)), str(list(raw))):
        assert form not in said
    assert "planted-value" not in said


def test_no_form_of_a_key_is_in_what_a_killed_server_left(house):
    client, keys = house.client(), []
    for purpose in ("store", "billing"):
        lease = client.local.lease(EMAIL, purpose=purpose)
        keys.append(lease._key.expose())
        text = lease.seal(EMAIL, "planted-value-7f3a", **ROW)
        client.local.renew(lease)
        client.local.open(EMAIL, text, "billing", **ROW)
    client.leases.revoke(field=EMAIL)
    house.kill()
    kept = b"".join(path.read_bytes() for path in house.home.rglob("*") if path.is_file())
    said = house.server.said.encode()
    assert lease.id.encode() in kept
    for raw in keys:
        for form in (raw, raw.hex().encode(), base64.b64encode(raw)[:-2], json.dumps(list(raw)).encode()):
            assert form not in kept
            assert form not in said
    assert b"planted-value-7f3a" not in kept + said
    assert (house.home / "guard.db").stat().st_size > 0
