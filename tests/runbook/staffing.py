"""A guard with a small library of plans and the people of an incident, for the tests of the runbook's shell."""

import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from guard.catalogue import Actor
from guard.settings import bundled
from tests.world import World
from tests.world import world as whole_world

HEAD = """guard_plan: "1"
id: {id}
title: {{en: Sample, zh: 样例}}
group: security
review_due: "2027-03-31"
roles: {{commander: {{}}, deputy: {{}}, sme: {{}}, legal: {{}}}}
inputs:
  __key__: {{type: string, external: true}}
  __incident__: {{type: string, external: true}}
"""
CONTAIN = (
    HEAD.format(id="contain")
    + """start: rotate
steps:
  rotate:
    kind: guard
    text: {en: "Rotate __key__:value.", zh: "轮换 __key__:value。"}
    operation: keys.rotate
    with: {key: "__key__:value"}
    idempotent: true
    next: {success: look, failure: by_hand}
  by_hand:
    kind: task
    role: sme
    text: {en: Rotate by hand., zh: 手动轮换。}
    form: {type: object, required: [version], properties: {version: {type: integer}}}
    deadline: {after: PT30M, ladder: ["role:deputy", "role:commander"]}
    next: {success: look, failure: lost}
  look:
    kind: decision
    role: commander
    text: {en: "Contain, or wait?", zh: "遏制还是等待?"}
    options: {act: {en: Contain, zh: 遏制}, wait: {en: Wait, zh: 等待}}
    deadline: {after: PT15M, ladder: ["role:deputy"]}
    next: {act: sign, wait: cool_down}
  sign:
    kind: approval
    text: {en: A second person agrees., zh: 第二人同意。}
    roles: [deputy, commander, legal]
    quorum: 1
    deadline: {after: PT20M, ladder: ["role:legal"]}
    next: {success: mark, failure: lost, timeout: lost}
  mark:
    kind: guard
    text: {en: Mark it contained., zh: 标记为已遏制。}
    operation: incidents.transition
    with: {incident: "__incident__:value", to: contained}
    idempotent: true
    next: {success: done, failure: lost}
  cool_down:
    kind: wait
    text: {en: Wait an hour., zh: 等待一小时。}
    for: PT1H
    next: {success: look_again}
  look_again:
    kind: decision
    role: commander
    text: {en: Quiet?, zh: 平静了吗?}
    options: {quiet: {en: Quiet, zh: 平静}, active: {en: It goes on, zh: 仍在继续}}
    next: {quiet: done, active: sign}
  done: {kind: end, text: {en: Done., zh: 完成。}}
  lost: {kind: end, outcome: failure, text: {en: Lost., zh: 失败。}}
"""
)
BAN = (
    HEAD.format(id="ban")
    + """start: ban
steps:
  ban:
    kind: guard
    text: {en: Ban the source., zh: 封禁来源。}
    operation: decisions.create
    with: {value: "__key__:value", seconds: 600}
    next: {success: done, failure: lost}
  done: {kind: end, text: {en: Done., zh: 完成。}}
  lost: {kind: end, outcome: failure, text: {en: Lost., zh: 失败。}}
"""
)
TWICE = (
    HEAD.format(id="twice")
    + """start: first
steps:
  first: {kind: guard, text: {en: Once., zh: 一次。}, operation: keys.rotate, with: {key: "__key__:value"}, idempotent: true, next: {success: second}}
  second: {kind: guard, text: {en: Twice., zh: 两次。}, operation: keys.rotate, with: {key: "__key__:value"}, idempotent: true, next: {success: nap}}
  nap: {kind: wait, text: {en: Wait., zh: 等待。}, for: PT1M, next: {success: third}}
  third: {kind: guard, text: {en: Thrice., zh: 三次。}, operation: keys.rotate, with: {key: "__key__:value"}, idempotent: true, next: {success: done}}
  done: {kind: end, text: {en: Done., zh: 完成。}}
"""
)
LIBRARY = {"contain.yaml": CONTAIN, "ban.yaml": BAN, "twice.yaml": TWICE}


