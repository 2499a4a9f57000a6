"""Offline inclusion proofs: one spelling, complete in themselves."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import proof, tree
from guard.audit.checkpoint import Checkpoint
from guard.audit.proof import LogProof
from guard.errors import InvalidInput, VerificationFailed
from tests.audit.building import ORIGIN, STRANGER, VKEY, naive_root, node_of, signed

LEAVES = [tree.leaf_hash(bytes([number])) for number in range(100)]
NOTE = signed(ORIGIN, 100, naive_root(LEAVES))
GOOD = LogProof(41, tuple(tree.inclusion_proof(41, 100, node_of(LEAVES))), NOTE)
TEXT = GOOD.encode()
FIRST = base64.b64encode(GOOD.hashes[0])


class TestForm:
    def test_the_text_is_that_of_the_specification(self):
        lines = TEXT.decode().split("\n")
        assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 41"]
        assert [base64.b64decode(line) for line in lines[2:9]] == list(GOOD.hashes)
        assert lines[9] == ""
        assert "\n".join(lines[10:]).encode() == NOTE

    @given(
        st.integers(0, 2**63 - 1),
        st.lists(st.binary(min_size=32, max_size=32), max_size=64),
        st.binary(max_size=100),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    )
    @settings(max_examples=100)
    def test_a_proof_and_back(self, index, hashes, extra, checkpoint):
        made = LogProof(index, tuple(hashes), checkpoint.encode(), extra)
        assert proof.parse(made.encode()) == made

    def test_the_only_entry_needs_no_hash(self):
        single = LogProof(0, (), signed(ORIGIN, 1, LEAVES[0]))
        assert single.encode().startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + ORIGIN.encode())
        assert proof.parse(single.encode()) == single
        assert proof.verify(single, LEAVES[0], ORIGIN, [VKEY]).size == 1

    def test_extra_data_is_read_and_kept(self):
        extra = LogProof(41, GOOD.hashes, NOTE, b"more")
        assert b"\nextra bW9yZQ==\nindex 41\n" in extra.encode()
        assert proof.parse(extra.encode()) == extra

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xff",
            TEXT[1:],
            TEXT.replace(b"@v1", b"@v2"),
            TEXT.replace(b"\n", b"\r\n"),
            TEXT.replace(b"index 41", b"index 041"),
            TEXT.replace(b"index 41", b"index -1"),
            TEXT.replace(b"index 41", b"index  41"),
            TEXT.replace(b"index 41", b"index 41 "),
            TEXT.replace(b"index 41", b"index " + b"9" * 20),
            TEXT.replace(b"index 41\n", b""),
            TEXT.replace(b"index 41\n", b"index 41\nindex 41\n"),
            TEXT.replace(b"index 41\n", b"extra \nindex 41\n"),
            TEXT.replace(b"index 41\n", b"extra !\nindex 41\n"),
            TEXT.replace(b"index 41\n", b"index 41\nextra bW9yZQ==\n"),
            TEXT.replace(FIRST, FIRST[:-1]),
            TEXT.replace(FIRST, FIRST + b"="),
            TEXT.replace(FIRST, base64.b64encode(bytes(31))),
            TEXT.replace(FIRST, base64.b64encode(bytes(33))),
            TEXT.replace(FIRST, b" " + FIRST),
            TEXT.replace(FIRST, b"-" + FIRST[1:]),
            TEXT.partition(b"\n\n")[0],
            TEXT.replace(FIRST + b"\n", (FIRST + b"\n") * 65),
            TEXT + b" " * (1 << 21),
        ],
    )
    def test_other_texts_are_no_proofs(self, data):
        with pytest.raises(InvalidInput):
            proof.parse(data)

    @given(st.integers(0, 400), st.binary(max_size=3))
    @settings(max_examples=150)
    def test_what_parses_is_written_the_same(self, at, junk):
        data = TEXT[:at] + junk + TEXT[at + len(junk) :]
        try:
            found = proof.parse(data)
        except InvalidInput:
            return
        assert found.encode() == data


class TestVerify:
    def test_a_proof_gives_its_checkpoint(self):
        assert proof.verify(GOOD, LEAVES[41], ORIGIN, [VKEY]) == Checkpoint(ORIGIN, 100, naive_root(LEAVES))

    @pytest.mark.parametrize("index", [0, 40, 42, 99, 100])
    def test_another_index_is_refused(self, index):
        with pytest.raises(VerificationFailed):
            proof.verify(LogProof(index, GOOD.hashes, NOTE), LEAVES[41], ORIGIN, [VKEY])

    def test_another_entry_is_refused(self):
        with pytest.raises(VerificationFailed, match="does not lead to the root"):
            proof.verify(GOOD, LEAVES[40], ORIGIN, [VKEY])

    @pytest.mark.parametrize(
        ("note", "origin"),
        [
            (signed(ORIGIN, 100, naive_root(LEAVES), key=STRANGER), ORIGIN),
            (signed(ORIGIN, 200, naive_root(LEAVES)), ORIGIN),
            (signed(ORIGIN, 100, LEAVES[0]), ORIGIN),
            (NOTE, "guard.example/guard/other"),
        ],
    )
    def test_another_checkpoint_is_refused(self, note, origin):
        with pytest.raises(VerificationFailed):
            proof.verify(LogProof(41, GOOD.hashes, note), LEAVES[41], origin, [VKEY])

    @given(st.integers(0, len(TEXT) - 1), st.integers(0, 7))
    @settings(max_examples=200)
    def test_no_changed_proof_verifies(self, at, bit):
        data = bytearray(TEXT)
        data[at] ^= 1 << bit
        with pytest.raises((InvalidInput, VerificationFailed)):
            proof.verify(proof.parse(bytes(data)), LEAVES[41], ORIGIN, [VKEY])
