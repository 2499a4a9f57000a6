"""Automatic steps: intended, dispatched, reported; and at most once whatever breaks."""

import hashlib

import pytest

from guard.errors import Conflict, InvalidRequest
from guard.runbook import commands as cmd
from guard.runbook.effects import Action, effects, idem_key, recovery
from guard.runbook.states import RunStatus, StepState

TO_SHOOT = ("success", "act", "success")
TO_ROTATE = (*TO_SHOOT, "success")


@pytest.fixture
def run(driver, every_kind):
    """A run before `shoot`, an effect that must not happen twice."""
    return driver(every_kind).go(*TO_SHOOT)


@pytest.fixture
def idempotent(driver, every_kind):
    """A run before `rotate`, an effect that may be repeated under its key."""
    return driver(every_kind).go(*TO_ROTATE)


def state(run, path="shoot"):
    return run.state.steps[path].state


def test_an_executor_gets_operation_arguments_and_key(run):
    (effect,) = effects(run.state, run.plan)
    assert (effect.path, effect.operation, effect.state) == ("shoot", "decisions.create", StepState.READY)
    assert effect.arguments == {"value": "crm.email", "limit": 3}
    assert effect.idem_key == hashlib.sha256(b"run_1|shoot|0|1").hexdigest()
    assert not effect.idempotent
    run.dispatch("shoot")
    assert effects(run.state, run.plan)[0].state is StepState.DISPATCHED


def test_only_a_running_run_has_effects_to_carry_on(run):
    run.send(cmd.Pause, reason="x")
    assert effects(run.state, run.plan) == ()


def test_intent_dispatch_result(run):
    run.send(cmd.Intend, path="shoot")
    assert state(run) is StepState.INTENDED
    run.take(run.fenced(cmd.Dispatch, "shoot", fence=1))
    assert state(run) is StepState.DISPATCHED
    events = run.complete("shoot", decision="dec_1")
    assert events[0].result == {"decision": "dec_1"}
    assert state(run) is StepState.SUCCEEDED


def test_nothing_is_dispatched_without_an_intent(run):
    with pytest.raises(Conflict, match="ready"):
        run.take(run.fenced(cmd.Dispatch, "shoot", fence=1))


def test_an_intent_is_written_once(run):
    run.send(cmd.Intend, path="shoot")
    with pytest.raises(Conflict):
        run.send(cmd.Intend, path="shoot")


def test_the_key_is_that_of_the_attempt(run):
    run.send(cmd.Intend, path="shoot")
    with pytest.raises(Conflict, match="idempotency key"):
        run.take(run.fenced(cmd.Dispatch, "shoot", fence=1, idem_key=idem_key("run_2", "shoot", 0, 1)))
    run.dispatch("shoot")
    with pytest.raises(Conflict, match="idempotency key"):
        run.take(run.fenced(cmd.Complete, "shoot", idem_key="x" * 64, result={}))


def test_a_key_belongs_to_one_attempt_of_one_step_of_one_run():
    keys = {idem_key(r, p, i, a) for r in ("r1", "r2") for p in ("a", "b") for i in (0, 1) for a in (1, 2)}
    assert len(keys) == 16


def test_an_unrepeatable_effect_is_dispatched_once(run):
    run.dispatch("shoot")
    with pytest.raises(Conflict, match="not repeated"):
        run.take(run.fenced(cmd.Dispatch, "shoot", fence=99))


def test_an_idempotent_effect_is_repeated_under_its_key_by_a_newer_fence(idempotent):
    run = idempotent
    run.dispatch("rotate")
    key = run.state.steps["rotate"].idem_key
    with pytest.raises(Conflict, match="new lease"):
        run.take(run.fenced(cmd.Dispatch, "rotate", fence=1))
    events = run.take(run.fenced(cmd.Dispatch, "rotate", fence=2))
    assert [event.type for event in events] == ["effect_redispatched"]
    assert run.state.steps["rotate"].idem_key == key
    assert run.state.steps["rotate"].fence == 2


