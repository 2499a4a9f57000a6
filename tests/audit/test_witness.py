"""What a witness decides, case by case, and the body that it is sent; a model holds it to its two promises."""

import base64
import hashlib
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guard.audit import tree
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import Kind, VerifierKey
from guard.audit.witness import MAX_BODY_BYTES, Submission, decide, origin_of, parse, parse_size, path_of
from guard.errors import InvalidInput
from tests.audit.building import KEY, ORIGIN, PQ_VKEY, STRANGER, VKEY, node_of, signed

LEAVES = [tree.leaf_hash(b"%d" % number) for number in range(40)]
FORKED = [*LEAVES[:5], *(tree.leaf_hash(b"other %d" % number) for number in range(35))]
STRANGE = VerifierKey(ORIGIN, Kind.ED25519, STRANGER.public_key().public_bytes_raw())


def root(size, leaves=LEAVES):
    return tree.root_of(leaves[:size])


def head(size, leaves=LEAVES):
    return Checkpoint(ORIGIN, size, root(size, leaves))


def submission(old, size, *, leaves=LEAVES, key=KEY, pq=False, proof=None):
    if proof is None:
        proof = tree.consistency_proof(old, size, node_of(leaves)) if old <= size else []
    return Submission(old, tuple(proof), signed(ORIGIN, size, root(size, leaves), key=key, pq=pq))


def decided(given, last=None, keys=(VKEY,)):
    return decide(given, keys, last, ORIGIN)


class TestDecide:
    def test_the_first_checkpoint_of_a_known_log_is_cosigned(self):
        decision = decided(submission(0, 7))
        assert (decision.status, decision.head, decision.evidence) == (200, head(7), None)

    @pytest.mark.parametrize(("old", "size"), [(1, 2), (3, 8), (8, 9), (7, 40), (39, 40), (16, 32)])
    def test_an_extension_is_cosigned(self, old, size):
        assert decided(submission(old, size), head(old)).head == head(size)

    def test_the_same_checkpoint_is_cosigned_again(self):
        assert decided(submission(9, 9), head(9)).status == 200

    def test_an_empty_log_is_cosigned_and_grows(self):
        assert decided(submission(0, 0)).status == 200
        assert decided(submission(0, 4), head(0)).status == 200

    def test_an_empty_log_with_another_root_is_refused(self):
        given = Submission(0, (), signed(ORIGIN, 0, root(1)))
        assert decided(given).status == 422

    def test_an_unknown_origin_is_404(self):
        assert decided(submission(0, 7), keys=()).status == 404

    @pytest.mark.parametrize("key", [STRANGER, Ed25519PrivateKey.from_private_bytes(b"k" * 32)])
    def test_a_signature_by_a_key_that_is_not_trusted_is_403_and_no_evidence(self, key):
        decision = decided(submission(0, 7, key=key))
        assert (decision.status, decision.evidence) == (403, None)

    def test_a_broken_signature_by_the_trusted_key_is_403(self):
        given = submission(0, 7)
        assert decided(Submission(0, (), given.note.replace(b"\n7\n", b"\n8\n"))).status == 403

    def test_either_kind_of_key_is_enough(self):
        both = submission(0, 7, pq=True)
        assert decided(both, keys=(PQ_VKEY,)).status == decided(both, keys=(VKEY, PQ_VKEY)).status == 200
        assert decided(submission(0, 7), keys=(PQ_VKEY,)).status == 403
        assert decided(both, keys=(STRANGE,)).status == 403

    def test_an_old_size_above_the_new_one_is_400(self):
        assert decided(submission(9, 7), head(9)).status == 400

    @pytest.mark.parametrize(("old", "size", "at"), [(0, 7, 5), (3, 7, 5), (6, 7, 5), (3, 5, 0)])
    def test_another_old_size_is_409_with_the_size_cosigned_last(self, old, size, at):
        decision = decided(submission(old, size), head(at) if at else None)
        assert (decision.status, decision.size, decision.head) == (409, at, None)

    def test_what_was_cosigned_and_comes_again_under_another_old_size_is_no_evidence(self):
        assert decided(submission(3, 7), head(7)).evidence is None
        assert decided(submission(3, 6), head(7)).evidence == head(6)

    def test_another_history_of_the_same_size_is_422_and_evidence(self):
        decision = decided(submission(9, 9, leaves=FORKED), head(9))
        assert (decision.status, decision.head, decision.evidence) == (422, None, head(9, FORKED))

    @pytest.mark.parametrize("size", [10, 16, 33])
    def test_another_history_of_a_larger_size_is_422_and_evidence(self, size):
        decision = decided(submission(9, size, leaves=FORKED), head(9))
        assert (decision.status, decision.evidence) == (422, head(size, FORKED))

    def test_a_proof_is_neither_missing_nor_spare_nor_changed(self):
        good = submission(9, 33)
        assert decided(Submission(9, (), good.note), head(9)).status == 422
        assert decided(Submission(9, (*good.proof, root(1)), good.note), head(9)).status == 422
        assert decided(Submission(9, (root(1), *good.proof[1:]), good.note), head(9)).status == 422
        assert decided(Submission(0, (root(1),), good.note)).status == 422
        assert decided(Submission(9, (root(1),), submission(9, 9).note), head(9)).status == 422

    @given(st.integers(0, 2**32))
    def test_whatever_comes_what_is_cosigned_only_ever_grows_and_stays_one_history(self, seed):
        rng = random.Random(seed)
        last, seen = None, []
        for _ in range(12):
            at = last.size if last else 0
            old = rng.choice([at, at, at, rng.randrange(40)])
            leaves = rng.choice([LEAVES, LEAVES, FORKED])
            size = rng.randrange(40)
            proof = tree.consistency_proof(min(old, size), size, node_of(leaves))
            decision = decided(Submission(old, tuple(proof), signed(ORIGIN, size, root(size, leaves))), last)
            if decision.head:
                assert decision.head.size >= at
                last = decision.head
                seen.append(last)
        histories = [all(one.root == root(one.size, leaves) for one in seen) for leaves in (LEAVES, FORKED)]
        assert any(histories)


