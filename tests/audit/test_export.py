"""The layout of a log directory: which files, in which order, with which bytes, and what stops it."""

import hashlib
import itertools
import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import tiles, tree
from guard.audit.export import layout, policy_text
from guard.audit.note import VerifierKey
from guard.errors import InvalidInput, VerificationFailed
from tests.audit.building import ORIGIN, PQ_VKEY, VKEY, Plan, entries_of, naive_root, signed

ENTRIES = entries_of(600)
LEAVES = [tree.leaf_hash(one) for one in ENTRIES]
POLICY = policy_text([VKEY])
SIZES = [0, 1, 2, 255, 256, 257, 511, 512, 513]


def note_of(size, **parts):
    return signed(ORIGIN, size, naive_root(LEAVES[:size]), **parts)


def laid_out(size, older=(), **parts):
    notes = [note_of(one) for one in (*older, size)]
    return list(layout(ORIGIN, notes, ENTRIES, LEAVES, POLICY, **parts))


class TestFiles:
    @pytest.mark.parametrize("size", SIZES)
    def test_the_tree_has_exactly_its_tiles(self, size):
        expected = {tile.path() for tile in tiles.tiles_of(size)}
        assert {path for path, _ in laid_out(size) if path.startswith("tile/")} == expected

    @pytest.mark.parametrize("size", SIZES)
    def test_bundles_hold_the_entries_and_tiles_their_hashes(self, size):
        found = dict(laid_out(size))
        bundles = [tile for tile in tiles.tiles_of(size) if tile.level is None]
        read = [one for tile in bundles for one in tiles.decode_bundle(found[tile.path()])]
        assert read == ENTRIES[:size]
        for tile in tiles.tiles_of(size):
            if tile.level == 0:
                hashes = tiles.tile_hashes(found[tile.path()], tile.width)
                assert hashes == LEAVES[tile.start : tile.start + tile.width]
            if tile.level == 1:
                hashes = tiles.tile_hashes(found[tile.path()], tile.width)
                assert hashes == [naive_root(LEAVES[at : at + 256]) for at in range(0, size // 256 * 256, 256)]

    @pytest.mark.parametrize("size", [0, 1, 257])
    def test_the_checkpoint_comes_last_and_the_manifest_before_it(self, size):
        paths = [path for path, _ in laid_out(size)]
        assert paths[-2:] == ["manifest.json", "checkpoint"]
        assert len(set(paths)) == len(paths)

    def test_older_checkpoints_and_proofs_have_their_places(self):
        found = dict(laid_out(300, older=(1, 256, 0), proofs={299: b"q", 7: b"p"}))
        assert {path for path in found if path.startswith("checkpoints/")} == {
            "checkpoints/0",
            "checkpoints/1",
            "checkpoints/256",
        }
        assert found["checkpoints/256"] == note_of(256)
        assert found["checkpoint"] == note_of(300)
        assert found["proofs/7.tlog-proof"] == b"p"
        assert found["proofs/299.tlog-proof"] == b"q"
        assert found["policy.txt"] == POLICY.encode()

    def test_the_order_of_the_notes_does_not_count(self):
        notes = [note_of(300), note_of(2), note_of(77)]
        for order in itertools.permutations(notes):
            found = dict(layout(ORIGIN, order, ENTRIES, LEAVES, POLICY))
            assert found["checkpoint"] == notes[0]

    def test_two_runs_give_the_same_bytes(self):
        assert laid_out(300, older=(5, 3)) == laid_out(300, older=(5, 3))

    def test_a_later_layout_extends_an_earlier_one(self):
        early, late = dict(laid_out(300)), dict(laid_out(600))
        full = [path for path in early if path.startswith("tile/") and ".p/" not in path]
        assert full == ["tile/entries/000", "tile/0/000"]
        assert all(late[path] == early[path] for path in full)
        assert late["tile/entries/001"].startswith(early["tile/entries/001.p/44"])
        assert late["tile/0/001"].startswith(early["tile/0/001.p/44"])
        assert late["tile/1/000.p/2"].startswith(early["tile/1/000.p/1"])


class TestManifest:
    def test_it_lists_what_the_root_does_not_cover(self):
        found = dict(laid_out(300, older=(5,), proofs={1: b"p"}, documents={"README": b"read me"}))
        written = json.loads(found["manifest.json"])
        small = [path for path in found if not path.startswith("tile/") and path != "manifest.json"]
        assert sorted(written["files"]) == sorted(small)
        assert all(written["files"][path] == hashlib.sha256(found[path]).hexdigest() for path in small)

    def test_it_repeats_what_the_checkpoint_says_in_canonical_form(self):
        data = dict(laid_out(300))["manifest.json"]
        written = json.loads(data)
        assert (written["origin"], written["size"]) == (ORIGIN, 300)
        assert written["root"] == note_of(300).decode().split("\n")[2]
        assert rfc8785.dumps(written) == data

    @pytest.mark.parametrize(
        "path", ["checkpoint", "policy.txt", "manifest.json", "tile/0/000", "proofs/1", "checkpoints/9"]
    )
    def test_a_document_cannot_take_a_name_of_the_log(self, path):
        with pytest.raises(InvalidInput, match="the log's"):
            laid_out(3, documents={path: b"x"})


class TestPolicy:
    def test_a_line_for_each_key_and_no_quorum(self):
        assert policy_text([VKEY, PQ_VKEY]) == f"log {VKEY.encode()}\nlog {PQ_VKEY.encode()}\nquorum none\n"

    def test_the_keys_read_back(self):
        lines = policy_text([VKEY, PQ_VKEY]).splitlines()
        assert [VerifierKey.decode(line.removeprefix("log ")) for line in lines[:-1]] == [VKEY, PQ_VKEY]


class TestRefusals:
    def parts(self, **changed):
        given = {
            "origin": ORIGIN,
            "notes": [note_of(300)],
            "entries": ENTRIES,
            "leaves": LEAVES,
            "policy": POLICY,
        }
        return list(layout(**given | changed))

    @given(st.integers(0, 299))
    @settings(max_examples=25, deadline=None)
    def test_a_changed_entry_stops_it_with_its_index(self, at):
        entries = [*ENTRIES[:at], ENTRIES[at] + b" ", *ENTRIES[at + 1 :]]
        with pytest.raises(VerificationFailed, match=rf"Entry {at} does not match") as caught:
            self.parts(entries=entries)
        assert caught.value.extra == {"index": at}

    def test_a_changed_leaf_hash_stops_it_with_its_index(self):
        leaves = [*LEAVES[:258], bytes(32), *LEAVES[259:]]
        with pytest.raises(VerificationFailed, match="Entry 258"):
            self.parts(leaves=leaves)

    @pytest.mark.parametrize("count", [0, 1, 255, 256, 299])
    def test_missing_entries_are_named(self, count):
        with pytest.raises(VerificationFailed, match=f"Expected 300 entries, got {count}"):
            self.parts(entries=ENTRIES[:count])
        with pytest.raises(VerificationFailed, match=f"Expected 300 entries, got {count}"):
            self.parts(leaves=LEAVES[:count])

    def test_entries_rewritten_with_their_leaf_hashes_give_another_root(self):
        entries = [*ENTRIES[:9], ENTRIES[10], *ENTRIES[10:]]
        with pytest.raises(VerificationFailed, match="root of the 300 entries"):
            self.parts(entries=entries, leaves=[tree.leaf_hash(one) for one in entries])

    def test_nothing_is_called_finished_before_the_root_was_compared(self):
        entries = [ENTRIES[1], *ENTRIES[1:]]
        leaves = [tree.leaf_hash(one) for one in entries]
        paths = []
        with pytest.raises(VerificationFailed):
            paths.extend(path for path, _ in layout(ORIGIN, [note_of(300)], entries, leaves, POLICY))
        assert "checkpoint" not in paths
        assert "manifest.json" not in paths

    @pytest.mark.parametrize(
        ("notes", "error"),
        [
            ([], InvalidInput),
            ([b"no note"], InvalidInput),
            ([signed("guard.example/guard/other", 300, naive_root(LEAVES[:300]))], VerificationFailed),
            ([note_of(300), signed(ORIGIN, 300, LEAVES[0])], VerificationFailed),
            ([note_of(300), signed("guard.example/guard/other", 3, LEAVES[0])], VerificationFailed),
        ],
    )
    def test_notes_that_cannot_be_exported_under(self, notes, error):
        with pytest.raises(error):
            self.parts(notes=notes)

    def test_the_same_size_signed_twice_with_one_root_is_no_contradiction(self):
        renewed = note_of(300, pq=True)
        assert dict(self.parts(notes=[note_of(300), renewed]))["checkpoint"] == renewed


class TestMemory:
    def test_entries_are_read_as_they_are_written(self):
        taken = []

        def entries():
            for one in ENTRIES:
                taken.append(one)
                yield one

        ahead = []
        written = 0
        for path, data in layout(ORIGIN, [note_of(600)], entries(), iter(LEAVES), POLICY):
            if path.startswith("tile/entries/"):
                written += len(tiles.decode_bundle(data))
                ahead.append(len(taken) - written)
        assert ahead == [0, 0, 0]

    def test_what_lies_beyond_the_size_is_not_read(self):
        def endless():
            yield from ENTRIES[:300]
            raise AssertionError("entry 300 was read for a log of 300")

        found = dict(layout(ORIGIN, [note_of(300)], endless(), iter(LEAVES), POLICY))
        assert "checkpoint" in found


def test_the_plan_of_these_tests_lays_out_what_the_store_would():
    assert list(Plan(ENTRIES[:300], older=(5,)).parts()) == laid_out(300, older=(5,))
