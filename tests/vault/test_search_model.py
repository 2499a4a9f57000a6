"""Random histories of a source and of claims against plain Python: every row is found, no other is, in each moment."""

import random
import re
from contextlib import suppress

import pytest

from guard.errors import AlreadyExists, KeyInUse, KeyStateConflict
from guard.vault.normalisers import NORMALISERS
from tests.vault.people import BORN, NAME, NUMBER, People, Table, source_of, world

FIRST = ("Ana", "ANATOL", "Ben", "Benita", "Çelik", "Ço", "Straße", "STRASSE", "ﬁnn", "Finn ")
CITIES = ("Porto", "porto ", "Faro", None)
DATES = ("1900-01-01", "1900-01-02", "1969-12-31", "1970-01-01", "1984-02-29", "2000-02-29", "2030-12-30", "2030-12-31")
BOUNDS = ("", "0001-01-01", "1899-12-31", "1900-01-01", "1970-01-01", "1984-03-01", "2030-12-31", "9999-12-31")
CASEFOLD, DIGITS = NORMALISERS["casefold", 1], NORMALISERS["digits", 1]
CLAIM = {"field": NUMBER, "index": "unique"}
COLUMNS = {"name": NAME, "city": "people.city", "born": BORN, "number": NUMBER}
INDEXES = ("people.name.exact", "people.name.start", "people.name.both", "people.born.range", "people.number.unique")


def folded(text):
    return CASEFOLD.apply(text)


class Model:
    """The same table in clear, and which of its rows were indexed since they were written."""

    def __init__(self, people, table, seed):
        self.people, self.table, self.draw = people, table, random.Random(seed)
        self.rows: dict[int, dict[str, str | None]] = {}
        self.unfresh: set[int] = set()
        self.newest = dict.fromkeys(INDEXES, 1)
        self.oldest = dict.fromkeys(INDEXES, 1)

    def write(self):
        """A row comes or gets other values."""
        number = self.draw.randint(1, 12)
        values = {
            "name": self.draw.choice(FIRST),
            "city": self.draw.choice(CITIES),
            "born": self.draw.choice(DATES),
            "number": f"{self.draw.randint(0, 3)}-{self.draw.randint(0, 3)}",
        }
        sealed = {
            column: None if value is None else self.people.seal(value, field=COLUMNS[column], rows=[str(number)])[0]
            for column, value in values.items()
        }
        self.table.run("DELETE FROM people WHERE id = ?", number)
        self.table.run(
            "INSERT INTO people (id, name, city, born, number) VALUES (?, ?, ?, ?, ?)", number, *sealed.values()
        )
        self.rows[number] = values
        self.unfresh.add(number)

    def remove(self):
        """A row goes, and the tokens beside it stay."""
        if self.rows:
            number = self.draw.choice(sorted(self.rows))
            del self.rows[number]
            self.unfresh.discard(number)
            self.table.run("DELETE FROM people WHERE id = ?", number)

    def index(self):
        """All rows get the tokens of their values."""
        rows = self.draw.choice([1, 2, 3, 500])
        for field in (NAME, BORN, NUMBER):
            again = True
            while not self.people.call(
                "keys", "sources.index", source="people", field=field, rows=rows, again=again
            ).done:
                again = False
        self.unfresh.clear()

    def rotate(self):
        """A new version of one index; the rows carry the old one."""
        name = self.draw.choice(INDEXES)
        listed = self.people.call("keys", "indexes.rotate", name=name).data
        self.newest[name] += 1
        assert [one.version for one in listed] == list(range(self.newest[name], self.oldest[name] - 1, -1))

    def retire(self):
        """The oldest version goes, if nobody needs it; then nothing is lost by it."""
        name = self.draw.choice(INDEXES)
        before = self.found_all()
        try:
            self.people.call("keys", "indexes.retire", name=name, version=self.oldest[name])
            self.oldest[name] += 1
        except KeyStateConflict:
            assert self.oldest[name] == self.newest[name]
        except KeyInUse:
            pass
        assert self.found_all() == before

    def found(self, field, **asked):
        """Rows that a search names, of those whose tokens are of their values."""
        self.people.world.clock.advance(3700)
        answer = self.people.call(
            "support", "sources.search", source="people", purpose="support", field=field, limit=500, **asked
        )
        named = {int(row) for row in answer.rows}
        assert not answer.more
        assert named <= self.rows.keys()
        return named

    def found_all(self):
        return self.found(NAME, kind="prefix", value="ana") | self.found(NUMBER, index="unique", value="11")

    def check(self):
        """One question of each kind is answered as the model answers it."""
        sought, city = self.draw.choice(FIRST), self.draw.choice(["Porto", "FARO", "Lisboa"])
        self.agree(lambda row: folded(row["name"]) == folded(sought), self.found(NAME, value=sought))
        begin = folded(sought)[: self.draw.randint(3, 7)]
        if len(begin.strip()) >= 3:
            self.agree(
                lambda row: folded(row["name"]).startswith(begin.strip()), self.found(NAME, kind="prefix", value=begin)
            )
        self.agree(
            lambda row: row["city"] and (folded(row["name"]), folded(row["city"])) == (folded(sought), folded(city)),
            self.found(NAME, kind="compound", value=sought, values={"city": city}),
        )
        low, high = self.draw.choice(BOUNDS), self.draw.choice(BOUNDS)
        low, high = (high, low) if low and high and low > high else (low, high)
        if low or high:
            self.agree(
                lambda row: (low or "0000") <= row["born"] <= (high or "9999"), self.found(BORN, low=low, high=high)
            )
        number = f"{self.draw.randint(0, 3)}{self.draw.randint(0, 3)}"
        self.agree(
            lambda row: re.sub(r"\D", "", row["number"]) == number, self.found(NUMBER, index="unique", value=number)
        )

    def agree(self, fits, named):
        wanted = {number for number, row in self.rows.items() if fits(row)}
        assert named <= wanted  # nothing beside it, fresh or not: hits are opened
        assert wanted - self.unfresh <= named


