"""The Merkle tree against the standard written out once more, and against the proofs of others."""

import base64
import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guard.audit import tree
from guard.audit.entry import entry
from guard.audit.tree import Edge
from guard.errors import InvalidInput, VerificationFailed
from tests.audit.building import TOY_BODY, naive_root, node_of

LEAVES = [tree.leaf_hash(f"entry {number}".encode()) for number in range(300)]
SIZES = [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 255, 256, 257]


def naive_path(index, leaves):
    """PATH of RFC 9162 section 2.1.3.1, written as it stands there."""
    if len(leaves) == 1:
        return []
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    if index < half:
        return [*naive_path(index, leaves[:half]), naive_root(leaves[half:])]
    return [*naive_path(index - half, leaves[half:]), naive_root(leaves[:half])]


def naive_subproof(first, leaves, *, whole):
    """SUBPROOF of RFC 9162 section 2.1.4.1, written as it stands there."""
    if first == len(leaves):
        return [] if whole else [naive_root(leaves)]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    if first <= half:
        return [*naive_subproof(first, leaves[:half], whole=whole), naive_root(leaves[half:])]
    return [*naive_subproof(first - half, leaves[half:], whole=False), naive_root(leaves[:half])]


class TestHashes:
    def test_the_empty_tree_has_the_hash_of_nothing(self):
        assert tree.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        assert Edge().root() == tree.root_of([]) == tree.EMPTY_ROOT

    def test_leaf_and_root_have_the_golden_values(self):
        leaves = [tree.leaf_hash(entry(TOY_BODY, n)) for n in (812, 813)]
        assert leaves[0].hex() == "b28bf71ce46db1785bff59819ff0230515241c62ecfa3aea8fefab04c768db24"
        root = base64.b64encode(tree.root_of(leaves)).decode()
        assert root == "Q6ynC7xJmyY6QAzGYdLE9RNW5PhWNSGJ35GeABFbGQs="

    def test_a_node_never_passes_for_a_leaf(self):
        left, right = LEAVES[:2]
        assert tree.node_hash(left, right) != tree.leaf_hash(left + right)

    def test_the_order_of_two_hashes_counts(self):
        assert tree.node_hash(LEAVES[0], LEAVES[1]) != tree.node_hash(LEAVES[1], LEAVES[0])


class TestEdge:
    @pytest.mark.parametrize("size", SIZES)
    def test_the_root_is_that_of_the_standard(self, size):
        assert tree.root_of(LEAVES[:size]) == naive_root(LEAVES[:size])

    @pytest.mark.parametrize("size", SIZES)
    def test_what_was_serialised_is_parsed(self, size):
        edge = Edge().extend(LEAVES[:size])
        data = edge.serialise()
        assert len(data) == 8 + 32 * size.bit_count()
        assert Edge.parse(data) == edge

    def test_appending_one_by_one_is_extending_at_once(self):
        edge = Edge()
        for size, leaf in enumerate(LEAVES[:70], 1):
            edge = edge.append(leaf)
            assert edge.size == size
            assert edge.root() == naive_root(LEAVES[:size])
        assert edge == Edge().extend(LEAVES[:70])

    def test_a_kept_edge_does_not_change(self):
        edge = Edge().extend(LEAVES[:5])
        before = edge.serialise()
        edge.append(LEAVES[5])
        assert edge.serialise() == before

    def test_the_largest_edge_has_63_peaks(self):
        data = tree.MAX_SIZE.to_bytes(8, "big") + bytes(32 * 63)
        assert len(Edge.parse(data).peaks) == 63

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            bytes(7),
            bytes(9),
            (1).to_bytes(8, "big"),
            (1).to_bytes(8, "big") + bytes(31),
            (1).to_bytes(8, "big") + bytes(33),
            (2).to_bytes(8, "big") + bytes(64),
            (2**63).to_bytes(8, "big") + bytes(32),
        ],
    )
    def test_other_bytes_are_no_edge(self, data):
        with pytest.raises(InvalidInput, match="right edge"):
            Edge.parse(data)

    @given(st.lists(st.integers(0, 40), max_size=6))
    @settings(max_examples=60)
    def test_extending_in_any_portions_gives_one_root(self, portions):
        edge, size = Edge(), 0
        for portion in portions:
            edge = edge.extend(LEAVES[size : size + portion])
            size += portion
        assert edge.root() == naive_root(LEAVES[:size])


