"""Logs that fill tiles of the second level, once: 65,535 to 70,000 records, with constant memory."""

import hashlib
import struct
import tracemalloc

import pytest

from guard.audit import export, tiles, tree
from guard.audit.entry import body, entry
from guard.audit.proof import LogProof
from guard.audit.tiles import node_reader
from guard.audit.verifier.command import verify
from tests.audit.building import ORIGIN, PQ_VKEY, VKEY, record, signed, write

SIZE = 70_000
OLDER = (65_535, 65_536, 65_537, 69_888)


@pytest.fixture(scope="module")
def entries():
    """Records that differ in id, salt and number only; the rest is written once."""
    whole = entry(body(record(0)), 0)
    head, _, rest = whole.partition(b"8a12-000000000000")
    middle, _, tail = rest.partition(b"AAAAAAAAAAAAAAAAAAAAAA")
    tail = tail.removesuffix(b'"n":0}')
    return [b'%s8a12-%012x%s%022d%s"n":%d}' % (head, n, middle, n, tail, n) for n in range(SIZE)]


@pytest.fixture(scope="module")
def leaves(entries):
    return [tree.leaf_hash(one) for one in entries]


@pytest.fixture(scope="module")
def large_log(tmp_path_factory, entries, leaves):
    notes = [signed(ORIGIN, size, tree.root_of(leaves[:size])) for size in (*OLDER, SIZE)]
    policy = export.policy_text([VKEY, PQ_VKEY])
    return write(tmp_path_factory.mktemp("large"), export.layout(ORIGIN, notes, entries, leaves, policy))


def test_it_has_the_tiles_of_the_specification(large_log):
    found = sorted(
        place.relative_to(large_log).as_posix() for place in (large_log / "tile").rglob("*") if place.is_file()
    )
    assert found == sorted(tile.path() for tile in tiles.tiles_of(SIZE))
    assert (large_log / "tile/0/273.p/112").stat().st_size == 112 * 32
    assert (large_log / "tile/1/000").stat().st_size == 256 * 32
    assert (large_log / "tile/1/001.p/17").stat().st_size == 17 * 32
    assert (large_log / "tile/2/000.p/1").stat().st_size == 32


def test_it_verifies_with_its_past(large_log):
    report = verify(large_log)
    assert report.faults == []
    assert report.counts["records"] == SIZE
    assert report.counts["checkpoints"] == len(OLDER)


@pytest.mark.parametrize("size", OLDER)
def test_it_verifies_from_each_earlier_checkpoint(large_log, size):
    report = verify(large_log, since=(large_log / f"checkpoints/{size}").read_bytes())
    assert report.faults == []
    assert report.counts["records"] == SIZE - size // 256 * 256


def test_one_changed_record_is_named(large_log):
    place = large_log / "tile/entries/100"
    good = place.read_bytes()
    try:
        place.write_bytes(good.replace(b'"n":25800}', b'"n":25801}'))
        found = [(fault.path, fault.at) for fault in verify(large_log).faults if "logged" in fault.detail]
    finally:
        place.write_bytes(good)
    assert found == [("tile/entries/100", 25_800)]


@pytest.mark.parametrize("path", ["tile/2/000.p/1", "tile/1/000", "tile/1/001.p/17", "tile/0/255"])
def test_one_changed_hash_is_named(large_log, path):
    place = large_log / path
    good = place.read_bytes()
    try:
        place.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        found = {fault.path for fault in verify(large_log).faults}
    finally:
        place.write_bytes(good)
    assert path in found


@pytest.mark.parametrize("index", [0, 65_535, 65_536, 69_999])
def test_proofs_read_from_its_tiles_verify(large_log, leaves, index):
    node = node_reader(SIZE, lambda tile: (large_log / tile.path()).read_bytes())
    root = tree.root_of(leaves)
    hashes = tree.inclusion_proof(index, SIZE, node)
    tree.verify_inclusion(index, SIZE, leaves[index], hashes, root)
    made = LogProof(index, tuple(hashes), (large_log / "checkpoint").read_bytes())
    write(large_log, [(f"proofs/{index}.tlog-proof", made.encode())])
    report = verify(large_log)
    (large_log / f"proofs/{index}.tlog-proof").unlink()
    assert (report.faults, report.counts["proofs"]) == ([], 1)


@pytest.mark.parametrize("first", OLDER)
def test_consistency_read_from_its_tiles_verifies(large_log, leaves, first):
    node = node_reader(SIZE, lambda tile: (large_log / tile.path()).read_bytes())
    proof = tree.consistency_proof(first, SIZE, node)
    tree.verify_consistency(first, SIZE, tree.root_of(leaves[:first]), tree.root_of(leaves), proof)


def test_laying_out_a_log_takes_the_memory_of_a_bundle(entries, leaves):
    note = signed(ORIGIN, SIZE, tree.root_of(leaves))
    tracemalloc.start()
    total = sum(len(data) for _, data in export.layout(ORIGIN, [note], entries, leaves, export.policy_text([VKEY])))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 30_000_000
    assert peak < 1_500_000


def test_the_root_is_that_of_hashing_level_by_level(leaves):
    """The tree once more, bottom up: an odd last hash moves up as it is."""
    row = leaves
    while len(row) > 1:
        joined = [
            hashlib.sha256(struct.pack("c32s32s", b"\x01", *row[at : at + 2])).digest()
            for at in range(0, len(row) - 1, 2)
        ]
        row = joined + row[len(joined) * 2 :]
    assert row[0] == tree.root_of(leaves)
