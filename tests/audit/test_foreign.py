"""Verifiers that other people wrote, on logs that guard wrote: PyPI tlog-scales, and the Go project's sumdb packages.

Law: nothing of guard decides here. The log is made through the API of a server process and exported by the command.
The whole campaign (`make foreign`) takes 100,000 records and all sizes around full tiles.
"""

import subprocess
import sys

import pytest
from tlog_scales.tlog import ConsistencyProofInvalid, InclusionProofInvalid

from guard.audit.note import VerifierKey
from guard.audit.verifier.command import verify
from tests.audit.building import ORIGIN, STRANGER, VKEY, copied, signed
from tests.audit.foreign import golang, scales
from tests.audit.foreign.making import BATCHES, SIZES, log_of_a_server, synthetic_log

COUNT = 600
SMALL = [size for size in SIZES if size < 1000]
STRANGERS = VerifierKey(ORIGIN, VKEY.kind, STRANGER.public_key().public_bytes_raw()).encode()
TILES = [sys.executable, "-m", "tlog_scales.cli"]  # the command tlog-tiles


@pytest.fixture(scope="module")
def program(need, tmp_path_factory):
    """The Go verifier, built here."""
    go = need("go")
    if not golang.LIBRARY.is_dir():
        pytest.skip("this test needs the Debian package golang-golang-x-mod-dev, which is not installed")
    return golang.build(go, tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def api_log(tmp_path_factory):
    """A log made over HTTP, and its key."""
    return log_of_a_server(tmp_path_factory.mktemp("api"), COUNT)


@pytest.fixture
def damaged(tmp_path, api_log):
    """A copy of that log with one record changed."""
    log = copied(api_log[0], tmp_path / "log")
    bundle = log / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(b'"phase":"event"', b'"phase":"evens"', 1))
    return log


class TestThroughTheApi:
    def test_guard_verify(self, api_log):
        log, vkey = api_log
        report = verify(log, vkeys=[vkey])
        assert report.faults == []
        assert report.size >= COUNT
        assert report.counts["checkpoints"] >= BATCHES - 1

    def test_tlog_scales_proves_every_record_and_all_checkpoints(self, api_log):
        log, vkey = api_log
        found, size = scales.check(log, [vkey]), verify(log).size
        assert found["inclusion"] == size
        trees = found["checkpoints"]
        assert trees >= BATCHES
        assert found["signatures"] == trees
        assert found["consistency"] == trees * (trees - 1) // 2

    def test_go_proves_every_record_and_all_checkpoints(self, program, api_log):
        log, vkey = api_log
        found = golang.check(program, log, vkey)
        assert found["inclusion"] == verify(log).size
        assert found["consistency"] == found["checkpoints"] * (found["checkpoints"] - 1) // 2 >= BATCHES

    @pytest.mark.parametrize("index", [0, 255, 256, COUNT - 1])
    def test_the_command_of_tlog_scales_gives_the_exact_record(self, api_log, index):
        command = [*TILES, "get-leaf", "-c", f"./{api_log[0].name}", str(index)]
        done = subprocess.run(command, cwd=api_log[0].parent, capture_output=True, check=True, timeout=60)
        assert done.stdout.startswith(b'{"b":{"action":')
        (bundle,) = api_log[0].glob(f"tile/entries/{index // 256:03d}*")
        content = bundle if bundle.is_file() else next(bundle.iterdir())
        assert len(done.stdout).to_bytes(2) + done.stdout in content.read_bytes()

    def test_a_proof_made_by_tlog_scales_is_accepted_by_guard_verify(self, tmp_path, api_log):
        log = copied(api_log[0], tmp_path / "log")
        made = subprocess.run([*TILES, "gen-proof", str(log), "300"], capture_output=True, check=True, timeout=60)
        (log / "proofs").mkdir(exist_ok=True)
        (log / "proofs/300.tlog-proof").write_bytes(made.stdout)
        report = verify(log)
        assert (report.faults, report.counts["proofs"]) == ([], 1)


class TestTheyCanFail:
    """A verifier that accepts everything would pass all of the above."""

    def test_tlog_scales_refuses_a_changed_record(self, damaged, api_log):
        with pytest.raises(InclusionProofInvalid):
            scales.check(damaged, [api_log[1]])

    def test_go_refuses_a_changed_record(self, program, damaged, api_log):
        with pytest.raises(subprocess.CalledProcessError) as caught:
            golang.check(program, damaged, api_log[1])
        assert caught.value.stderr

    def test_both_refuse_a_checkpoint_of_another_history(self, program, tmp_path):
        log, vkeys = synthetic_log(tmp_path, 257)
        (log / "checkpoints/2").write_bytes(signed(ORIGIN, 2, bytes(32), pq=True))
        with pytest.raises(ConsistencyProofInvalid):
            scales.check(log, vkeys)
        with pytest.raises(subprocess.CalledProcessError):
            golang.check(program, log, vkeys[0])
        assert {fault.path for fault in verify(log).faults} >= {"checkpoints/2"}

    def test_both_refuse_another_key(self, program, api_log):
        with pytest.raises(ValueError, match="signatures hold"):
            scales.check(api_log[0], [STRANGERS])
        with pytest.raises(subprocess.CalledProcessError):
            golang.check(program, api_log[0], STRANGERS)


class TestSizes:
    @pytest.mark.parametrize("size", SMALL)
    def test_both_agree_around_full_tiles(self, program, tmp_path, size):
        log, vkeys = synthetic_log(tmp_path, size)
        assert verify(log, vkeys=vkeys[:1]).faults == []
        trees = [one for one in SIZES if one <= size]
        pairs = len(trees) * (len(trees) - 1) // 2
        found = scales.check(log, vkeys)
        assert found == {
            "checkpoints": len(trees) + 1,
            "signatures": 2 * (len(trees) + 1),
            "inclusion": size,
            "consistency": pairs,
        }
        assert golang.check(program, log, vkeys[0]) == {
            "checkpoints": len(trees),
            "inclusion": size,
            "consistency": pairs,
        }