def settings_of(folder: Path) -> dict[str, Path]:
    """Policies without detections, and the plans of this file; made once in *folder*."""
    policies, runbooks = folder / "policies", folder / "runbooks"
    if not policies.exists():
        for name in ("access", "fields"):
            shutil.copytree(bundled("policies") / name, policies / name)
        runbooks.mkdir()
        for name, text in LIBRARY.items():
            (runbooks / name).write_text(text, encoding="utf-8")
    return {"policies": policies, "runbooks": runbooks}


@contextmanager
def world(home: Path, **settings: object) -> Iterator[World]:
    """A World of runbooks alone, closed at the end of the block."""
    with whole_world(home, **(settings_of(home.parent) | settings)) as made:
        yield made


class Staff:
    """The people of one tenant's incidents; a new tenant where none is named."""

    _numbers = itertools.count(1)

    def __init__(self, world: World, tenant: str = "") -> None:
        tenant = tenant or f"firm-{next(self._numbers)}"
        self.world, self.tenant = world, tenant
        roles = {"carla": "commander", "dan": "deputy", "sam": "sme", "lea": "legal", "rob": "responder"}
        self.people = {name: world.hire(tenant, f"user:local|{name}", f"role:{role}") for name, role in roles.items()}
        self.people |= {
            "kim": world.hire(tenant, "user:local|kim", "role:key-admin"),
            "robot": world.hire(tenant, "svc:robot", "role:commander", "role:deputy", "role:sme"),
            "ana": world.hire(tenant, "user:local|ana", "role:analyst"),
        }

    def call(self, who: str, name: str, **request: object):
        return self.world.call(name, self.people[who], **request)

    def open(self, plan: str = "contain", who: str = "carla", **request: object):
        """An incident with a run of *plan*; its view and that of the run."""
        inputs = {"__key__": "customers.email"} | request.pop("inputs", {})
        incident = self.call(who, "incidents.open", **({"title": "Attack", "plan": plan, "inputs": inputs} | request))
        return incident, self.read(incident.runs[0])

    def read(self, run: str, who: str = "rob"):
        return self.call(who, "runs.read", run=run)

    def send(self, who: str, run: str, kind: str, step: str = "", version: int | None = None, **members: object):
        """A command to the run as *who* sees it now, to the current attempt of its step."""
        now = self.read(run)
        found = next((one for one in now.steps if one.step == step), None)
        request = {
            "run": run,
            "command_id": f"c-{next(self._numbers)}",
            "expected_version": now.version if version is None else version,
            "type": kind,
            "step": step,
            "attempt": found.attempt if found else 1,
        }
        return self.call(who, "runs.command", **(request | members))

    def beat(self) -> int:
        """What the worker does in one beat, for this tenant."""
        desk = next(part for kind, part in self.world.gate._doors.parts.items() if kind.__name__ == "Desk")
        return self.world.beat(
            "runs.advance", lambda now_us: [one for one in desk.due(now_us) if one[0] == self.tenant]
        )

    def advance(self, run: str):
        """The operation of the worker, and nothing caught."""
        return self.world.call("runs.advance", Actor("system:worker", self.tenant, "system"), run=run)

    def versions(self, key: str = "customers.email") -> int:
        return len(self.call("kim", "keys.read", key=key).versions)


def open_step(run):
    """The step that waits, with its state."""
    settled = {"succeeded", "skipped", "failed", "timed_out"}
    return [(one.step, one.state) for one in run.steps if one.state not in settled]


def types(run):
    """The kinds of its events, in order."""
    return [event.type for event in run.timeline]


def sql(home: Path, statement: str, *values: object) -> list[tuple]:
    """One statement on guard's own database, as somebody with the file would run it."""
    with closing(sqlite3.connect(home / "guard.db", timeout=5)) as db, db:
        return db.execute(statement, values).fetchall()