@pytest.mark.parametrize("report", ["complete", "fail", "time_out"])
def test_the_report_of_a_replaced_executor_is_kept_and_changes_nothing(idempotent, report):
    run = idempotent
    run.dispatch("rotate")
    run.take(run.fenced(cmd.Dispatch, "rotate", fence=2))
    before = run.state.steps["rotate"]
    late = {
        "complete": run.fenced(cmd.Complete, "rotate", fence=1, result={"version": 8}),
        "fail": run.fenced(cmd.Fail, "rotate", fence=1, reason="x"),
        "time_out": run.fenced(cmd.Fail, "rotate", fence=1, reason="x", timed_out=True),
    }[report]
    events = run.take(late)
    outcome = {"complete": "succeeded", "fail": "failed", "time_out": "timed_out"}[report]
    assert [(event.type, event.outcome) for event in events] == [("late_result", outcome)]
    assert run.state.steps["rotate"] == before
    run.complete("rotate")
    assert state(run, "rotate") is StepState.SUCCEEDED


def test_a_report_with_a_fence_that_nobody_had_is_refused(run):
    run.dispatch("shoot")
    with pytest.raises(Conflict, match="not given to this executor"):
        run.take(run.fenced(cmd.Complete, "shoot", fence=5, result={}))
    with pytest.raises(Conflict, match="not given to this executor"):
        run.take(run.fenced(cmd.Complete, "shoot", attempt=2, result={}))


def test_a_replaced_executor_cannot_declare_the_effect_unknown(idempotent):
    run = idempotent
    run.dispatch("rotate")
    run.take(run.fenced(cmd.Dispatch, "rotate", fence=2))
    with pytest.raises(Conflict, match="its report counts"):
        run.take(run.fenced(cmd.MarkUnknown, "rotate", fence=1, reason="x"))


def test_a_result_comes_once(run):
    run.dispatch("shoot")
    again = run.fenced(cmd.Complete, "shoot", result={})
    run.complete("shoot")
    run.send(cmd.Intend, path="rotate")
    with pytest.raises(Conflict, match="settled"):
        run.take(run.fenced(cmd.Complete, "shoot", result={}))
    with pytest.raises(Conflict, match="at version"):
        run.take(again)


@pytest.mark.parametrize("result", [{"ratio": 1.5}, {"text": "x" * 20_000}, {"when": object()}])
def test_a_result_is_small_and_recordable(run, result):
    run.dispatch("shoot")
    with pytest.raises(InvalidRequest):
        run.complete("shoot", **result)


@pytest.mark.parametrize(
    ("edges", "label", "target"),
    [
        ("success: good, failure: bad, timeout: late", "success", "good"),
        ("success: good, failure: bad, timeout: late", "failure", "bad"),
        ("success: good, failure: bad, timeout: late", "timeout", "late"),
        ("success: good, failure: bad", "timeout", "bad"),
        ("success: good, timeout: late", "failure", None),
        ("success: good", "timeout", None),
    ],
)
def test_each_outcome_takes_its_own_edge(driver, plan_of, edges, label, target):
    """Running out of time is a failure where the plan has no edge for it; a failure without an edge pauses the run."""
    ends = "".join(f"  {name}: {{kind: end, text: {{en: a, zh: a}}}}\n" for name in ("good", "bad", "late"))
    one = f"  one: {{kind: guard, operation: keys.rotate, text: {{en: a, zh: a}}, next: {{{edges}}}}}\n"
    run = driver(plan_of("start: one\nsteps:\n" + one + ends)).go(label)
    assert run.state.status is (RunStatus.COMPLETED if target else RunStatus.PAUSED)
    assert run.log[-1].path == (target or "one")