class TestInclusion:
    @given(st.integers(1, 300), st.data())
    @settings(max_examples=150, deadline=None)
    def test_a_proof_is_that_of_the_standard_and_verifies(self, size, data):
        index = data.draw(st.integers(0, size - 1))
        leaves = LEAVES[:size]
        proof = tree.inclusion_proof(index, size, node_of(leaves))
        assert proof == naive_path(index, leaves)
        tree.verify_inclusion(index, size, leaves[index], proof, naive_root(leaves))

    @given(st.integers(1, 120), st.data())
    @settings(max_examples=150, deadline=None)
    def test_anything_changed_is_refused(self, size, data):
        index = data.draw(st.integers(0, size - 1))
        leaves = LEAVES[:size]
        proof = tree.inclusion_proof(index, size, node_of(leaves))
        good = (index, size, leaves[index], proof, naive_root(leaves))
        change = data.draw(st.sampled_from(["index", "leaf", "root", "hash", "longer", "shorter", "swapped"]))
        changed = change_inclusion(good, change, data.draw(st.integers(0, 299)))
        assume(changed != good)
        with pytest.raises(VerificationFailed):
            tree.verify_inclusion(*changed)

    @pytest.mark.parametrize(("index", "size"), [(-1, 1), (0, 0), (1, 1), (5, 3), (0, 2**63), (2**64, 2**65)])
    def test_an_index_outside_the_tree_has_no_proof(self, index, size):
        with pytest.raises(InvalidInput, match="index below the tree size"):
            tree.inclusion_proof(index, size, node_of(LEAVES))
        with pytest.raises(VerificationFailed):
            tree.verify_inclusion(index, size, LEAVES[0], [], LEAVES[0])

    @pytest.mark.parametrize("length", [0, 31, 33, 64])
    def test_a_hash_of_another_length_is_refused(self, length):
        with pytest.raises(VerificationFailed, match="32 bytes"):
            tree.verify_inclusion(0, 2, LEAVES[0], [bytes(length)], LEAVES[1])
        with pytest.raises(VerificationFailed, match="32 bytes"):
            tree.verify_inclusion(0, 1, bytes(length), [], bytes(length))

    def test_a_proof_longer_than_any_tree_is_refused(self):
        with pytest.raises(VerificationFailed, match="at most 64"):
            tree.verify_inclusion(0, 2, LEAVES[0], [LEAVES[1]] * 65, LEAVES[1])

    def test_the_reader_is_asked_for_whole_subtrees_only(self):
        asked = []

        def node(level, index):
            asked.append(((index + 1) << level, level))
            return node_of(LEAVES)(level, index)

        tree.inclusion_proof(100, 201, node)
        assert all(end <= 201 for end, _ in asked)
        assert max(level for _, level in asked) == 6


def change_inclusion(good, change, number):
    index, size, leaf, proof, root = good
    match change:
        case "index":
            return (number % size, size, leaf, proof, root)
        case "leaf":
            return (index, size, LEAVES[number], proof, root)
        case "root":
            return (index, size, leaf, proof, LEAVES[number])
        case "hash" if proof:
            at = number % len(proof)
            return (index, size, leaf, [*proof[:at], LEAVES[number], *proof[at + 1 :]], root)
        case "longer":
            return (index, size, leaf, [*proof, LEAVES[number]], root)
        case "shorter" if proof:
            return (index, size, leaf, proof[:-1], root)
        case _:
            return (index, size, leaf, proof[::-1], root)


