"""`guard files` and `guard leases` as people type them."""

import json
import os

import pytest

from guard.errors import LeaseEnded
from tests.cli.processes import told
from tests.cli.test_terminal import on_terminal

FIELD = ("--field", "customers.email", "--row", "17")
READ = ("--purpose", "billing")
CONTENT = os.urandom(300_000)


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(CONTENT)
    return path


def test_a_file_goes_there_and_back(dev, scan, tmp_path):
    sealed, copy = tmp_path / "scan.sealed", tmp_path / "copy"
    done = dev.json("files", "encrypt", str(scan), str(sealed), *FIELD)
    assert (done["read"], done["written"]) == (len(CONTENT), sealed.stat().st_size)
    assert CONTENT[:64] not in sealed.read_bytes()
    dev.json("files", "decrypt", str(sealed), str(copy), *FIELD, *READ)
    assert copy.read_bytes() == CONTENT


def test_a_tenant_may_stand_in_front_of_the_field_if_it_is_ones_own(dev, scan, tmp_path):
    named = ("--field", "dev.customers.email", "--row", "17")
    assert dev.json("files", "encrypt", str(scan), str(tmp_path / "a"), *named)["field"] == "customers.email"
    other = dev.run("files", "encrypt", str(scan), str(tmp_path / "b"), "--field", "acme.customers.email", "--row", "1")
    assert other.returncode == 2
    assert "own tenant dev" in told(other)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("fault", ["row", "cut", "bit", "purpose", "there already"])
def test_what_does_not_open_leaves_nothing_and_says_so(dev, scan, tmp_path, fault):
    sealed, copy = tmp_path / "scan.sealed", tmp_path / "copy"
    dev.json("files", "encrypt", str(scan), str(sealed), *FIELD)
    raw = sealed.read_bytes()
    sealed.write_bytes({"cut": raw[:-1], "bit": raw[:-99] + bytes([raw[-99] ^ 1]) + raw[-98:]}.get(fault, raw))
    if fault == "there already":
        copy.write_bytes(b"mine")
    field = ("--field", "customers.email", "--row", "18" if fault == "row" else "17")
    purpose = ("--purpose", "marketing") if fault == "purpose" else READ
    done = dev.run("files", "decrypt", str(sealed), str(copy), *field, *purpose)
    code, said = {"purpose": (5, "marketing"), "there already": (2, "there is one")}.get(
        fault, (2, "ciphertext does not open in this context")
    )
    assert done.returncode == code
    assert said in told(done) or fault == "purpose"
    assert done.stdout == b""
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        ["scan.pdf", "scan.sealed", *(["copy"] if fault == "there already" else [])]
    )
    if fault == "there already":
        assert copy.read_bytes() == b"mine"
        dev.json("files", "decrypt", str(sealed), str(copy), *field, *purpose, "--replace")
        assert copy.read_bytes() == CONTENT


def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(dev, scan, tmp_path):
    os.truncate(scan, 64 << 20)
    code, shown = on_terminal(dev, "files", "encrypt", str(scan), str(tmp_path / "a"), *FIELD)
    assert code == 0
    assert b"sealing" in shown
    assert b"67.1" in shown or b"MB" in shown
    piped = dev.run("files", "encrypt", str(scan), str(tmp_path / "b"), *FIELD)
    assert piped.stderr == b""


def test_leases_are_listed_and_revoked(dev):
    with dev.client() as client:
        lease = client.local.lease("customers.email", ttl_seconds=60, max_uses=5)
        lease.seal("customers.email", "ana@example.org", row="1")
        client.local.renew(lease)
        shown = next(one for one in dev.json("leases", "list")["data"] if one["lease_id"] == lease.id)
        assert (shown["used"], shown["max_uses"], shown["state"]) == (1, 5, "live")
        assert dev.json("leases", "revoke", "--lease", lease.id)["revoked"] == 1
        client.local.renew(lease)
        with pytest.raises(LeaseEnded, match="was revoked"):
            lease.seal("customers.email", "x", row="1")
    nothing = dev.run("leases", "revoke")
    assert nothing.returncode == 2
    assert "either a lease or a field" in json.loads(nothing.stderr)["detail"]
