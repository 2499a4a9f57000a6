"""A tenant whose fields end with the person: its policy, its people, its table, and copies of its two stores."""

import base64
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from guard.catalogue import Actor
from guard.settings import Source
from guard.vault.forgetting import Forgetting
from tests.vault.shop import b64, policies_with, shown
from tests.vault.shop import world as shop_world
from tests.world import World

NOTE, DIARY = "patients.note", "patients.diary"
DAY = 86_400
POLICY = """
version: 1
table: patients
columns:
  note: {class: health, suite: cbl256, bind: [row, subject], mask: none, purposes: [billing], keyed_by: subject}
  diary: {class: health, suite: cbl256, bind: [subject], mask: none, purposes: [billing], keyed_by: subject, pad: 16}
  room: {class: place, suite: cbl256, bind: [row], mask: none, purposes: [billing]}
"""


class Clinic:
    """Who seals, who reads, and who forgets."""

    def __init__(self, world: World, tenant: str = "acme") -> None:
        self.world, self.tenant = world, tenant
        self.storing = world.hire(tenant, "svc:storing", "role:storing-service")
        self.billing = world.hire(tenant, "svc:billing", "role:billing-service")
        self.officer = world.hire(tenant, "user:local|olga", "role:privacy-officer")
        self.second = world.hire(tenant, "user:local|lena", "role:legal")

    @property
    def forgetting(self):
        return self.world.gate._doors.parts[Forgetting]

    def seal(self, subject: str, text: str = "", row: str = "1", field: str = NOTE) -> str:
        """A value about a person."""
        result = self.answers("fields.encrypt", self.storing, [self.item(subject, row, field, plaintext=b64(text))])[0]
        return result.get("ciphertext") or result["problem"]["code"]

    def open(self, subject: str, sealed: str, row: str = "1", field: str = NOTE) -> str:
        """The value in clear, or the code of its problem."""
        return shown(
            self.answers("fields.decrypt", self.billing, [self.item(subject, row, field, ciphertext=sealed)])[0]
        )

    def answers(self, name: str, who: Actor, items: list[dict[str, object]]):
        purpose = {} if name == "fields.encrypt" else {"purpose": "billing"}
        return self.world.call(name, who, items=items, **purpose)["results"]

    def item(self, subject: str, row: str = "1", field: str = NOTE, **rest: object) -> dict[str, object]:
        context = {"subject": subject} | ({"row": row} if field == NOTE else {})
        return {"field": field, "context": context, **rest}

    def forget(self, subject: str, who: Actor | None = None, **more: object):
        return self.world.call("subjects.forget", who or self.officer, subject=subject, **more)

    def forget_now(self, subject: str):
        """By two persons, so at once."""
        self.forget(subject)
        return self.forget(subject, self.second, at_once=True)

    def receipts(self):
        return self.world.call("subjects.receipts", self.officer).data

    def steps(self) -> int:
        """Everything that is due, as the worker does it; how many calls."""
        forgetting, done = self.forgetting, 0
        forgetting.look()
        for name, due in (
            ("subjects.replayed", forgetting.replays_due),
            ("buckets.rotate", forgetting.buckets_due),
            ("subjects.step", forgetting.due),
        ):
            for _ in range(50):
                beats = self.world.beat(name, due)
                done += beats
                if not beats:
                    break
        self.scrub()
        return done

    def scrub(self) -> int:
        """What the worker does about what is left in the files."""
        return self.world.beat("subjects.scrub", self.forgetting.remains.due)

    def after(self, days: float) -> int:
        self.world.clock.advance(days * DAY)
        return self.steps()


@contextmanager
def clinic(home: Path, **settings: object) -> Iterator[Clinic]:
    """A running clinic."""
    policies = policies_with(home.parent, "patients.yaml", POLICY)
    with shop_world(home, policies=policies, **settings) as world:
        yield Clinic(world)


def source(path: Path) -> Source:
    """The clinic's table."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE patients (id INTEGER PRIMARY KEY, note TEXT, diary TEXT, room TEXT)")
    columns = {"note": NOTE, "diary": DIARY, "room": "patients.room"}
    return Source("ward", "acme", f"sqlite:///{path}", "patients", "id", columns)


def store_row(path: Path, number: int, **values: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        names = ", ".join(["id", *values])
        marks = ", ".join("?" * (len(values) + 1))
        db.execute(f"INSERT INTO patients ({names}) VALUES ({marks})", (number, *values.values()))


def backup(database: Path, to: Path) -> Path:
    """A copy of one store while it runs, as `sqlite3 .backup` makes it."""
    with closing(sqlite3.connect(database)) as here, closing(sqlite3.connect(to)) as there:
        here.backup(there)
    return to


def put_back(copy: Path, home: Path, name: str) -> None:
    """A store of a stopped guard replaced by a copy."""
    for suffix in ("-wal", "-shm"):
        (home / (name + suffix)).unlink(missing_ok=True)
    shutil.copy(copy, home / name)


def plain(value: str | None) -> str:
    return base64.b64decode(value or "").decode()
