"""Tile paths, widths and bytes of c2sp.org/tlog-tiles."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import tiles, tree
from guard.audit.tiles import Tile
from guard.errors import InvalidInput
from tests.audit.building import naive_root

LEAVES = [tree.leaf_hash(number.to_bytes(4, "big")) for number in range(700)]

PATHS = [
    (Tile(0, 0), "tile/0/000"),
    (Tile(0, 999), "tile/0/999"),
    (Tile(0, 1000), "tile/0/x001/000"),
    (Tile(0, 1234067), "tile/0/x001/x234/067"),
    (Tile(1, 273, 112), "tile/1/273.p/112"),
    (Tile(None, 0), "tile/entries/000"),
    (Tile(None, 1234067, 1), "tile/entries/x001/x234/067.p/1"),
    (Tile(7, 5, 255), "tile/7/005.p/255"),
    (Tile(None, 10**18, 3), "tile/entries/x001/x000/x000/x000/x000/x000/000.p/3"),
]

NO_PATHS = [
    "",
    "tile/0/0",
    "tile/0/00",
    "tile/0/0000",
    "tile/0/1234",
    "tile/0/x000/001",
    "tile/0/000.p/0",
    "tile/0/000.p/256",
    "tile/0/000.p/007",
    "tile/0/000.p/",
    "tile/0/000.p/1/",
    "tile/00/000",
    "tile/8/000",
    "tile/64/000",
    "tile/-1/000",
    "tile/8/0/000",
    "tile/data/000",
    "tile/entries/x001",
    "tile/entries/001/002",
    "tile/entries/../../etc/passwd",
    "/tile/0/000",
    "tile/0/000\n",
    "tile/0/٠٠٠",
    "checkpoint",
]


class TestPaths:
    @pytest.mark.parametrize(("tile", "path"), PATHS)
    def test_path_and_back(self, tile, path):
        assert tile.path() == path
        assert tiles.parse_path(path) == tile

    @pytest.mark.parametrize("path", NO_PATHS)
    def test_other_paths_are_refused(self, path):
        with pytest.raises(InvalidInput, match="path of a tile"):
            tiles.parse_path(path)

    @given(st.none() | st.integers(0, 7), st.integers(0, 10**12), st.integers(1, 256))
    @settings(max_examples=100)
    def test_each_tile_has_one_path(self, level, n, width):
        tile = Tile(level, n, width)
        assert tiles.parse_path(tile.path()) == tile

    @given(st.text(alphabet="tile/entrsx0123456789.p", max_size=30))
    @settings(max_examples=200)
    def test_what_parses_is_written_the_same(self, path):
        try:
            tile = tiles.parse_path("tile/" + path)
        except InvalidInput:
            return
        assert tile.path() == "tile/" + path

    def test_a_tile_knows_its_first_leaf(self):
        assert [Tile(level, 3).start for level in (None, 0, 1, 2)] == [768, 768, 196_608, 50_331_648]


class TestWidths:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            (0, []),
            (1, ["entries/000.p/1", "0/000.p/1"]),
            (255, ["entries/000.p/255", "0/000.p/255"]),
            (256, ["entries/000", "0/000", "1/000.p/1"]),
            (257, ["entries/000", "entries/001.p/1", "0/000", "0/001.p/1", "1/000.p/1"]),
        ],
    )
    def test_the_files_of_small_logs(self, size, expected):
        assert [tile.path() for tile in tiles.tiles_of(size)] == [f"tile/{path}" for path in expected]

    @pytest.mark.parametrize(
        ("size", "full", "partial"),
        [
            (65_535, {0: 255}, {0: 255, 1: 255}),
            (65_536, {0: 256, 1: 1}, {2: 1}),
            (65_537, {0: 256, 1: 1}, {0: 1, 2: 1}),
            (70_000, {0: 273, 1: 1}, {0: 112, 1: 17, 2: 1}),
        ],
    )
    def test_the_tiles_of_large_logs(self, size, full, partial):
        found = [tile for tile in tiles.tiles_of(size) if tile.level is not None]
        whole = [tile.level for tile in found if tile.width == 256]
        assert {level: whole.count(level) for level in set(whole)} == full
        assert {tile.level: tile.width for tile in found if tile.width < 256} == partial

    @pytest.mark.parametrize(
        ("level", "size", "n", "width"),
        [(0, 0, 0, 0), (0, 256, 0, 256), (0, 256, 1, 0), (0, 300, 1, 44), (1, 70_000, 1, 17), (2, 70_000, 0, 1)],
    )
    def test_the_width_of_one_tile(self, level, size, n, width):
        assert tiles.width_of(level, size, n) == width

    @given(st.integers(0, 200_000))
    @settings(max_examples=50)
    def test_widths_add_up_to_the_complete_subtrees(self, size):
        for level in (0, 1, 2):
            widths = [tile.width for tile in tiles.tiles_of(size) if tile.level == level]
            assert sum(widths) == size >> (8 * level)


class TestTileBytes:
    @pytest.mark.parametrize("width", [1, 2, 255, 256])
    def test_hashes_and_back(self, width):
        data = tiles.tile_bytes(LEAVES[:width])
        assert len(data) == 32 * width
        assert tiles.tile_hashes(data, width) == LEAVES[:width]

    def test_a_partial_is_the_prefix_of_the_full_tile(self):
        full = tiles.tile_bytes(LEAVES[:256])
        assert full.startswith(tiles.tile_bytes(LEAVES[:112]))
        assert tiles.tile_hashes(full, 112) == LEAVES[:112]

    @pytest.mark.parametrize("hashes", [[], LEAVES[:257], [bytes(31)], [LEAVES[0], b""]])
    def test_no_tile_of_other_hashes(self, hashes):
        with pytest.raises(InvalidInput, match="hashes"):
            tiles.tile_bytes(hashes)

    @pytest.mark.parametrize(("length", "width"), [(0, 1), (31, 1), (33, 1), (64, 3), (8224, 256)])
    def test_no_hashes_of_other_bytes(self, length, width):
        with pytest.raises(InvalidInput, match="Expected a tile"):
            tiles.tile_hashes(bytes(length), width)


class TestBundles:
    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=256))
    @settings(max_examples=60)
    def test_entries_and_back(self, entries):
        data = tiles.encode_bundle(entries)
        assert tiles.decode_bundle(data) == entries

    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=30), st.data())
    @settings(max_examples=60)
    def test_a_cut_bundle_is_the_bundle_of_its_first_entries(self, entries, data):
        width = data.draw(st.integers(1, len(entries)))
        assert tiles.cut_bundle(tiles.encode_bundle(entries), width) == tiles.encode_bundle(entries[:width])

    def test_the_length_is_two_bytes_with_the_higher_first(self):
        assert tiles.encode_bundle([b"a" * 258])[:4] == b"\x01\x02aa"

    def test_the_largest_entry_fits_and_a_larger_does_not(self):
        assert tiles.decode_bundle(tiles.encode_bundle([bytes(65_535)])) == [bytes(65_535)]
        with pytest.raises(InvalidInput, match="at most 65535"):
            tiles.encode_bundle([bytes(65_536)])

    @pytest.mark.parametrize("count", [0, 257])
    def test_a_bundle_has_1_to_256_entries(self, count):
        with pytest.raises(InvalidInput, match="1 to 256 entries"):
            tiles.encode_bundle([b"a"] * count)

    @pytest.mark.parametrize(
        "data",
        [b"", b"\x00", b"\x00\x01", b"\x00\x02a", b"\x00\x01ab", b"\x00\x01a\x00", b"\xff\xff" + bytes(65_534)],
    )
    def test_damaged_bundles_are_refused(self, data):
        with pytest.raises(InvalidInput, match="whole entries"):
            tiles.decode_bundle(data)

    def test_more_than_256_entries_are_no_bundle(self):
        with pytest.raises(InvalidInput, match="whole entries"):
            tiles.decode_bundle(b"\x00\x00" * 257)

    @pytest.mark.parametrize("width", [0, 3, 257])
    def test_a_bundle_is_not_cut_to_a_width_that_it_has_not(self, width):
        with pytest.raises(InvalidInput):
            tiles.cut_bundle(tiles.encode_bundle([b"a", b"b"]), width)

    def test_a_bundle_that_ends_inside_an_entry_is_not_cut_there(self):
        with pytest.raises(InvalidInput):
            tiles.cut_bundle(b"\x00\x05abc", 1)


class TestNodeReader:
    def reader(self, size):
        def read(tile):
            row = LEAVES[:size]
            for _ in range(tile.level):
                row = [naive_root(row[at : at + 256]) for at in range(0, len(row) // 256 * 256, 256)]
            return tiles.tile_bytes(row[tile.n * 256 : tile.n * 256 + tile.width])

        return tiles.node_reader(size, read)

    @pytest.mark.parametrize(
        ("level", "index"), [(0, 0), (0, 699), (3, 80), (7, 4), (8, 0), (8, 1), (9, 0), (4, 42), (6, 9)]
    )
    def test_every_perfect_subtree_is_found(self, level, index):
        expected = naive_root(LEAVES[index << level : (index + 1) << level])
        assert self.reader(700)(level, index) == expected

    @pytest.mark.parametrize(("level", "index"), [(0, 700), (8, 2), (9, 1), (10, 0), (3, 87)])
    def test_an_unfinished_subtree_is_refused(self, level, index):
        with pytest.raises(InvalidInput, match="complete subtree"):
            self.reader(700)(level, index)

    @given(st.integers(1, 700), st.data())
    @settings(max_examples=40, deadline=None)
    def test_proofs_from_tiles_verify(self, size, data):
        index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
        node, root = self.reader(size), naive_root(LEAVES[:size])
        tree.verify_inclusion(index, size, LEAVES[index], tree.inclusion_proof(index, size, node), root)
        proof = tree.consistency_proof(first, size, node)
        tree.verify_consistency(first, size, naive_root(LEAVES[:first]), root, proof)

    def test_a_wider_tile_serves_as_well(self):
        full = tiles.tile_bytes(LEAVES[:256])
        assert tiles.node_reader(3, lambda _: full)(1, 0) == naive_root(LEAVES[:2])
