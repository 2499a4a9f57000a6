"""The log as the pipeline writes it, against a tree that is built anew from all stored entries."""

import itertools
import random
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.audit import store
from guard.audit.checkpoint import Verdict
from guard.audit.log import Log
from guard.audit.tree import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from guard.db.engine import open_store
from guard.db.entry import Entry
from guard.errors import StoreDamaged

ORIGIN = "guard.test/log"
RECEIPTS = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01")
NOW = 1_790_000_000_000_000


def naive_root(leaves):
    """RFC 6962 section 2.1 by its own words."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(naive_root(leaves[:half]), naive_root(leaves[half:]))


class Ledger:
    """A store with a log and no gate before it."""

    def __init__(self, path, files=None):
        self.path, self.files = path, files
        self.key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        self.numbers = itertools.count()
        self.open()

    def open(self, origin=ORIGIN):
        self.store = open_store(self.path)
        self.log = Log(origin, self.key, receipts=RECEIPTS, files=self.files)
        with self.store.write() as tx:
            self.log.load(tx, NOW)

    def restart(self):
        self.store.close()
        self.open()

    def entry(self, tenant="acme"):
        number = next(self.numbers)
        return Entry(b"{}", f"id-{number}", tenant, NOW + number, "event", None, "a", "b", "c", True, "ok", None)

    def append(self, count, tenants=("acme",)):
        """One group commit of *count* records."""
        group = [self.entry(tenants[number % len(tenants)]) for number in range(count)]
        with self.store.write() as tx:
            self.log.append(tx, group)
        self.log.committed()

    def lost(self, count):
        """A group that is rolled back."""
        with self.store.writer_engine.connect() as tx:
            tx.begin()
            self.log.append(tx, [self.entry() for _ in range(count)])
            tx.rollback()
        self.log.aborted()

    def check(self):
        """What is stored is what a rebuild gives: entries, leaves, head, tiles and numbers."""
        with self.store.read() as tx:
            entries = list(store.entries(tx, 0, self.log.size))
            leaves = [leaf_hash(one) for one in entries]
            assert list(self.log.reader(tx).leaves(self.log.size)) == leaves
            _, edge = store.read_head(tx)
            row = tx.exec_driver_sql("SELECT size, root FROM audit_head").one()
            assert (row.size, edge.size) == (self.log.size, self.log.size)
            if leaves:
                assert row.root == edge.root() == naive_root(leaves)
            stored = {(one.level, one.n): one.hashes for one in tx.exec_driver_sql("SELECT * FROM audit_tiles")}
            assert stored == full_tiles(leaves)
            for tenant, number in store.read_numbers(tx).items():
                found = tx.exec_driver_sql("SELECT n FROM audit_index WHERE tenant = ? ORDER BY idx", (tenant,))
                assert list(found.scalars()) == list(range(number))


def full_tiles(leaves):
    """Every tile of 256 hashes, from the bottom up."""
    tiles, level, hashes = {}, 0, leaves
    while len(hashes) >= 256:
        full = [hashes[at : at + 256] for at in range(0, len(hashes) // 256 * 256, 256)]
        tiles |= {(level, n): b"".join(tile) for n, tile in enumerate(full)}
        level, hashes = level + 1, [root_of(tile) for tile in full]
    return tiles


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "log.db")
    yield made
    made.store.close()


@contextmanager
def closed(made):
    try:
        yield made
    finally:
        made.store.close()


@pytest.mark.parametrize("groups", [(255, 1, 1), (256, 1), (257, 255), (1, 255, 256, 1), (512,), (100, 500, 200)])
def test_groups_that_meet_the_end_of_a_tile_in_every_way(ledger, groups):
    for group in groups:
        ledger.append(group, ("acme", "globex", "system"))
        ledger.check()
    ledger.restart()
    ledger.append(3)
    ledger.check()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["append", "lose", "restart"]), st.integers(1, 300)), max_size=8), st.data())
def test_any_groups_losses_and_restarts_give_the_naive_tree(tmp_path_factory, steps, data):
    with closed(Ledger(tmp_path_factory.mktemp("log") / "log.db")) as ledger:
        for step, count in steps:
            if step == "append":
                ledger.append(count, data.draw(st.sampled_from([("acme",), ("acme", "globex"), ("x", "y", "z")])))
            elif step == "lose":
                ledger.lost(count)
            else:
                ledger.restart()
        ledger.check()


def test_an_empty_group_is_nothing(ledger):
    ledger.append(0)
    assert ledger.log.size == 0
    ledger.check()


def test_a_group_that_is_rolled_back_leaves_no_trace_in_memory_either(ledger):
    ledger.append(254, ("acme", "globex"))
    for _ in range(3):
        ledger.lost(300)
    assert ledger.log.size == 254
    ledger.append(4, ("globex", "new"))
    ledger.check()


def test_the_log_of_another_origin_is_not_opened(ledger):
    ledger.append(1)
    ledger.store.close()
    with pytest.raises(StoreDamaged) as raised:
        ledger.open("guard.test/other")
    assert ORIGIN in raised.value.detail


def test_a_second_writer_is_noticed_by_the_moved_head(ledger):
    ledger.append(5)
    other = Log(ORIGIN, ledger.key, receipts=RECEIPTS)
    with ledger.store.write() as tx:
        other.load(tx, NOW)
    ledger.append(1)
    with pytest.raises(StoreDamaged), ledger.store.write() as tx:
        tx.exec_driver_sql("DELETE FROM audit_entries WHERE idx = 5")
        tx.exec_driver_sql("DELETE FROM audit_index WHERE idx = 5")
        other.append(tx, [ledger.entry("globex")])
    ledger.append(1)
    ledger.check()


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A log of 65,536 records and a few more, so that a tile of the second level is full."""
    made = Ledger(tmp_path_factory.mktemp("deep") / "log.db")
    rng = random.Random(5)
    left = 65_536
    while left:
        group = min(left, rng.choice([256, 255, 257, 1000, 4096]))
        made.append(group)
        left -= group
    yield made
    made.store.close()


