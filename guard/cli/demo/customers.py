"""The demo's application: a customers table of its own, in SQLite, whose personal columns guard has sealed.

Names, addresses and numbers come from ranges reserved for examples (RFC 2606, RFC 5737, 555-01xx).
"""

import random
import sqlite3
from dataclasses import dataclass
from pathlib import Path

GIVEN = (
    "ana",
    "bo",
    "chen",
    "dara",
    "eli",
    "fatima",
    "goran",
    "hana",
    "ines",
    "jun",
    "kofi",
    "lea",
    "mei",
    "nils",
    "omar",
)
FAMILY = (
    "adler",
    "brown",
    "costa",
    "diaz",
    "eriksen",
    "fischer",
    "garcia",
    "hoang",
    "ito",
    "jansen",
    "kim",
    "li",
    "moreau",
)
FIELDS = ("email", "phone", "identity_number")


@dataclass(frozen=True, slots=True)
class Person:
    """A made-up customer in clear."""

    id: int
    email: str
    phone: str
    identity_number: str


def people(seed: int, count: int) -> list[Person]:
    """*count* made-up customers, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - a repeatable story is wanted
    return [
        Person(
            number,
            f"{rng.choice(GIVEN)}.{rng.choice(FAMILY)}{number}@example.org",
            f"+1-555-01{rng.randrange(100):02d}-{number:04d}",
            f"{rng.randrange(10**9):09d}-{number:04d}",
        )
        for number in range(1, count + 1)
    ]


class Customers:
    """The table; it never holds a personal value in clear."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA busy_timeout=10000")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS customers "
            "(id INTEGER PRIMARY KEY, email TEXT, phone TEXT, identity_number TEXT, email_index TEXT)"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS by_email ON customers (email_index)")

    def insert(self, rows: list[tuple[int, str, str, str, str]]) -> None:
        """Insert sealed rows: id, e-mail, phone, identity number, index token."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def sealed(self, customer: int, field: str) -> str:
        """A sealed value."""
        if field not in FIELDS:
            raise ValueError(field)
        found: str = self._db.execute(f"SELECT {field} FROM customers WHERE id = ?", (customer,)).fetchone()[0]  # noqa: S608 - one of three names
        return found

    def by_index(self, tokens: list[str]) -> list[tuple[int, str]]:
        """(id, sealed e-mail) of the rows with one of these tokens."""
        marks = ",".join("?" * len(tokens))
        return self._db.execute(f"SELECT id, email FROM customers WHERE email_index IN ({marks})", tokens).fetchall()  # noqa: S608 - question marks only

    def raw_bytes(self) -> bytes:
        """Every byte of the database files, to look for values in clear."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return b"".join(file.read_bytes() for file in files if file.exists())

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
