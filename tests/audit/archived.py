"""A log whose complete bundles go to files, with no gate before it, and what it was given to compare with."""

from guard.audit import archive_store, archiving
from guard.audit.disk import Disk
from guard.audit.files import Files
from guard.audit.tree import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.audit.test_shell_log import NOW, Ledger, full_tiles
from tests.audit.volumes import Memory


class Archived(Ledger):
    """A ledger on a volume; `given` are its entries as they were before anything was archived."""

    def __init__(self, path, volume=None):
        self.given = []
        self.volume = volume or Memory()
        super().__init__(path, Files(Disk(self.volume)))

    def power_is_back(self, seed):
        """Go on with what the cut left of the files; the database was synced at each COMMIT."""
        self.volume = self.volume.after_the_cut(seed)
        self.files = Files(Disk(self.volume))
        self.restart()

    def append(self, count, tenants=("acme",)):
        super().append(count, tenants)
        with self.store.read() as tx:
            reader = self.log.reader(tx)
            self.given += reader.entries(len(self.given), self.log.size)

    def publish(self):
        with self.store.write() as tx:
            return self.log.publish(tx, NOW + self.log.size + 1)[0].checkpoint

    def step(self, leave=True):
        """One step of the archiver, as the operation does it; how many bundles it took."""
        with self.store.read() as tx:
            step = archiving.read_step(tx)
        if not step.bundles:
            return 0
        archiving.check(step)
        self.log.files.store(step.bundles, step.tiles)
        if leave:
            with self.store.write() as tx:
                archive_store.advance(tx, step.span, step.end, list(step.tiles))
            self.log.archived(step.end)
        return len(step.bundles)

    def archive(self):
        """Everything that may go to files; how many bundles that were."""
        taken = 0
        while found := self.step():
            taken += found
        return taken

    def span(self):
        with self.store.read() as tx:
            return archive_store.read_span(tx)

    def rows(self):
        """(first index, number) of the entries that are still in the database."""
        with self.store.read() as tx:
            return tx.exec_driver_sql("SELECT min(idx), count(*) FROM audit_entries").one()

    def check_reads(self):
        """Entries and leaves are those that were given, whichever part of them lies where."""
        with self.store.read() as tx:
            reader = self.log.reader(tx)
            assert list(reader.entries(reader.span.first, self.log.size)) == self.given[reader.span.first :]
            assert list(reader.leaves(self.log.size)) == [leaf_hash(one) for one in self.given]

    def check_files(self):
        """In the files and in the database together is each full tile once, and it is the right one."""
        leaves = [leaf_hash(one) for one in self.given]
        archived = self.span().archived
        with self.store.read() as tx:
            rows = {(one.level, one.n): one.hashes for one in tx.exec_driver_sql("SELECT * FROM audit_tiles")}
        for (level, n), hashes in full_tiles(leaves).items():
            ends = (n + 1) << (8 * (level + 1))
            if ends <= archived:
                assert self.volume.read(f"tile/{level}/{path_of(n)}") == hashes
                assert (level, n) not in rows
            else:
                assert rows.pop((level, n)) == hashes
        assert rows == {}

    def check_proofs(self, sizes, indexes=(0,)):
        """Inclusion and consistency at *sizes* verify against trees built from what was given."""
        leaves = [leaf_hash(one) for one in self.given]
        with self.store.read() as tx:
            node = self.log.reader(tx).node
            roots = {size: root_of(leaves[:size]) for size in sizes}
            for size in sizes:
                for index in {min(index, size - 1) for index in (*indexes, size - 1, size // 2)}:
                    verify_inclusion(index, size, leaves[index], inclusion_proof(index, size, node), roots[size])
            for first in sizes:
                for second in (size for size in sizes if size > first):
                    proof = consistency_proof(first, second, node)
                    verify_consistency(first, second, roots[first], roots[second], proof)


def path_of(n):
    return f"{n:03d}" if n < 1000 else f"x{n // 1000:03d}/{n % 1000:03d}"
