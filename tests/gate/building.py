"""A guard with five more operations, one for each effect and one that hides, whose work a test writes itself.

They are declared, allowed, limited, run and recorded exactly as guard's own; only what they do comes from a `Script`.
"""

import json
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import replace

import httpx2
from pydantic import Field

from guard.api.asgi import Front
from guard.api.routes import build as build_api
from guard.catalogue import Context, Effect, operation
from guard.gate import Gate
from guard.settings import bundled
from guard.wire.model import Model
from tests.world import World

ROLE = "\np, role:tester, *, notes/**, notes.*, allow\np, role:tester, *, notes/secret, notes.*, deny\n"
BROKEN_LOG = "CREATE TRIGGER broken BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'the log is broken'); END"
CANARY = "canary-6b1f0c54"
EFFECTS = {
    "notes.compute": Effect.NONE,
    "notes.look": Effect.READ,
    "notes.keep": Effect.WRITE,
    "notes.send": Effect.EXTERNAL,
}
PEER = ("192.0.2.1", 4711)


class Ask(Model):
    """What the test operations take; `value` is never recorded."""

    name: str = "a"
    value: str = ""
    things: list[str] = Field(default_factory=list)


class Answer(Model):
    """What they give."""

    text: str


class Script(dict):
    """What each named request does: `script["a"] = lambda ctx, request: ...`; without an entry it just answers."""

    def __call__(self, ctx: Context, request: Ask) -> Answer:
        answer = self[request.name](ctx, request) if request.name in self else None
        return Answer(text=answer or f"did {request.name}")


def play(ctx: Context, request: Ask) -> Answer:
    """Do what the script says."""
    return ctx.part(Script)(ctx, request)


def things(request: Ask) -> tuple[str, ...]:
    return tuple(f"notes/{thing}" for thing in request.things) or (f"notes/{request.name}",)


def declared():
    """The test operations by name."""
    routes = {name: f"POST /api/v1/{name.replace('.', '/')}" for name in [*EFFECTS, "notes.hide"]}
    effects = EFFECTS | {"notes.hide": Effect.NONE}
    return {
        name: operation(
            name,
            routes[name],
            takes=Ask,
            gives=Answer,
            effect=effects[name],
            resource=things,
            audit=("name",),
            hides=name == "notes.hide",
        )(play)
        for name in routes
    }


class Stage(World):
    """A World with the test operations, their role, and HTTP clients."""

    def __init__(self, home, **settings):
        policies = home.parent / "policies"
        if not policies.exists():
            shutil.copytree(bundled("policies"), policies)
            with (policies / "access" / "roles.csv").open("a") as file:
                file.write(ROLE)
        super().__init__(home, policies=policies, **settings)
        self.script = Script()
        doors = self.gate._doors
        self.gate = Gate(
            replace(doors, operations=doors.operations | declared(), parts=doors.parts | {Script: self.script})
        )
        limit = self.guard.settings.max_body_bytes
        self.front = Front(build_api(self.gate, dict, limit), doors.random)
        self.path = self.guard.settings.database

    @property
    def pipeline(self):
        return self.guard.pipeline

    def http(self, token=""):
        """An HTTP client of the whole application; use it in `async with`."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx2.ASGITransport(self.front, raise_app_exceptions=False, client=PEER)
        return httpx2.AsyncClient(transport=transport, base_url="http://guard", headers=headers)

    def rows(self, statement, *arguments):
        """What a stranger's connection reads: durable rows only."""
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            return connection.execute(statement, arguments).fetchall()
        finally:
            connection.close()

    def kept(self):
        """Names that `insert` left in the store."""
        return [name for (name,) in self.rows("SELECT name FROM meta WHERE value = 'kept' ORDER BY rowid")]

    def bodies(self, since=0, tenant="acme"):
        """The durable records of a tenant, oldest first, from an index of the log on."""
        joined = "SELECT e.entry FROM audit_entries e JOIN audit_index i USING (idx) WHERE i.tenant = ? AND idx >= ?"
        found = self.rows(f"{joined} ORDER BY idx", tenant, since)
        return [json.loads(entry)["b"] for (entry,) in found]

    @property
    def size(self):
        """How many records are durable, by the store."""
        return self.rows("SELECT count(*) FROM audit_entries")[0][0]


def insert(ctx, name):
    """Add a row to the store, in the operation's transaction."""
    ctx.tx.exec_driver_sql("INSERT INTO meta VALUES (?, 'kept')", (name,))


@contextmanager
def stage(home, **settings):
    """A Stage that is closed at the end of the block."""
    made = Stage(home, **settings)
    try:
        yield made
    finally:
        made.close()


def told(body):
    """What a record says, in short: action, phase, allowed, status, code."""
    result, decision = body["result"], body["decision"]
    return body["action"], body["phase"], decision["allow"], result["status"], result.get("code")
