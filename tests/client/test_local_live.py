"""Local encryption on a real server: over HTTP, while it is stopped, and after it came back."""

import json
import os
import subprocess
import sys

import pytest

from guard.client import Client, discover
from guard.errors import DoesNotOpen, LeaseEnded, Unreachable
from tests.cli.processes import Server, environment

EMAIL = "customers.email"


def test_sealed_here_opened_there_and_the_other_way_round(client):
    text = client.local.seal(EMAIL, "ana@example.org", row="17")
    assert client.decrypt(EMAIL, text, "billing", row="17") == "ana@example.org"
    assert client.local.open(EMAIL, client.encrypt(EMAIL, "bob", row="1"), "billing", row="1") == b"bob"
    with pytest.raises(DoesNotOpen):
        client.decrypt(EMAIL, text, "billing", row="18")


def test_the_clients_end_gives_its_leases_back(dev, client):
    with Client(discover(dev.home)) as other:
        other.local.seal(EMAIL, "x", row="1")
        held = {one["lease_id"] for one in client.leases.list()["data"]}
    assert held - {one["lease_id"] for one in client.leases.list()["data"]}


def test_a_server_that_is_stopped_and_comes_back(tmp_path, free_port):
    home, port = tmp_path / "home", free_port()
    typed = ["--home", str(home), "--port", str(port)]
    with Server(home, typed=typed):
        client = Client(discover(home))
        lease = client.local.lease(EMAIL, ttl_seconds=2, max_uses=1_000_000)
        before = client.local.seal(EMAIL, "before", row="1")
        client.files.encrypt(written(tmp_path), tmp_path / "a.sealed", EMAIL, row="1")
    away = client.local.seal(EMAIL, "away", row="1")
    client.files.encrypt(tmp_path / "scan", tmp_path / "b.sealed", EMAIL, row="1")
    ended = until_ended(lease)
    assert "end of its time" in ended.detail
    with pytest.raises(Unreachable):
        client.local.open(EMAIL, away, "billing", row="1")
    with Server(home, typed=typed):
        client = Client(discover(home))
        assert [client.decrypt(EMAIL, text, "billing", row="1") for text in (before, away)] == ["before", "away"]
        for name in "ab":
            client.files.decrypt(tmp_path / f"{name}.sealed", tmp_path / name, EMAIL, "billing", row="1")
            assert (tmp_path / name).read_bytes() == (tmp_path / "scan").read_bytes()
        client.close()


def until_ended(lease):
    """Seal until the lease ends by itself."""
    while True:
        try:
            lease.seal(EMAIL, "x", row="1")
        except LeaseEnded as error:
            if lease.used < lease.max_uses:
                return error
            raise


def written(folder):
    path = folder / "scan"
    path.write_bytes(os.urandom(100_000))
    return path


def test_neither_keys_nor_values_are_in_what_the_server_wrote(tmp_path):
    home = tmp_path / "home"
    with Server(home) as server:
        with Client(discover(home)) as client:
            client.local.seal(EMAIL, "planted-value-7f3a", row="1")
            raw = client.local.sealing(EMAIL, "store", {"row": "1"})._key.expose()
            records = json.dumps(client.call("fields.list"))
        said = server.said
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for planted in (raw, raw.hex().encode(), b"planted-value-7f3a"):
        assert planted not in kept
        assert planted.decode("latin-1") not in said + records


@pytest.mark.parametrize("module", ["guard.client.lease", "guard.client.local", "guard.client.files"])
def test_it_needs_nothing_of_the_server(module):
    script = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment())
    loaded = set(done.stdout.split())
    assert {name.split(".")[1] for name in loaded if name.startswith("guard.")} == {"client", "errors", "settings"}
    assert not {name.split(".")[0] for name in loaded} & {
        "sqlalchemy",
        "fastapi",
        "orjson",
        "pydantic",
        "rich",
        "typer",
    }
