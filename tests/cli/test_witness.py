"""`guard witness` as people run it: a process, its files, what it answers, and what a kill at any moment leaves."""

import base64
import json
import os
import sqlite3
import stat
import threading
import time
from contextlib import closing

import pytest
from tlog_scales import signing
from tlog_scales.tlog import Checkpoint as ForeignCheckpoint

from guard.audit import note, tree
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import Kind, VerifierKey
from guard.audit.witness import MAX_BODY_BYTES, Submission, parse_lines, path_of
from tests.audit.building import KEY, ORIGIN, PQ_VKEY, STRANGER, VKEY, node_of, signed
from tests.cli.processes import guard, told
from tests.cli.witnessing import WitnessProcess, http

LEAVES = [tree.leaf_hash(b"%d" % number) for number in range(400)]
FORKED = [*LEAVES[:5], *(tree.leaf_hash(b"other %d" % number) for number in range(395))]
PATH = path_of(ORIGIN)


def root(size, leaves=LEAVES):
    return tree.root_of(leaves[:size])


def body(old, size, *, leaves=LEAVES, key=KEY, origin=ORIGIN):
    proof = tree.consistency_proof(min(old, size), size, node_of(leaves))
    return Submission(old, tuple(proof), signed(origin, size, root(size, leaves), key=key, pq=key is KEY)).encode()


def line_of(answer, size, vkeys):
    """The witness keys whose signatures stand in an answer over the checkpoint of *size*."""
    found = parse_lines(Checkpoint(ORIGIN, size, root(size)).text(), answer)
    return note.verify(found, [VerifierKey.decode(one) for one in vkeys])


@pytest.fixture
def home(tmp_path):
    return tmp_path / "witness"


@pytest.fixture
def running(home):
    with WitnessProcess(home, VKEY.encode()) as made:
        yield made


class TestAnswers:
    def test_it_cosigns_what_grows_and_shows_what_it_cosigned(self, running):
        for old, size in ((0, 3), (3, 100), (100, 100), (100, 400)):
            status, _, answer = running.post(body(old, size))
            assert status == 200
            (key,) = line_of(answer, size, running.vkeys)
            assert key.kind is Kind.COSIGNATURE
        status, _, shown = http(f"{running.url}/{PATH}/checkpoint")
        assert status == 200
        keys = [VKEY, PQ_VKEY, *(VerifierKey.decode(one) for one in running.vkeys)]
        assert len(note.verify(note.parse(shown), keys)) == 3

    def test_the_cosignature_states_the_time(self, running):
        before = int(time.time())
        _, _, answer = running.post(body(0, 3))
        found = parse_lines(Checkpoint(ORIGIN, 3, root(3)).text(), answer).signatures[0]
        assert before <= int.from_bytes(found.signature[:8], "big") <= int(time.time())

    def test_each_refusal_has_its_status(self, running):
        assert running.post(body(0, 9))[0] == 200
        assert running.post(b"nonsense")[0] == 400
        assert running.post(body(12, 9))[0] == 400
        assert running.post(body(0, 9, origin="other.example/log"))[0] == 404
        assert running.post(body(9, 12, key=STRANGER))[0] == 403
        assert running.post(body(9, 12, leaves=FORKED))[0] == 422
        assert running.post(body(9, 9, leaves=FORKED))[0] == 422
        status, media_type, answer = running.post(body(3, 12))
        assert (status, media_type, answer) == (409, "text/x.tlog.size", b"9\n")
        assert running.post(b"x" * (MAX_BODY_BYTES + 1))[0] == 413
        assert http(f"{running.url}/add-checkpoint")[0] == 405
        assert http(f"{running.url}/{PATH}/checkpoint", b"x")[0] == 405
        for path in ("", "/", "/x", f"/{PATH}", f"/{'0' * 64}/checkpoint", f"/{'0' * 64}/evidence"):
            assert http(running.url + path)[0] == 404
        assert running.post(body(9, 12))[0] == 200

    def test_nothing_is_shown_before_something_was_cosigned(self, running):
        assert http(f"{running.url}/{PATH}/checkpoint")[0] == 404
        assert http(f"{running.url}/{PATH}/evidence")[::2] == (200, b"")

    def test_a_log_that_tells_two_histories_is_convicted_by_what_the_witness_shows(self, running):
        running.post(body(0, 9))
        running.post(body(9, 12, leaves=FORKED))
        running.post(body(9, 12, leaves=FORKED))
        running.post(body(9, 12))
        (row,) = map(json.loads, http(f"{running.url}/{PATH}/evidence")[2].splitlines())
        assert row["status"] == 422
        for text, size, leaves in ((row["refused"], 12, FORKED), (row["held"], 9, LEAVES)):
            assert note.open_checkpoint(text.encode(), ORIGIN, [VKEY]).root == root(size, leaves)

    def test_a_foreign_verifier_reads_both_kinds_of_line(self, home):
        with WitnessProcess(home, VKEY.encode(), more=("--mldsa", "--name", "witness.example/w1")) as running:
            _, _, answer = running.post(body(0, 9))
            vkeys = running.vkeys
        lines = [signing.NoteSignature.from_line(line) for line in answer.decode().splitlines()]
        known = signing.VkeySet(*map(signing.Vkey.from_string, vkeys))
        for size, found in ((9, {0x04, 0x06}), (10, set())):
            head = ForeignCheckpoint(ORIGIN, size, root(size), [])
            assert {vkey.sig_type for vkey, _ in known.verify(lines, head)} == found
        assert {line.name for line in lines} == {"witness.example/w1"}

    def test_several_logs_and_several_keys_of_one_log(self, home):
        other = VerifierKey("other.example/log", Kind.ED25519, STRANGER.public_key().public_bytes_raw())
        with WitnessProcess(home, PQ_VKEY.encode(), VKEY.encode(), other.encode()) as running:
            assert running.post(body(0, 9))[0] == 200
            assert running.post(body(0, 4, key=STRANGER, origin="other.example/log"))[0] == 200
            assert running.post(body(9, 12))[0] == 200


