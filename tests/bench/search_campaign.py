"""Look-ups by blind index as the table grows: the same index, planned for 10^6 rows, at 10^4, 10^5 and 10^6 of them.

python -m tests.bench.search_campaign --rows 1000000 --look-ups 300
Printed at each size: p50 of the equality in SQLite, p50 of the whole operation (budget, tokens, look-up, opening of the
hits, dropping of the false ones, record on disk), and both against the first size. Whoever searches by opening every
row instead pays the last column.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from guard.vault import source_token_store
from guard.vault.source_store import Sources
from guard.vault.terms import Query
from guard.vault.vault import Vault
from tests.vault.shop import EMAIL, Shop, Table, source_of
from tests.vault.shop import world as shop_world

SIZES = (10_000, 100_000, 1_000_000)
BATCH = 10_000
SCANNED = 2000


class Campaign:
    """One table that grows, and who looks values up in it."""

    def __init__(self, world, table: Table) -> None:
        self.world, self.table, self.shop = world, table, Shop(world)
        parts = world.gate._doors.parts
        self.vault, self.sources = parts[Vault], parts[Sources]
        self.policy = self.vault.policy(EMAIL)
        [self.index] = self.policy.indexes
        [self.version] = self.vault.definitions.live(self.vault.keyring, "acme", self.index)
        self.source = self.sources.find("customers", "acme")
        self.rows = 0

    def grow(self, rows: int) -> float:
        """Add rows until there are so many; the seconds that it took."""
        begun = time.perf_counter()
        sealer, _ = self.vault.sealer("acme", self.policy)
        with self.sources.open(self.source) as opened:
            source_token_store.prepare(opened.connection)
        while self.rows < rows:
            numbers = range(self.rows + 1, min(rows, self.rows + BATCH) + 1)
            cells = [(number, sealer.seal((str(number),), value(number).encode())) for number in numbers]
            tokens = [
                (self.index.key_name, 1, self.version.stored({"email": value(number)})[0], str(number))
                for number in numbers
            ]
            with self.sources.open(self.source) as opened:
                driver = opened.connection.connection.cursor()
                driver.executemany("INSERT INTO customers (id, email) VALUES (?, ?)", cells)
                driver.executemany("INSERT INTO guard_tokens (idx, version, token, row) VALUES (?, ?, ?, ?)", tokens)
                driver.close()
            self.rows = numbers[-1]
        return time.perf_counter() - begun

    def equality(self, numbers: list[int]) -> float:
        """p50 in milliseconds of the look-up in the database alone."""
        taken = []
        with self.sources.open(self.source) as opened:
            for number in numbers:
                asked = self.version.asked(Query({"email": value(number)}))
                begun = time.perf_counter()
                rows = source_token_store.matching(opened.connection, self.index.key_name, 1, asked, "", 200)
                taken.append(time.perf_counter() - begun)
                assert str(number) in rows
        return statistics.median(taken) * 1000

    def whole(self, numbers: list[int]) -> tuple[float, float]:
        """p50 in milliseconds of the whole operation, and false hits that it dropped, on average."""
        taken, dropped = [], 0
        for number in numbers:
            self.world.clock.advance(60)
            begun = time.perf_counter()
            answer = self.shop.call(
                "support", "sources.search", source="customers", purpose="support", field=EMAIL, value=value(number)
            )
            taken.append(time.perf_counter() - begun)
            assert answer.rows == [str(number)]
            dropped += answer.dropped
        return statistics.median(taken) * 1000, dropped / len(numbers)

    def opened_all(self) -> float:
        """Milliseconds that opening every row would take, from a part of them."""
        [found] = [one for one in self.vault.keyring if (one.tenant, one.name) == ("acme", self.policy.key)]
        from guard.vault.sealing import Opener

        opener = Opener(found, {"tenant": "acme", "table": "customers", "column": "email"}, ("row",))
        texts = list(self.table.all().items())[:SCANNED]
        begun = time.perf_counter()
        for number, text in texts:
            opener.open((str(number),), text)
        return (time.perf_counter() - begun) / len(texts) * self.rows * 1000


def value(number: int) -> str:
    """The e-mail address of a row."""
    return f"person.{number}@example.org"


def run(rows: int, look_ups: int, home: Path) -> None:
    """Grow, look up, print."""
    table = Table(home / "shop.db")
    draw = random.Random(4)
    with shop_world(home / "guard", sources=(source_of(table.path),)) as world:
        campaign = Campaign(world, table)
        plan = campaign.shop.call("keys", "fields.plan").data[0]
        print(f"index {campaign.index.key_name}: {campaign.index.bits} bits, advised {plan.indexes[0].advised_bits}")
        print("rows       grown s   equality p50 ms   ratio   search p50 ms   ratio   dropped   open all ms")
        first: tuple[float, float] | None = None
        for size in [one for one in SIZES if one < rows] + [rows]:
            grown = campaign.grow(size)
            numbers = [draw.randrange(1, size + 1) for _ in range(look_ups)]
            campaign.equality(numbers[:20])  # the pages that every look-up needs
            equality, (whole, dropped) = campaign.equality(numbers), campaign.whole(numbers)
            first = first or (equality, whole)
            scan = campaign.opened_all()
            print(
                f"{size:<9} {grown:>9.1f} {equality:>17.3f} {equality / first[0]:>7.2f} {whole:>15.3f} "
                f"{whole / first[1]:>7.2f} {dropped:>9.2f} {scan:>13.0f}",
                flush=True,
            )


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=SIZES[-1])
    parser.add_argument("--look-ups", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(given.rows, given.look_ups, Path(folder))


if __name__ == "__main__":
    main()
