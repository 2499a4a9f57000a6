"""The machine against a second, much simpler one: a walk over labels with a set of approvers and a stack of hours."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import Conflict, Denied
from guard.runbook import commands as cmd
from guard.runbook.plan import ApprovalStep, DecisionStep, EndStep, GuardStep, TaskStep, WaitStep
from guard.runbook.states import RunStatus

PEOPLE = ("ana", "bo", "cy")
EVERY_ROLE = frozenset({"commander", "deputy", "sme", "legal"})


@dataclass
class Model:
    """Where a run is, in the fewest words: the step, its attempt, who asked, who agreed."""

    plan: object
    at: str = ""
    attempts: dict[str, int] = field(default_factory=dict)
    starter: str = "sam"
    worker: str = ""
    decider: str = ""
    agreed: set[str] = field(default_factory=set)
    paused: bool = False
    stuck: bool = False
    over: str = ""

    def arrive(self, path):
        step = self.plan.steps[path]
        if isinstance(step, EndStep):
            self.over = "completed" if step.outcome.value == "success" else "failed"
            return
        self.at, self.agreed = path, set()
        self.attempts[path] = self.attempts.get(path, 0) + 1

    def leave(self, label):
        edges = self.plan.steps[self.at].next
        if label not in edges and label == "timeout":
            label = "failure"
        if label in edges:
            self.arrive(edges[label])
        else:
            self.paused = self.stuck = True

    def can(self, name, person):
        """Whether the command counts here."""
        step = self.plan.steps[self.at]
        if self.over or (self.paused and name != "resume"):
            return False
        match name:
            case "resume":
                return self.paused
            case "pause":
                return True
            case "answer" | "give_up":
                return isinstance(step, TaskStep)
            case "decide":
                return isinstance(step, DecisionStep)
            case "approve":
                asks = self.decider or self.worker or self.starter
                return isinstance(step, ApprovalStep) and person != asks and person not in self.agreed
            case "refuse":
                return isinstance(step, ApprovalStep)
            case "succeed" | "fail":
                return isinstance(step, GuardStep)
            case "elapse":
                return isinstance(step, WaitStep)

    def do(self, name, person):
        match name:
            case "pause":
                self.paused = True
            case "resume":
                self.paused = False
                if self.stuck:
                    self.stuck = False
                    self.arrive(self.at)
            case "answer":
                self.worker = person
                self.leave("success")
            case "decide":
                self.decider = person
                self.leave("act")
            case "approve":
                self.agreed.add(person)
                if len(self.agreed) == self.plan.steps[self.at].quorum:
                    self.leave("success")
            case "give_up" | "refuse" | "fail":
                self.leave("failure")
            case "succeed" | "elapse":
                self.leave("success")


def send(run, at, name, person):
    """The same command to the machine, addressed to the step where the model is."""
    one = {"path": at, "person": person, "roles": EVERY_ROLE}
    step = run.state.steps[at]
    match name:
        case "pause":
            run.send(cmd.Pause, reason="x")
        case "resume":
            run.send(cmd.Resume)
        case "answer":
            run.send(cmd.Answer, **one, answer={} if at == "by_hand" else {"note": "x"})
        case "give_up":
            run.send(cmd.GiveUp, **one, reason="x")
        case "decide":
            run.send(cmd.Decide, **one, option="act")
        case "approve":
            run.send(cmd.Approve, **one, subject_hash=step.subject_hash)
        case "refuse":
            run.send(cmd.Refuse, **one, subject_hash=step.subject_hash, reason="x")
        case "succeed" | "fail":
            run.execute(at, "success" if name == "succeed" else "failure")
        case "elapse":
            run.now_us += 10**10
            run.send(cmd.TimerFired, path=at, kind="wait")


NAMES = [
    "answer",
    "give_up",
    "decide",
    "approve",
    "approve",
    "approve",
    "refuse",
    "succeed",
    "succeed",
    "fail",
    "elapse",
    "pause",
    "resume",
    "resume",
]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(PEOPLE)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_the_machine_does_what_the_model_does(driver, every_kind, sequence):
    run, model = driver(every_kind), Model(every_kind)
    run.begin(person="sam")
    model.arrive(every_kind.start)
    for name, person in sequence:
        allowed = model.can(name, person)
        try:
            send(run, model.at, name, person)
        except (Conflict, Denied):
            assert not allowed, f"{name} by {person} at {model.at} was refused"
        else:
            assert allowed, f"{name} by {person} at {model.at} was taken"
            model.do(name, person)
        assert_alike(run.state, model)


def assert_alike(state, model):
    if model.over:
        assert state.status.value == model.over
        return
    assert state.status is (RunStatus.PAUSED if model.paused else RunStatus.RUNNING)
    assert {path: step.attempt for path, step in state.steps.items()} == model.attempts
    assert set(state.steps[model.at].approvals) == model.agreed
    assert state.requester == (model.decider or model.worker or model.starter)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_of_two_at_once_one_wins_and_the_other_learns_of_it(driver, every_kind, data):
    """Any two commands made from one version: whichever is first is taken, the other is stale, and nothing is lost."""
    way = ("success", "act", "success", "success", "success")
    run = driver(every_kind).go(*way[: data.draw(st.integers(0, 4))])
    path = run.open_step()
    candidates = [
        run.command(cmd.Pause, reason="x", actor="user:p"),
        run.command(cmd.Abort, reason="x", actor="user:a"),
        run.command(cmd.Answer, path=path, answer={"note": "x"}, actor="user:w"),
        run.command(cmd.GiveUp, path=path, reason="x", actor="user:g"),
        run.command(cmd.Decide, path=path, option="act", actor="user:d"),
        run.command(cmd.Intend, path=path, actor="svc:x"),
        run.command(cmd.Skip, path=path, reason="x", actor="user:s"),
    ]
    first, second = data.draw(st.permutations(candidates))[:2]
    before = run.state.version
    try:
        run.take(first)
    except Conflict:
        assert run.state.version == before
        return
    try:
        run.take(second)
    except Conflict as stale:
        told = stale.extra["events_since"]
        assert [each["seq"] for each in told] == list(range(before + 1, run.state.version + 1))
        assert {each["actor"] for each in told} == {first.actor}
    else:
        raise AssertionError("two commands made from one version were both taken")
