"""A log fetched over HTTP by the script of docs/auditor.md, from a server that writes on, judged by two verifiers."""

import asyncio
import re
import subprocess
import threading

import pytest
from tlog_scales.tlog import InclusionProofInvalid

from guard.audit.verifier.command import verify
from guard.client import Client, discover
from guard.errors import Denied, NotFound
from tests.audit.foreign import scales
from tests.audit.foreign.making import drive
from tests.cli.processes import Server
from tests.conftest import ROOT

BLOCK = re.compile(r"^```sh\n(#!/bin/sh\n# mirror\.sh .*?)^```", re.MULTILINE | re.DOTALL)
SECONDS = 60


@pytest.fixture(scope="module")
def script(need, tmp_path_factory):
    """The script as the documentation prints it."""
    need("curl")
    path = tmp_path_factory.mktemp("script") / "mirror.sh"
    path.write_text(BLOCK.search((ROOT / "docs" / "auditor.md").read_text())[1])
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("served") / "home"
    home.mkdir(mode=0o700)
    (home / "guard.toml").write_text("requests_per_minute = 1_000_000_000\n")
    with Server(home) as running:
        asyncio.run(drive(running.port, running.token(), 600))
        with Client(discover(home, "admin")) as admin:
            admin.call("checkpoints.publish")
            running.vkeys = [one["vkey"] for one in admin.call("log_keys.list")["data"]]
        yield running


def mirror(script, server, folder, token=None, **more):
    """Run the script; its exit status and what it said."""
    variables = {"PATH": "/usr/bin:/bin"} | ({"GUARD_TOKEN": token} if token else {}) | more
    command = ["sh", str(script), f"{server.url}/guard/main", str(folder)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False)
    if folder.exists():
        (folder / "policy.txt").write_text("".join(f"log {vkey}\n" for vkey in server.vkeys) + "quorum none\n")
    return done.returncode, done.stderr


def test_a_mirror_taken_while_records_come_verifies_and_is_kept_up_to_date(script, server, tmp_path):
    folder = tmp_path / "mirror"
    token = server.token("admin")
    writer = threading.Thread(target=lambda: asyncio.run(drive(server.port, server.token(), 900)))
    writer.start()
    assert mirror(script, server, folder, token) == (0, "")
    writer.join()
    first = verify(folder, vkeys=server.vkeys[:1])
    assert (first.faults, first.size >= 600) == ([], True)
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("tile/*/0??")}
    with Client(discover(server.home, "admin")) as admin:
        admin.call("checkpoints.publish")
    assert mirror(script, server, folder, token) == (0, "")
    report = verify(folder, vkeys=server.vkeys[:1])
    assert (report.faults, report.size > first.size) == ([], True)
    assert report.counts["checkpoints"] >= 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "a full tile was fetched twice"
    found = scales.check(folder, server.vkeys)
    assert (found["inclusion"], found["checkpoints"]) == (report.size, 3), "the last one lies under its size, too"
    assert found["consistency"] == 3
    assert found["signatures"] == 2 * found["checkpoints"]


def test_a_changed_byte_of_the_mirror_is_found_by_both(script, server, tmp_path):
    folder = tmp_path / "mirror"
    assert mirror(script, server, folder, server.token("admin"))[0] == 0
    bundle = folder / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(b'"phase":"event"', b'"phase":"evens"', 1))
    assert verify(folder, vkeys=server.vkeys[:1]).faults
    with pytest.raises(InclusionProofInvalid):
        scales.check(folder, server.vkeys)


def test_without_a_token_the_hashes_alone_are_mirrored(script, server, tmp_path):
    folder = tmp_path / "mirror"
    assert mirror(script, server, folder) == (0, "")
    assert (folder / "tile/0/001").stat().st_size == 8192
    assert not (folder / "tile/entries").exists()
    assert (folder / "checkpoint").read_text().startswith("guard.local/guard/main\n")


def test_a_token_that_may_not_read_records_leaves_nothing_half_done(script, server, tmp_path):
    folder = tmp_path / "mirror"
    status, said = mirror(script, server, folder, server.token())
    assert status != 0
    assert "403" in said or "404" in said
    assert not (folder / "checkpoint").exists()


def test_each_bundle_of_the_mirror_is_a_record_of_who_read_it(script, server, tmp_path):
    with Client(discover(server.home, "admin")) as admin:
        before = admin.call("records.list", action="bundles.read", limit=500)["data"]
        assert mirror(script, server, tmp_path / "mirror", server.token("admin"))[0] == 0
        bundles = [path for path in (tmp_path / "mirror/tile/entries").rglob("*") if path.is_file()]
        after = admin.call("records.list", action="bundles.read", limit=500)["data"]
        assert len(after) - len(before) == len(bundles) > 2


def test_the_client_asks_by_the_paths_of_tiles(server):
    with Client(discover(server.home, "client")) as client:
        with pytest.raises(Denied):
            client.call("bundles.read", log="main", tile="x001/000")
        with pytest.raises(NotFound, match="one beyond it"):
            client.call("tiles.read", log="main", level="0", tile="x001/000")
