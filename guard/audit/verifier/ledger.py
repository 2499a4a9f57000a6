"""What the records themselves must keep: canonical form, dense numbers in each tenant, one outcome of an intent.

Law: numbers of a tenant are dense, so a hole is a removed record. Whatever the shortcuts of shapes.py cannot vouch for
is parsed, and a fault is always found by the parser. No I/O.
"""

from collections.abc import Sequence

from .canonical import record_of
from .report import Report
from .shapes import Row, Shapes


class Ledger:
    """Numbers are dense in each tenant, and each intent has at most one outcome."""

    def __init__(self, report: Report) -> None:
        self.report, self.add, self.shapes = report, report.add, Shapes()
        self.skipped, self.after = 0, ""  # how many records are gone, and the file that comes after them
        self.starts = dict[bytes, int]()  # the first number of each tenant there
        self.next, self.intents = dict[bytes, int](), dict[bytes, bool]()  # number per tenant; id: whether it is open

    def read(self, entries: Sequence[bytes], indexes: Sequence[int], path: str) -> None:
        """Take the next entries, each with its index in the log; `path` is the file to blame."""
        found = self.shapes.sort(entries)
        if found is None or not self._dense(found.numbers):
            self._each(entries, indexes, path)
            return
        for at, row in found.others:
            self._close(row, indexes[at], path)

    def count(self) -> None:
        """Put what was found into the report."""
        missing = sum(self.starts.values())
        if self.skipped and not self.report.counts["since"] and missing > self.skipped:
            told = f"numbers of {missing} records are missing at its begin, but {self.skipped} records lie before it"
            self.add(self.after, f"{told}: more were removed", self.skipped)
        self.report.counts |= {"tenants": len(self.next), "open_intents": sum(self.intents.values())}

    def skip(self, count: int, path: str) -> None:
        """The first *count* records are gone: numbers go on anywhere, and outcomes may be of intents among them."""
        if count > self.skipped:
            self.skipped, self.after = count, path
            self.next.clear()
            self.starts.clear()

    def _each(self, entries: Sequence[bytes], indexes: Sequence[int], path: str) -> None:
        """Parse every record of a bundle in which something is wrong, and name it."""
        for index, raw in zip(indexes, entries, strict=True):
            try:
                row = Row.of(*record_of(raw.decode()))
            except (ValueError, RecursionError) as error:
                self.add(path, f"entry {index}: {error}", index)
                continue
            n = int(row.n)
            want, self.next[row.tenant] = self._start(row.tenant, row.n), n + 1
            if n != want:
                name = row.tenant.decode()
                self.add(path, f"entry {index} has number {n} of {name}, not {want}: a record is missing", index)
            self._close(row, index, path)

    def _start(self, tenant: bytes, n: bytes) -> int:
        if tenant in self.next:
            return self.next[tenant]
        if not self._cut():
            return 0
        return self.starts.setdefault(tenant, int(n))  # the first of a bundle comes first, whichever way it is read

    def _cut(self) -> bool:
        return bool(self.skipped or self.report.counts["since"])  # pruning and `since` hide earlier numbers

    def _dense(self, numbers: dict[bytes, list[bytes]]) -> bool:
        """Take the numbers at once if they are the next ones of each tenant; do nothing if one is not."""
        ends = dict[bytes, int]()
        for tenant, found in numbers.items():
            start = self._start(tenant, found[0])
            ends[tenant] = start + len(found)
            if found != [b"%d" % n for n in range(start, ends[tenant])]:  # compared as they are spelt
                return False
        self.next |= ends
        return True

    def _close(self, row: Row, index: int, path: str) -> None:
        if (row.phase != b"event" or row.intent) and (fault := self._pair(row)):
            self.add(path, f"entry {index} {fault}", index)

    def _pair(self, row: Row) -> str:
        intent = row.intent
        if bool(intent) != (row.phase in {b"outcome", b"unknown", b"late"}):
            return "must name an intent if it closes one, and not otherwise"
        known, self.intents[intent or row.id] = self.intents.get(intent), not intent
        if intent and known is None and not self._cut():
            return f"closes the intent {intent.decode()}, which was not logged before it"
        again = known is False and row.phase != b"late"
        return f"is a second outcome of the intent {intent.decode()}" if again else ""
