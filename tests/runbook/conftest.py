"""Plans to run in tests, and a driver that sends commands as people, executors and the clock would."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard.runbook import commands as cmd
from guard.runbook import events as ev
from guard.runbook.effects import idem_key
from guard.runbook.machine import apply, decide, draft, next_due
from guard.runbook.plan import ApprovalStep, DecisionStep, GuardStep, Plan, TaskStep, WaitStep, parse
from guard.runbook.states import RunStatus, StepState

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = frozenset(
    {"keys.rotate", "decisions.create", "decisions.revoke", "tokens.revoke", "incidents.transition", "audit.checkpoint"}
)
T0 = 1_800_000_000_000_000
MINUTE = 60_000_000
ALL_ROLES = frozenset({"commander", "deputy", "sme", "legal"})

HEAD = """guard_plan: "1"
id: sample
title: {en: Sample, zh: 样例}
group: security
review_due: "2027-03-31"
tags: ["csf:RS.MI"]
roles: {commander: {}, deputy: {}, sme: {training: basics}, legal: {holders: 2}}
inputs:
  __key__: {type: string, external: true}
  __count__: {type: integer, value: 3}
"""

EVERY_KIND = (
    HEAD
    + """start: work
steps:
  work:
    kind: task
    role: sme
    text: {en: "Look at __key__:value.", zh: "查看 __key__:value。"}
    form: {type: object, required: [note], properties: {note: {type: string, maxLength: 20}}}
    deadline: {after: PT30M, ladder: ["role:deputy", "role:commander"]}
    next: {success: choose, failure: by_hand, timeout: by_hand}
  by_hand:
    kind: task
    role: deputy
    text: {en: Do it by hand., zh: 手动处理。}
    next: {success: choose}
  choose:
    kind: decision
    role: commander
    text: {en: Act?, zh: 是否行动?}
    options: {act: {en: Act, zh: 行动}, leave: {en: Leave, zh: 放弃}}
    deadline: {after: PT10M, ladder: ["role:deputy"]}
    next: {act: sign, leave: left}
  sign:
    kind: approval
    text: {en: Two agree., zh: 两人同意。}
    roles: [deputy, commander, legal]
    quorum: 2
    deadline: {after: PT20M, ladder: ["role:legal"]}
    next: {success: shoot, failure: refused, timeout: refused}
  shoot:
    kind: guard
    text: {en: Send it., zh: 发送。}
    operation: decisions.create
    with: {value: "__key__:value", limit: "__count__:value"}
    next: {success: rotate, failure: refused, timeout: refused}
  rotate:
    kind: guard
    text: {en: Rotate., zh: 轮换。}
    operation: keys.rotate
    with: {key: "__key__:value"}
    idempotent: true
    next: {success: cool_down}
  cool_down:
    kind: wait
    text: {en: Wait., zh: 等待。}
    for: PT1H
    next: {success: done}
  done: {kind: end, text: {en: Done., zh: 完成。}}
  left: {kind: end, text: {en: Left., zh: 已放弃。}}
  refused: {kind: end, outcome: failure, text: {en: Refused., zh: 已拒绝。}}