@pytest.mark.parametrize("seed", range(2))
def test_a_random_history_of_a_source_is_found_as_plain_python_finds_it(tmp_path, seed):
    table = Table(tmp_path / "shop.db")
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        model = Model(People(made), table, seed)
        steps = [model.write] * 6 + [model.remove] + [model.index] * 2 + [model.rotate] * 2 + [model.retire] * 2
        for _ in range(25):
            model.draw.choice(steps)()
            model.check()
        model.index()
        model.check()
        for name in INDEXES:  # nobody needs an old version any more, whatever was written and deleted
            for version in range(model.oldest[name], model.newest[name]):
                model.people.call("keys", "indexes.retire", name=name, version=version)
        model.check()
        assert {one.version for one in model.people.call("keys", "indexes.list").data} >= set(model.newest.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_random_history_of_claims_gives_each_value_to_one_row(tmp_path, seed):
    draw, held, versions = random.Random(seed), {}, 1
    with world(tmp_path / "home") as made:
        people = People(made)
        for _ in range(120):
            row, value = f"r{draw.randint(1, 5)}", f"{draw.randint(1, 4)}"
            spelled = draw.choice([value, f" {value}", f"-{value}-", f"{value}."])
            move = draw.random()
            if move < 0.6:
                holder = next((other for other, kept in held.items() if kept == DIGITS.apply(spelled)), row)
                if holder == row:
                    assert people.call("storing", "fields.claim", **CLAIM, row=row, value=spelled).row == row
                    held[row] = value
                else:
                    with pytest.raises(AlreadyExists):
                        people.call("storing", "fields.claim", **CLAIM, row=row, value=spelled)
            elif move < 0.85:
                given_up = people.call("storing", "fields.release", **CLAIM, row=row).tokens
                assert bool(given_up) == (held.pop(row, None) is not None)
            elif move < 0.93 and versions < 6:
                people.call("keys", "indexes.rotate", name="people.number.unique")
                versions += 1
            else:
                _retire_oldest(people)
        for row, value in held.items():
            assert people.call("storing", "fields.claim", **CLAIM, row=row, value=value).row == row


def _retire_oldest(people):
    """The oldest version goes where no claim needs it; what the claims are then worth, the history shows."""
    live = [one.version for one in people.call("keys", "indexes.list").data if one.index == "people.number.unique"]
    if len(live) == 1:
        with pytest.raises(KeyStateConflict):
            people.call("keys", "indexes.retire", name="people.number.unique", version=live[0])
        return
    with suppress(KeyInUse):
        people.call("keys", "indexes.retire", name="people.number.unique", version=min(live))


def test_claims_outlive_a_restart_in_mid_rotation(tmp_path):
    home = tmp_path / "home"
    with world(home) as made:
        people = People(made)
        people.call("storing", "fields.claim", **CLAIM, row="1", value="11")
        people.call("keys", "indexes.rotate", name="people.number.unique")
        people.call("storing", "fields.claim", **CLAIM, row="2", value="22")
    with world(home) as made:
        people = People(made)
        for row, value in (("2", "11"), ("1", "22"), ("3", "11"), ("3", "22")):
            with pytest.raises(AlreadyExists):
                people.call("storing", "fields.claim", **CLAIM, row=row, value=value)
        with pytest.raises(KeyInUse, match="1 claimed values"):
            people.call("keys", "indexes.retire", name="people.number.unique", version=1)
        assert people.call("storing", "fields.claim", **CLAIM, row="1", value="11").tokens == 2
        people.call("keys", "indexes.retire", name="people.number.unique", version=1)
    with world(home) as made:
        people = People(made)
        listed = people.call("keys", "indexes.list").data
        assert [one.version for one in listed if one.index == "people.number.unique"] == [2]
        with pytest.raises(AlreadyExists):
            people.call("storing", "fields.claim", **CLAIM, row="3", value="11")
