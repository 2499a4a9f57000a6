"""A tenant whose table has an index of every kind, and an application that keeps its tokens itself."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from guard.settings import Source
from tests.vault.shop import Shop, b64, policies_with
from tests.vault.shop import world as shop_world
from tests.world import World

NAME, CITY, BORN, NUMBER = "people.name", "people.city", "people.born", "people.number"
COMMON = "class: contact, suite: cbl256, bind: [row], mask: none, purposes: [support, billing]"
POLICY = f"""
version: 1
table: people
columns:
  name:
    {{{COMMON}, entropy: 24, index: [
      {{name: exact, kind: exact, normalise: casefold, bits: 16, partitions: 4}},
      {{name: start, kind: prefix, normalise: casefold, bits: 5, min_length: 3, max_length: 6}},
      {{name: both, kind: compound, normalise: casefold, with: {{city: casefold}}, entropy: 30, bits: 16}}]}}
  city: {{{COMMON}}}
  born:
    {{{COMMON}, index: [{{name: range, kind: range, of: date, low: '1900-01-01', high: '2030-12-31', bits: 24,
      shows_order: true, budget: {{minute: 20, hour: 60, day: 100}}}}]}}
  number:
    {{{COMMON}, entropy: 30, index: [
      {{name: unique, kind: exact, normalise: digits, bits: 128, unique: true}},
      {{name: exact, kind: exact, normalise: digits, bits: 16, budget: {{minute: 20, hour: 60, day: 100}}}}]}}
"""


@contextmanager
def world(home: Path, policy: str = POLICY, **settings: object) -> Iterator[World]:
    """A guard of the vault alone that has the table."""
    folder = policies_with(home.parent, "people.yaml", policy)
    with shop_world(home, policies=folder, **settings) as made:
        yield made


class People(Shop):
    """The people of a tenant, and what they look for."""

    def __init__(self, world: World, tenant: str = "acme") -> None:
        super().__init__(world, tenant)
        self.people["officer"] = world.hire(tenant, "user:local|olga", "role:privacy-officer")

    def call(self, who: str, name: str, /, **request: object):
        """As before, for requests that have a member `name` too."""
        return self.world.call(name, self.people[who], **request)

    def search(self, field: str, who: str = "support", **item: object) -> dict:
        """The answer to one look-up."""
        purpose = "store" if who == "storing" else "support"
        return self.call(who, "fields.search", purpose=purpose, items=[{"field": field, **item}])["results"][0]

    def stored(self, field: str, value: str, row: str = "1", **values: str) -> dict[str, list[str]]:
        """The tokens that a row carries, by index."""
        asked = {"field": field, "value": value, "row": row, "values": values}
        answer = self.call("storing", "fields.index_tokens", items=[asked])["results"][0]
        return {one["index"]: one["tokens"] for one in answer["indexes"]}


def alternatives(found: dict) -> list[tuple[int, set[str]]]:
    """(version, tokens that a hit carries all of), of either form of an answer."""
    single = [(one["version"], {one["token"]}) for one in found.get("tokens", ())]
    return single + [(one["version"], set(one["tokens"])) for one in found.get("alternatives", ())]


def matches(found: dict, tokens: list[str], version: int = 1) -> bool:
    """Whether a row that carries *tokens* of *version* is a hit."""
    return any(at == version and wanted <= set(tokens) for at, wanted in alternatives(found))


def source_of(path: Path, tenant: str = "acme") -> Source:
    """The table at *path* as a source."""
    columns = {"name": NAME, "city": CITY, "born": BORN, "number": NUMBER}
    return Source("people", tenant, f"sqlite:///{path}", "people", "id", columns)


class Table:
    """The application's table in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, city TEXT, born TEXT, number TEXT)")

    def run(self, statement: str, *values: object) -> list[tuple]:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=10)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            return db.execute(statement, values).fetchall()

    def fill(self, people: People, rows: list[dict[str, str]]) -> None:
        """Rows from 1 on, sealed."""
        for number, row in enumerate(rows, 1):
            items = [
                {"field": f"people.{column}", "context": {"row": str(number)}, "plaintext": b64(value)}
                for column, value in row.items()
            ]
            sealed = [one["ciphertext"] for one in people.call("storing", "fields.encrypt", items=items)["results"]]
            names, marks = ", ".join(["id", *row]), ", ".join("?" * (len(row) + 1))
            self.run(f"INSERT INTO people ({names}) VALUES ({marks})", number, *sealed)