class TestConsistency:
    @given(st.integers(1, 300), st.data())
    @settings(max_examples=150, deadline=None)
    def test_a_proof_is_that_of_the_standard_and_verifies(self, second, data):
        first = data.draw(st.integers(1, second))
        leaves = LEAVES[:second]
        proof = tree.consistency_proof(first, second, node_of(leaves))
        assert proof == naive_subproof(first, leaves, whole=True)
        tree.verify_consistency(first, second, naive_root(leaves[:first]), naive_root(leaves), proof)

    @given(st.integers(2, 120), st.data())
    @settings(max_examples=150, deadline=None)
    def test_anything_changed_is_refused(self, second, data):
        first = data.draw(st.integers(1, second - 1))
        leaves = LEAVES[:second]
        proof = tree.consistency_proof(first, second, node_of(leaves))
        old, new, other = naive_root(leaves[:first]), naive_root(leaves), LEAVES[data.draw(st.integers(0, 299))]
        at = data.draw(st.integers(0, len(proof) - 1))
        bad = [
            (first, second, new, old, proof),
            (first, second, old, new, proof[:-1]),
            (first, second, old, new, [*proof, other]),
            (first, second, old, new, []),
        ]
        if proof[at] != other:
            bad.append((first, second, old, new, [*proof[:at], other, *proof[at + 1 :]]))
        if other not in {old, new}:
            bad += [(first, second, other, new, proof), (first, second, old, other, proof)]
        for arguments in bad:
            with pytest.raises(VerificationFailed):
                tree.verify_consistency(*arguments)

    @pytest.mark.parametrize("size", SIZES[1:])
    def test_a_tree_is_a_prefix_of_itself_without_proof(self, size):
        root = naive_root(LEAVES[:size])
        assert tree.consistency_proof(size, size, node_of(LEAVES)) == []
        tree.verify_consistency(size, size, root, root, [])
        with pytest.raises(VerificationFailed, match="No proof is needed"):
            tree.verify_consistency(size, size, root, root, [LEAVES[0]])
        with pytest.raises(VerificationFailed, match="Two different roots"):
            tree.verify_consistency(size, size, root, LEAVES[299], [])

    def test_nothing_is_proved_from_the_empty_tree(self):
        assert tree.consistency_proof(0, 5, node_of(LEAVES)) == []
        with pytest.raises(VerificationFailed, match="at least 1"):
            tree.verify_consistency(0, 5, tree.EMPTY_ROOT, naive_root(LEAVES[:5]), [])

    @pytest.mark.parametrize("root", [bytes(32), LEAVES[0], b""])
    def test_the_empty_tree_has_one_root_only(self, root):
        tree.verify_consistency(0, 0, tree.EMPTY_ROOT, tree.EMPTY_ROOT, [])
        with pytest.raises(VerificationFailed, match="SHA-256 of nothing"):
            tree.verify_consistency(0, 0, root, root, [])

    @pytest.mark.parametrize(("first", "second"), [(-1, 3), (4, 3), (1, 2**63)])
    def test_sizes_out_of_order_are_refused(self, first, second):
        with pytest.raises(InvalidInput, match="rising order"):
            tree.consistency_proof(first, second, node_of(LEAVES))
        with pytest.raises(VerificationFailed, match="rising order"):
            tree.verify_consistency(first, second, LEAVES[0], LEAVES[0], [])

    def test_a_refusal_names_the_sizes_and_no_hash(self):
        with pytest.raises(VerificationFailed) as caught:
            tree.verify_consistency(2, 3, LEAVES[0], LEAVES[1], [LEAVES[2]])
        assert caught.value.detail == "The tree of size 2 is no prefix of the tree of size 3."
        assert caught.value.extra == {"size": 2}


class TestSubtree:
    @given(st.integers(0, 7), st.integers(1, 40))
    @settings(max_examples=60)
    def test_the_root_of_a_range_is_that_of_its_leaves(self, start, length):
        aligned = start << (length - 1).bit_length()
        assume(aligned + length <= 300)
        leaves = LEAVES[aligned : aligned + length]
        assert tree.subtree_root(aligned, aligned + length, node_of(LEAVES)) == naive_root(leaves)


def unpacked(case, *names):
    return [base64.b64decode(case[name]) for name in names]


def verdict(check, *arguments):
    try:
        check(*arguments)
    except VerificationFailed:
        return False
    return True


class TestConformance:
    """The proofs of transparency-dev/merkle: 6 good and 92 damaged ones of each kind."""

    def test_inclusion(self, conformance):
        wrong, good = [], 0
        files = sorted((conformance("merkle") / "inclusion").rglob("*.json"))
        for file in files:
            case = json.loads(file.read_text())
            leaf, root = unpacked(case, "leafHash", "root")
            proof = [base64.b64decode(item) for item in case["proof"] or []]
            held = verdict(tree.verify_inclusion, case["leafIdx"], case["treeSize"], leaf, proof, root)
            good += held
            if held == case["wantErr"]:
                wrong.append((file.name, case["desc"]))
        assert (len(files), good, wrong) == (98, 6, [])

    def test_consistency(self, conformance):
        wrong, good = [], 0
        files = sorted((conformance("merkle") / "consistency").rglob("*.json"))
        for file in files:
            case = json.loads(file.read_text())
            first, second = unpacked(case, "root1", "root2")
            proof = [base64.b64decode(item) for item in case["proof"] or []]
            held = verdict(tree.verify_consistency, case["size1"], case["size2"], first, second, proof)
            good += held
            if held == case["wantErr"]:
                wrong.append((file.name, case["desc"]))
        assert (len(files), good, wrong) == (98, 6, [])