def test_a_log_of_65536_records_has_its_tiles_and_goes_on_after_a_restart(deep):
    deep.check()
    with deep.store.read() as tx:
        assert store.read_tile(tx, 1, 0) is not None
        assert store.read_tile(tx, 2, 0) is None
    deep.restart()
    deep.append(300)
    deep.check()


@pytest.mark.parametrize("seed", range(3))
def test_proofs_from_stored_tiles_verify_for_many_indexes_and_sizes(deep, seed):
    rng = random.Random(seed)
    with deep.store.read() as tx:
        reader = deep.log.reader(tx)
        leaves, node = list(reader.leaves(deep.log.size)), reader.node
        sizes = [1, 2, 255, 256, 257, 65_535, 65_536, deep.log.size, *(rng.randint(3, deep.log.size) for _ in range(5))]
        roots = {size: root_of(leaves[:size]) for size in sizes}
        for size in sizes:
            for index in {0, size - 1, size // 2, rng.randrange(size)}:
                proof = inclusion_proof(index, size, node)
                verify_inclusion(index, size, leaves[index], proof, roots[size])
        for first, second in itertools.combinations(sorted(set(sizes)), 2):
            verify_consistency(first, second, roots[first], roots[second], consistency_proof(first, second, node))


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 300, 512, 513])
def test_proofs_in_small_logs_verify_for_every_index(ledger, size):
    ledger.append(size)
    with ledger.store.read() as tx:
        leaves, node = store.leaves(tx, 0, size), ledger.log.reader(tx).node
        root = root_of(leaves)
        for index in range(size):
            verify_inclusion(index, size, leaves[index], inclusion_proof(index, size, node), root)
        for first in range(1, size):
            proof = consistency_proof(first, size, node)
            verify_consistency(first, size, root_of(leaves[:first]), root, proof)


def test_publishing_reads_the_new_records_and_extends_what_was_signed(ledger):
    sizes = []
    for group in (1, 254, 1, 1, 300):
        ledger.append(group)
        with ledger.store.write() as tx:
            head, note, verdict = ledger.log.publish(tx, NOW + len(sizes) + 1)
            again = ledger.log.publish(tx, NOW + 10_000_000)
        assert verdict is Verdict.PUBLISH
        assert again == (head, note, Verdict.WAIT)
        sizes.append(head.checkpoint.size)
    assert sizes == [1, 255, 256, 257, 557]
    with ledger.store.read() as tx:
        assert [size for size, _ in store.checkpoint_notes(tx, 1000)] == sizes


def test_a_missing_record_is_named_and_not_skipped(ledger):
    ledger.append(20)
    with ledger.store.write() as tx:
        tx.exec_driver_sql("DELETE FROM audit_entries WHERE idx = 7")
    with ledger.store.read() as tx, pytest.raises(StoreDamaged):
        list(store.entries(tx, 0, 20))
