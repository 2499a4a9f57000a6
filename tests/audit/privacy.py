"""People who seal, open, erase and hold, for the tests of personal values in the log."""

import base64
import json

from guard.catalogue import Actor
from guard.errors import GuardError
from tests.vault.shop import world as bare_world
from tests.world import World

SUBJECT = "canary.person@example.org"
REASON = "Canary-Reason: he asked by letter"
WORKER = Actor("system:worker", "acme", "system")


class Office:
    """One tenant: an administrator who writes notes on tokens, a privacy officer, a lawyer, an auditor."""

    def __init__(self, made: World, tenant: str = "acme") -> None:
        self.made, self.tenant = made, tenant
        roles = {
            "admin": ("user:local|adam", "role:tenant-admin"),
            "officer": ("user:local|olga", "role:privacy-officer"),
            "second": ("user:local|otto", "role:privacy-officer"),
            "counsel": ("user:local|lea", "role:legal"),
            "auditor": ("user:local|aude", "role:auditor"),
        }
        self.people = {name: made.hire(tenant, *who) for name, who in roles.items()}

    def call(self, who: str, name: str, **request: object):
        return self.made.call(name, self.people[who], **request)

    def search(self, subject: str = SUBJECT) -> int:
        """A record about *subject*, which nothing but the log keeps: an auditor looked for it. Its index."""
        self.call("auditor", "records.list", actor=subject, limit=1)
        return self.made.guard.log.size - 1

    def note(self, text: str = REASON, subject: str = "svc:noted") -> int:
        """A record with a note on a token of *subject*; its index."""
        self.call("admin", "tokens.create", subject=subject, note=text)
        return self.made.guard.log.size - 1

    def ask(self, subject: str = SUBJECT, **more: object):
        return self.call("officer", "erasures.request", subject=subject, **more)

    def erase(self, subject: str = SUBJECT):
        """An erasure, approved and carried out."""
        asked = self.ask(subject)
        self.call("counsel", "erasures.approve", erasure=asked.id)
        return self.carry_on(asked.id)

    def carry_on(self, erasure: str, steps: int = 50):
        """Do what the worker does until the erasure is done."""
        for _ in range(steps):
            view = self.step(erasure)
            if view.state == "done":
                return view
        raise AssertionError(f"the erasure is not done after {steps} steps")

    def step(self, erasure: str):
        worker = Actor("system:worker", self.tenant, "system")
        return self.made.call("erasures.step", worker, erasure=erasure)

    def hold(self, scope: str, **more: object):
        return self.call("counsel", "holds.place", scope=scope, matter="case-2026-17", **more)

    def release(self, hold: str):
        self.call("counsel", "holds.release", hold=hold)
        return self.call("officer", "holds.release", hold=hold)

    def reveal(self, index: int, who: str = "officer") -> dict[str, object]:
        return {one.field: one.value for one in self.call(who, "records.reveal", index=index).openings}


def office(folder, **settings):
    """A world without detections and plans."""
    return bare_world(folder / "home", **settings)


def body(made: World, index: int) -> dict:
    """The body of the record at *index*."""
    with made.guard.store.read() as tx:
        entry = tx.exec_driver_sql("SELECT entry FROM audit_entries WHERE idx = ?", (index,)).scalar_one()
    return json.loads(entry)["b"]


def rows(made: World, statement: str) -> list[tuple]:
    with made.guard.store.read() as tx:
        return [tuple(row) for row in tx.exec_driver_sql(statement)]


def code(act, *arguments: object, **request: object) -> str:
    """The code of the error that a call ends in; empty where it succeeds."""
    try:
        act(*arguments, **request)
    except GuardError as error:
        return error.code
    return ""


def writings(value: str) -> list[bytes]:
    """The forms in which a value could lie in a file."""
    raw = value.encode()
    encoded = [one for start in range(3) for one in _inner(raw[start:])]
    return [raw, raw.lower(), raw.upper(), raw.hex().encode(), raw[::-1], value.encode("utf-16-le"), *encoded]


def _inner(raw: bytes) -> list[bytes]:
    """Base64 of the whole groups of three, so that it is found whatever stands around the value."""
    whole = raw[: len(raw) // 3 * 3]
    return [base64.b64encode(whole), base64.urlsafe_b64encode(whole)]


def leftovers(made: World, value: str) -> list[str]:
    """The files of the home directory that hold *value* in any form."""
    found = []
    for path in sorted(path for path in made.home.rglob("*") if path.is_file()):
        raw = path.read_bytes()
        found += [path.name for one in writings(value) if one in raw]
    return found
