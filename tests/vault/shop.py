"""An application whose columns guard seals, for the tests of the vault's shell: its people, its table, its values."""

import base64
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from guard.errors import GuardError
from guard.settings import Source, bundled
from tests.world import World
from tests.world import world as whole_world

EMAIL = "customers.email"
PHONE = "customers.phone"
ORDERS = """
version: 1
table: orders
rows: 1000000
columns:
  note: {class: contact, suite: cbl256, bind: [subject], mask: partial, purposes: [billing]}
  city: {class: contact, suite: siv, bind: [], deterministic: true, entropy: 40, mask: full, purposes: [billing]}
  code: {class: contact, suite: cbl256, bind: [], portable: true, mask: last4, purposes: [billing], key: orders.shared}
  both: {class: contact, suite: cbl256, bind: [row, subject], mask: none, purposes: [billing], key: orders.shared}
"""


def bare(folder: Path) -> dict[str, Path]:
    """Settings of a guard without detections and plans, which takes a quarter of the time to start."""
    policies, runbooks = folder / "policies", folder / "runbooks"
    if not policies.exists():
        for name in ("access", "fields"):
            shutil.copytree(bundled("policies") / name, policies / name)
    runbooks.mkdir(exist_ok=True)
    return {"policies": policies, "runbooks": runbooks}


@contextmanager
def world(home: Path, **settings: object) -> Iterator[World]:
    """A World of the vault alone, closed at the end of the block."""
    with whole_world(home, **(bare(home.parent) | {"quiet_hours": 0} | settings)) as made:
        yield made


def policies_with(folder: Path, name: str, text: str) -> Path:
    """The policies of a bare guard with one more file of fields."""
    policies = bare(folder)["policies"]
    (policies / "fields" / name).write_text(text, encoding="utf-8")
    return policies


def source_of(path: Path, tenant: str = "acme", **changed: object) -> Source:
    """The customers table at *path* as a source of *tenant*."""
    parts = {
        "name": "customers",
        "tenant": tenant,
        "url": f"sqlite:///{path}",
        "table": "customers",
        "primary_key": "id",
        "columns": {"email": EMAIL, "phone": PHONE},
    }
    return Source(**(parts | changed))


class Shop:
    """The people of one tenant and what they do with fields."""

    def __init__(self, world: World, tenant: str = "acme") -> None:
        self.world, self.tenant = world, tenant
        roles = {
            "storing": "role:storing-service",
            "billing": "role:billing-service",
            "delivery": "role:delivery-service",
            "support": "role:support",
            "keys": "role:key-admin",
        }
        self.people = {name: world.hire(tenant, f"svc:{name}", role) for name, role in roles.items()}

    def call(self, who: str, name: str, **request: object):
        return self.world.call(name, self.people[who], **request)

    def seal(self, *values: str, field: str = EMAIL, rows: list[str] | None = None) -> list[str]:
        """Values sealed for rows 1, 2 and so on, or for *rows*."""
        rows = rows or [str(number) for number in range(1, len(values) + 1)]
        items = [item(field, row, plaintext=b64(value)) for row, value in zip(rows, values, strict=True)]
        return [one["ciphertext"] for one in self.call("storing", "fields.encrypt", items=items)["results"]]

    def open(self, ciphertext: str, row: str = "1", field: str = EMAIL, who: str = "billing", purpose: str = "") -> str:
        """The value in clear, or the code of the problem that stands in its place."""
        items = [item(field, row, ciphertext=ciphertext)]
        return shown(self.call(who, "fields.decrypt", purpose=purpose or who, items=items)["results"][0])

    def census(self, field: str = EMAIL) -> dict[int, int]:
        """Counts by key version."""
        return {row.version: row.count for row in self.call("keys", "censuses.run", field=field).data}

    def rotate(self, key: str = EMAIL) -> int:
        """The new version's number."""
        return self.call("keys", "keys.rotate", key=key).versions[0].version

    def run_job(self, rows: int = 10, field: str = EMAIL, steps: int = 100) -> object:
        """Create a re-encryption job and step it until it runs no more."""
        job = self.call("keys", "reencryptions.create", source="customers", field=field).job
        return self.finish(job, rows, steps)

    def finish(self, job: str, rows: int = 10, steps: int = 100) -> object:
        for _ in range(steps):
            view = self.step(job, rows)
            if view.state not in {"planned", "running", "verifying"}:
                return view
        raise AssertionError(f"the job still runs after {steps} steps")

    def step(self, job: str, rows: int = 10) -> object:
        worker = type(self.people["keys"])("system:worker", self.tenant, "system")
        return self.world.call("reencryptions.step", worker, job=job, rows=rows)


class Table:
    """The application's own table, in a SQLite file that guard knows as a source."""

    def __init__(self, path: Path, key: str = "INTEGER") -> None:
        self.path = path
        self.write(f"CREATE TABLE customers (id {key} PRIMARY KEY, email TEXT, phone TEXT)")

    def write(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=10)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(statement, values)

    def fill(self, shop: Shop, values: list[str], rows: list | None = None, column: str = "email") -> None:
        rows = rows or list(range(1, len(values) + 1))
        if not values:
            return
        sealed = shop.seal(*values, field=f"customers.{column}", rows=[str(row) for row in rows])
        with closing(sqlite3.connect(self.path)) as db, db:
            db.executemany(f"INSERT INTO customers (id, {column}) VALUES (?, ?)", list(zip(rows, sealed, strict=True)))

    def all(self, column: str = "email") -> dict[object, str]:
        with closing(sqlite3.connect(self.path, timeout=10)) as db:
            return dict(db.execute(f"SELECT id, {column} FROM customers ORDER BY id"))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def item(field: str, row: str, **rest: object) -> dict[str, object]:
    return {"field": field, "context": {"row": row}, **rest}


def shown(result: dict[str, object]) -> str:
    """A result's value in clear, or its problem's code."""
    if "problem" in result:
        return result["problem"]["code"]
    return base64.b64decode(result["plaintext"]).decode()


def code_of(act) -> str:
    """The code of the error that *act* raises; empty where it raises none."""
    try:
        act()
    except GuardError as error:
        return error.code
    return ""


def dump(path: Path) -> list[str]:
    """Everything that a database holds, as SQL."""
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())
