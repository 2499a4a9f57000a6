"""Two implementations, one written for evidence and one for the service, agree on every tree, path, key and note."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import note, tree
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import VerifierKey
from guard.audit.tiles import Tile, decode_bundle, encode_bundle
from guard.audit.verifier import notes
from guard.audit.verifier.canonical import canonical, dumped
from guard.audit.verifier.tree import climb, root_of, tile_path, unframe
from guard.audit.verifier.trust import Trust
from guard.errors import GuardError, VerificationFailed
from tests.audit.building import KEY, ORIGIN, PQ_KEY, PQ_VKEY, VKEY, naive_root, node_of, signed

LEAVES = [tree.leaf_hash(number.to_bytes(4, "big")) for number in range(600)]
NOTE = signed(ORIGIN, 600, naive_root(LEAVES))


class TestTrees:
    @given(st.integers(0, 600))
    @settings(max_examples=80, deadline=None)
    def test_one_root(self, size):
        assert root_of(LEAVES[:size]) == tree.root_of(LEAVES[:size])

    @given(st.integers(0, 600))
    @settings(max_examples=60, deadline=None)
    def test_one_root_from_unfinished_tiles(self, size):
        full = size // 256
        upper = [naive_root(LEAVES[at * 256 : at * 256 + 256]) for at in range(full)]
        assert root_of(LEAVES[full * 256 : size], upper, [], []) == tree.root_of(LEAVES[:size])

    @given(st.integers(1, 200), st.data())
    @settings(max_examples=100, deadline=None)
    def test_one_verdict_on_inclusion(self, size, data):
        index = data.draw(st.integers(0, size - 1))
        proof = tree.inclusion_proof(index, size, node_of(LEAVES[:size]))
        proof = data.draw(st.sampled_from([proof, proof[:-1], [*proof, LEAVES[0]], proof[::-1]]))
        claimed = data.draw(st.sampled_from([index, index ^ 1, 0, size - 1]))
        root = naive_root(LEAVES[:size])
        try:
            tree.verify_inclusion(claimed, size, LEAVES[index], proof, root)
            held = True
        except VerificationFailed:
            held = False
        assert (claimed < size and climb(claimed, size, LEAVES[index], proof) == root) == held

    def test_the_conformance_proofs_lead_to_the_same_verdicts(self, conformance):
        files, good = sorted((conformance("merkle") / "inclusion").rglob("*.json")), 0
        for file in files:
            case = json.loads(file.read_text())
            leaf, root = base64.b64decode(case["leafHash"]), base64.b64decode(case["root"])
            proof = [base64.b64decode(item) for item in case["proof"] or []]
            led = climb(case["leafIdx"], case["treeSize"], leaf, proof)
            held = len(root) == 32 and case["leafIdx"] < case["treeSize"] and led == root
            assert held is not case["wantErr"], file.name
            good += held
        assert (len(files), good) == (98, 6)

    def test_the_heads_of_the_conformance_set_that_agree_are_those_that_the_tree_gives(self, conformance):
        """The verifier grows one tree instead of reading consistency proofs; equal sizes need equal roots, 0 too."""
        files, equal = sorted((conformance("merkle") / "consistency").rglob("*.json")), 0
        for file in files:
            case = json.loads(file.read_text())
            if case["size1"] == case["size2"] and not case["proof"]:
                first, second = (base64.b64decode(case[name]) for name in ("root1", "root2"))
                held = first == second and (case["size1"] > 0 or first == root_of())
                equal += 1
                assert held is not case["wantErr"], file.name
        assert len(files) == 98
        assert equal > 0


class TestTiles:
    @given(st.none() | st.integers(0, 7), st.integers(0, 10**12), st.integers(1, 256))
    @settings(max_examples=100)
    def test_one_path(self, level, n, width):
        assert tile_path("entries" if level is None else level, n, width) == Tile(level, n, width).path()

    @given(st.lists(st.binary(max_size=30), min_size=1, max_size=20), st.binary(max_size=3))
    @settings(max_examples=80)
    def test_one_reading_of_bundles(self, entries, junk):
        data = encode_bundle(entries)
        assert unframe(data, len(entries)) == (entries, True)
        spoilt = data + junk
        try:
            read = decode_bundle(spoilt)
        except GuardError:
            read = None
        for width in range(1, 25):
            _, whole = unframe(spoilt, width)
            assert whole == (read is not None and len(read) == width)


class TestCanonicalJson:
    def test_the_published_pairs_are_read_as_canonical_or_refused(self, conformance):
        """Numbers with fractions and keys of surrogate pairs are outside the profile of records."""
        accepted = []
        for file in sorted((conformance("jcs") / "output").iterdir()):
            text = file.read_text()
            try:
                value = canonical(text)
            except ValueError:
                continue
            assert dumped(value) == text
            assert value == json.loads((conformance("jcs") / "input" / file.name).read_text())
            accepted.append(file.stem)
        assert accepted == ["arrays", "french", "structures", "unicode"]

    def test_an_input_that_is_not_canonical_is_never_taken_for_one(self, conformance):
        for file in sorted((conformance("jcs") / "input").iterdir()):
            if file.read_bytes() != (conformance("jcs") / "output" / file.name).read_bytes():
                with pytest.raises(ValueError, match=r"expected|int"):
                    canonical(file.read_text())

    @pytest.mark.parametrize("text", ['{"\ufb33":1,"\U0001f600":2}', '{"\U0001f600":2,"\ufb33":1}'])
    def test_keys_that_two_orders_sort_differently_are_refused(self, text):
        with pytest.raises(ValueError, match="multilingual"):
            canonical(text)


class TestKeysAndNotes:
    @pytest.mark.parametrize("key", [VKEY, PQ_VKEY])
    def test_one_key(self, key):
        label, material = notes.parse_vkey(key.encode())
        assert label == f"{key.name}+{key.key_id.hex()}"
        assert material == bytes([key.kind]) + key.public

    @given(st.integers(0, len(VKEY.encode()) - 1), st.characters(min_codepoint=33, max_codepoint=0x2FF))
    @settings(max_examples=150)
    def test_one_verdict_on_changed_keys(self, at, mark):
        text = VKEY.encode()
        text = text[:at] + mark + text[at + 1 :]
        try:
            VerifierKey.decode(text)
            held = True
        except GuardError:
            held = False
        try:
            notes.parse_vkey(text)
        except ValueError:
            assert not held
        else:
            assert held

    @given(st.integers(0, len(NOTE) - 1), st.integers(0, 7))
    @settings(max_examples=200)
    def test_one_verdict_on_changed_checkpoints(self, at, bit):
        data = bytearray(NOTE)
        data[at] ^= 1 << bit
        try:
            note.open_checkpoint(bytes(data), ORIGIN, [VKEY])
            held = True
        except GuardError:
            held = False
        assert opens(bytes(data)) == held is False
        assert opens(NOTE) is True

    @given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32), st.integers(0, 2**63 - 1))
    @settings(max_examples=30, deadline=None)
    def test_one_post_quantum_message(self, size, root, time):
        head = Checkpoint("example.org/日志", size, root)
        line = note.sign_mldsa44(head, "example.org/签名", PQ_KEY, time)
        material = b"\x06" + PQ_KEY.public_key().public_bytes_raw()
        seen = notes.Head(head.origin, head.size, head.root)
        assert notes.holds("example.org/签名", material, seen, head.text().encode(), line.signature)
        assert not notes.holds("example.org/other", material, seen, head.text().encode(), line.signature)

    def test_ed25519_as_published(self, conformance):
        """The 151 cases of C2SP/wycheproof."""
        groups = json.loads((conformance("wycheproof") / "ed25519_test.json").read_text())["testGroups"]
        wrong, asked = [], 0
        for group in groups:
            material = b"\x01" + bytes.fromhex(group["publicKey"]["pk"])
            for case in group["tests"]:
                asked += 1
                message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
                held = notes.holds("a", material, notes.Head("a", 0, b""), message, signature)
                wrong += [case["tcId"]] if held is not (case["result"] == "valid") else []
        assert (asked, wrong) == (151, [])

    @given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
    @settings(max_examples=30)
    def test_one_classical_message(self, size, root):
        head = Checkpoint(ORIGIN, size, root)
        line = note.sign_ed25519(head.text(), ORIGIN, KEY)
        seen = notes.Head(head.origin, head.size, head.root)
        assert notes.holds(ORIGIN, b"\x01" + VKEY.public, seen, head.text().encode(), line.signature)


def opens(data):
    """Does the verifier accept this as the checkpoint of a log?"""
    trust = Trust(dict([notes.parse_vkey(VKEY.encode())]), None, None)
    try:
        return trust.open(data.decode(), vouched=False).head.origin == ORIGIN
    except ValueError:
        return False