class TestRecovery:
    """What a sweeper does about an executor that is gone."""

    def test_nothing_dispatched_is_nothing_to_do(self, run):
        assert recovery(run.state) == ()
        run.send(cmd.Intend, path="shoot")
        assert recovery(run.state) == ()

    def test_an_unrepeatable_effect_becomes_unknown(self, run):
        run.dispatch("shoot")
        (todo,) = recovery(run.state)
        assert (todo.path, todo.action, todo.fence) == ("shoot", Action.UNKNOWN, 1)
        run.take(run.fenced(cmd.MarkUnknown, "shoot", reason="the executor is gone"))
        assert state(run) is StepState.UNKNOWN
        assert recovery(run.state) == ()
        assert run.state.status is RunStatus.RUNNING

    def test_an_idempotent_effect_is_retried_under_its_key(self, idempotent):
        idempotent.dispatch("rotate")
        (todo,) = recovery(idempotent.state)
        assert (todo.action, todo.idem_key) == (Action.RETRY, idempotent.state.steps["rotate"].idem_key)

    def test_after_the_end_of_a_run_nothing_is_retried(self, idempotent):
        idempotent.dispatch("rotate")
        idempotent.send(cmd.Abort, reason="x")
        assert [todo.action for todo in recovery(idempotent.state)] == [Action.UNKNOWN]


class TestUnknown:
    """A person says what became of the effect."""

    @pytest.fixture
    def lost(self, run):
        run.dispatch("shoot")
        run.take(run.fenced(cmd.MarkUnknown, "shoot", reason="gone"))
        return run

    def resolve(self, run, verdict, **members):
        members = {"path": "shoot", "verdict": verdict, "reason": "looked at the target", "person": "dora"} | members
        return run.send(cmd.ResolveUnknown, **members)

    def test_done(self, lost):
        events = self.resolve(lost, cmd.Verdict.DONE)
        assert [event.type for event in events] == ["unknown_resolved", "step_ready"]
        assert events[0].reason == "looked at the target"
        assert lost.open_step() == "rotate"

    def test_failed(self, lost):
        self.resolve(lost, cmd.Verdict.FAILED)
        assert lost.state.status is RunStatus.FAILED
        assert lost.log[-1].path == "refused"

    def test_retry_is_a_new_attempt_with_a_new_key_and_a_higher_fence(self, lost):
        old = lost.state.steps["shoot"]
        self.resolve(lost, cmd.Verdict.RETRY)
        assert (state(lost), lost.state.steps["shoot"].attempt) == (StepState.READY, 2)
        lost.dispatch("shoot")
        new = lost.state.steps["shoot"]
        assert new.idem_key != old.idem_key
        assert new.fence > old.fence
        lost.complete("shoot")
        assert lost.open_step() == "rotate"

    def test_nobody_else_settles_it(self, lost):
        for command in (
            lost.command(cmd.Intend, path="shoot"),
            lost.fenced(cmd.Dispatch, "shoot", fence=9),
            lost.command(cmd.Skip, path="shoot", reason="x"),
        ):
            with pytest.raises(Conflict):
                lost.take(command)

    def test_a_result_that_comes_after_all_is_evidence(self, lost):
        events = lost.take(lost.fenced(cmd.Complete, "shoot", result={}))
        assert [event.type for event in events] == ["late_result"]
        assert state(lost) is StepState.UNKNOWN

    def test_a_result_of_an_earlier_attempt_is_evidence(self, lost):
        old = lost.fenced(cmd.Complete, "shoot", result={})
        self.resolve(lost, cmd.Verdict.RETRY)
        late = lost.command(
            cmd.Complete, path="shoot", attempt=1, fence=old.fence, idem_key=old.idem_key, result={"x": 1}
        )
        assert [event.type for event in lost.take(late)] == ["late_result"]
        assert state(lost) is StepState.READY

    def test_a_known_effect_needs_no_verdict(self, run):
        run.dispatch("shoot")
        with pytest.raises(Conflict):
            self.resolve(run, cmd.Verdict.DONE)

    def test_after_the_end_it_is_found_out_but_not_tried_again(self, lost):
        lost.send(cmd.Abort, reason="x")
        with pytest.raises(Conflict, match="not be tried again"):
            self.resolve(lost, cmd.Verdict.RETRY)
        assert [event.type for event in self.resolve(lost, cmd.Verdict.DONE)] == ["unknown_resolved"]
        assert lost.state.status is RunStatus.ABORTED

    def test_a_failure_found_out_without_a_way_on_pauses(self, idempotent):
        run = idempotent
        run.dispatch("rotate")
        run.take(run.fenced(cmd.MarkUnknown, "rotate", reason="ten tries"))
        self.resolve(run, cmd.Verdict.FAILED, path="rotate")
        assert run.state.status is RunStatus.PAUSED