"""
)


class Driver:
    """One run in memory: sends commands with the current version and keeps every event."""

    def __init__(self, plan: Plan, run_id: str = "run_1"):
        self.plan = plan
        self.state = draft(run_id, plan.sha256)
        self.now_us = T0
        self.log: list[ev.AnyEvent] = []
        self.sent = 0
        self.fences = 0

    def command(self, cls, **members):
        """A command with what all have; a step's current attempt is named unless the caller names another."""
        self.sent += 1
        defaults = {"command_id": f"c{self.sent}", "actor": "user:ana", "expected_version": self.state.version}
        if issubclass(cls, cmd.StepCommand):
            step = self.state.steps.get(members["path"])
            defaults |= {"iteration": 0, "attempt": step.attempt if step else 1}
        if issubclass(cls, cmd.PersonCommand):
            defaults |= {"person": "ana", "roles": ALL_ROLES}
        return cls(**(defaults | members))

    def take(self, command):
        """Decide *command* now and keep its events."""
        events = decide(self.state, self.plan, command, self.now_us)
        for event in events:
            self.state = apply(self.state, event)
        self.log.extend(events)
        return events

    def send(self, cls, **members):
        return self.take(self.command(cls, **members))

    def begin(self, person="sam", **inputs):
        given = {name: "crm.email" for name, each in self.plan.inputs.items() if each.external}
        return self.send(cmd.Start, inputs=given | inputs, person=person)

    def open_step(self) -> str:
        """The one step that waits for somebody or something."""
        settled = {"succeeded", "skipped", "failed", "timed_out"}
        (path,) = [path for path, step in self.state.steps.items() if step.state not in settled]
        return path

    def fenced(self, cls, path, **members):
        """A report of the executor that holds the current fence."""
        step = self.state.steps[path]
        key = idem_key(self.state.run_id, path, step.iteration, step.attempt)
        return self.command(cls, **({"path": path, "fence": step.fence, "idem_key": key} | members))

    def dispatch(self, path):
        if self.state.steps[path].state is StepState.READY:
            self.send(cmd.Intend, path=path)
        self.fences += 1
        return self.take(self.fenced(cmd.Dispatch, path, fence=self.state.steps[path].fence + 1))

    def complete(self, path, **result):
        return self.take(self.fenced(cmd.Complete, path, result=result or {"version": 7}))

    def fire(self):
        """Let time pass until the next timer is due, and fire it."""
        due = next_due(self.state)
        self.now_us = max(self.now_us, due.due_us)
        return self.send(cmd.TimerFired, path=due.path, kind=due.kind)

    def follow(self, path, label):
        """Settle the step at *path* so that the run leaves it by *label*."""
        match self.plan.steps[path]:
            case TaskStep() as step if label == "success":
                self.send(cmd.Answer, path=path, answer=filled(step.form), roles=frozenset({step.role}))
            case TaskStep() as step if label == "failure":
                self.send(cmd.GiveUp, path=path, reason="did not work", roles=frozenset({step.role}))
            case DecisionStep() as step if label != "timeout":
                self.send(cmd.Decide, path=path, option=label, roles=frozenset({step.role}), person="dora")
            case ApprovalStep() as step if label in {"success", "failure"}:
                self.vote(step, label)
            case GuardStep():
                self.execute(path, label)
            case WaitStep():
                self.fire()
            case _:
                while self.state.steps[path].state in {StepState.WAITING_HUMAN, StepState.WAITING_APPROVAL}:
                    self.fire()

    def vote(self, step, label):
        roles, subject = frozenset(step.roles), self.state.steps[step.id].subject_hash
        if label == "failure":
            self.send(cmd.Refuse, path=step.id, person="vic", roles=roles, subject_hash=subject, reason="no")
            return
        for number in range(step.quorum):
            self.send(cmd.Approve, path=step.id, person=f"voter{number}", roles=roles, subject_hash=subject)

    def execute(self, path, label):
        self.dispatch(path)
        if label == "success":
            self.complete(path)
        else:
            self.take(self.fenced(cmd.Fail, path, reason="refused", timed_out=label == "timeout"))

    def go(self, *labels):
        """Start, then leave each step in turn by the next of *labels*."""
        if self.state.status is RunStatus.DRAFT:
            self.begin()
        for label in labels:
            self.follow(self.open_step(), label)
        return self


def filled(form):
    """An answer that fits *form*, every field given."""
    if form is None:
        return {}
    samples = {"string": "text", "integer": 3, "number": 1.5, "boolean": True}
    answer = {}
    for name, rules in form["properties"].items():
        value = "2026-11-22T03:00:00+01:00" if rules.get("format") else samples[rules["type"]]
        answer[name] = rules["enum"][0] if "enum" in rules else value
    return answer


def routes(plan: Plan) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each reachable step, the labels of a shortest way to it from the start."""
    seen = {plan.start: ()}
    queue = [plan.start]
    for path in queue:
        yield path, seen[path]
        for label, target in plan.steps[path].next.items():
            if target not in seen:
                seen[target] = (*seen[path], label)
                queue.append(target)


@pytest.fixture(scope="session")
def driver():
    """The driver class: `driver(plan)` is a run before its start."""
    return Driver


@pytest.fixture(scope="session")
def every_kind() -> Plan:
    """A plan that has a step of every kind."""
    return parse(EVERY_KIND, "every-kind.yaml")


@pytest.fixture(scope="session")
def every_kind_text() -> str:
    return EVERY_KIND


@pytest.fixture(scope="session")
def plan_of():
    """`plan_of(text)`: a plan with the usual head; *text* begins with `start:`."""
    return lambda text: parse(HEAD + text, "plan.yaml")


@pytest.fixture(scope="session")
def operations() -> frozenset[str]:
    return OPERATIONS


@pytest.fixture(scope="session")
def library() -> dict[str, Plan]:
    """The plans that ship, by file name."""
    files = sorted((ROOT / "runbooks").glob("*.yaml"))
    return {path.name: parse(path.read_text(encoding="utf-8"), f"runbooks/{path.name}") for path in files}


@pytest.fixture(scope="session")
def ways():
    return routes


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of published test vectors."""
    folder = Path(os.environ.get("GUARD_CONFORMANCE", ROOT.parent / "shared" / "conformance"))
    if not folder.is_dir():
        pytest.skip("the conformance data is not on this machine (set GUARD_CONFORMANCE)")
    return folder