class TestBody:
    @pytest.mark.parametrize(("old", "size"), [(0, 7), (5, 7), (7, 7), (1, 40)])
    def test_what_is_written_is_read(self, old, size):
        given = submission(old, size, pq=True)
        assert parse(given.encode()) == given
        assert origin_of(given) == ORIGIN

    def test_the_form_is_that_of_the_specification(self):
        body = submission(3, 4).encode().decode().split("\n")
        assert body[0] == "old 3"
        assert [len(base64.b64decode(line)) for line in body[1:4]] == [32, 32, 32]
        assert body[4:7] == ["", ORIGIN, "4"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda body: b"",
            lambda body: b"old\n" + body[6:],
            lambda body: body.replace(b"old 3", b"old 03"),
            lambda body: body.replace(b"old 3", b"old -3"),
            lambda body: body.replace(b"old 3", b"Old 3"),
            lambda body: body.replace(b"old 3", b"old 3 "),
            lambda body: body.replace(b"old 3", b"old 99999999999999999999"),
            lambda body: body.replace(b"old 3\n", b"old 3\r\n"),
            lambda body: body.replace(b"old 3\n", b"old 3\nAAAA\n"),
            lambda body: body.replace(b"old 3\n", b"old 3\n!" + b"A" * 43 + b"\n"),
            lambda body: body.replace(b"old 3\n", b"old 3\n" + (b"A" * 43 + b"=\n") * 64),
            lambda body: body.replace(b"old 3", "old ٣".encode()),
            lambda body: body.split(b"\n\n")[0] + b"\n",
            lambda body: body + b"x" * MAX_BODY_BYTES,
        ],
    )
    def test_another_form_is_refused(self, change):
        with pytest.raises(InvalidInput):
            parse(change(submission(3, 4).encode()))

    @given(st.binary(max_size=300))
    def test_any_bytes_are_read_or_refused(self, data):
        try:
            found = parse(data)
        except InvalidInput:
            return
        assert found.encode() == data

    def test_sixty_three_proof_lines_are_read(self):
        given = Submission(3, tuple(bytes([number]) * 32 for number in range(63)), submission(3, 4).note)
        assert parse(given.encode()) == given

    @pytest.mark.parametrize("body", [b"", b"7", b"07\n", b"-1\n", b"7\n\n", b"x\n", b"99999999999999999999\n"])
    def test_a_size_has_one_form(self, body):
        assert parse_size(b"7\n") == 7
        with pytest.raises(InvalidInput):
            parse_size(body)

    def test_a_log_is_found_by_the_hash_of_its_origin(self):
        assert path_of("example.com/log") == hashlib.sha256(b"example.com/log").hexdigest()