class TestAtOnce:
    def test_of_many_posts_with_one_old_size_one_wins_and_the_others_hear_of_it(self, running):
        running.post(body(0, 5))
        answers = {}
        start = threading.Barrier(8)

        def send(size):
            data = body(5, size)
            start.wait()
            answers[size] = running.post(data)

        threads = [threading.Thread(target=send, args=(size,)) for size in range(300, 308)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [size for size, answer in answers.items() if answer[0] == 200]
        assert len(won) == 1
        assert {answer[::2] for size, answer in answers.items() if size not in won} == {(409, b"%d\n" % won[0])}

    def test_kills_at_any_moment_lose_no_cosignature(self, home):
        """What was answered is on disk: after each kill the witness stands at the answered size, or the one sent."""
        at, rounds = 0, 8
        for number in range(rounds):
            with WitnessProcess(home, VKEY.encode()) as running:
                status, _, answer = running.post(body(400, 400))
                assert status == (409 if at < 400 else 200)
                known = int(answer) if status == 409 else 400
                assert known in {at, at + 1}
                at = known
                threading.Timer(0.02 + number * 0.013, running.process.kill).start()
                for size in range(at + 1, 400):
                    try:
                        status, _, answer = running.post(body(size - 1, size))
                    except OSError:
                        break
                    assert status == 200
                    at = size
                running.process.wait(10)
        assert at > 0


class TestFiles:
    def test_the_key_is_its_owner_s_alone_and_the_name_stays(self, home):
        with WitnessProcess(home, VKEY.encode(), more=("--name", "witness.example/w1")) as running:
            first = running.told
        assert stat.S_IMODE((home / "witness.key").stat().st_mode) == 0o600
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE((home / "witness.db").stat().st_mode) == 0o600
        with WitnessProcess(home, VKEY.encode()) as running:
            assert running.told["name"] == "witness.example/w1"
            assert running.vkeys == first["vkeys"]

    def start(self, home, *more):
        return guard("witness", "--home", str(home), "--port", "0", "--log", VKEY.encode(), *more)

    def test_a_key_without_its_database_starts_nothing(self, home):
        with WitnessProcess(home, VKEY.encode()) as running:
            running.post(body(0, 9))
        assert {path.name for path in home.iterdir()} == {"lock", "witness.db", "witness.key"}
        (home / "witness.db").rename(home.parent / "witness.db")
        done = self.start(home)
        assert done.returncode == 75
        assert "forgot" in told(done)
        (home.parent / "witness.db").rename(home / "witness.db")
        with WitnessProcess(home, VKEY.encode()) as running:
            assert running.post(body(0, 12))[::2] == (409, b"9\n")

    def test_what_is_no_start_is_refused_with_a_reason(self, home):
        with WitnessProcess(home, VKEY.encode(), more=("--name", "w1")) as running:
            done = self.start(home)
            assert (done.returncode, "using it" in told(done)) == (75, True)
            with closing(sqlite3.connect(home / "witness.db")):
                assert running.post(body(0, 1))[0] == 200
        assert "name" in told(self.start(home, "--name", "w2"))
        os.chmod(home / "witness.key", 0o644)  # noqa: PTH101
        assert "chmod 600" in told(self.start(home))
        os.chmod(home / "witness.key", 0o600)  # noqa: PTH101
        (home / "witness.key").write_text("w1\nab\ncd\n")
        assert "restore the file" in told(self.start(home))

    @pytest.mark.parametrize("name", ["two words", "a+b", "x" * 300])
    def test_a_name_that_no_note_can_hold_is_refused_and_nothing_is_made(self, home, name):
        done = self.start(home, "--name", name)
        assert (done.returncode, (home / "witness.key").exists()) == (2, False)

    def test_a_log_is_named_by_the_key_of_a_log(self, home):
        witness = VerifierKey("w", Kind.COSIGNATURE, base64.b64decode("A" * 43 + "="))
        for text in ("nonsense", witness.encode()):
            done = guard("witness", "--home", str(home), "--port", "0", "--log", text)
            assert done.returncode == 2
        assert guard("witness", "--home", str(home), "--port", "0").returncode == 2
