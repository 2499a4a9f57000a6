"""A run from its start to each of its ends, as people see it."""

from dataclasses import replace

import pytest

from guard.errors import Conflict, Denied, InvalidRequest
from guard.runbook import commands as cmd
from guard.runbook import events as ev
from guard.runbook.machine import decide
from guard.runbook.plan import MAX_STEPS, parse
from guard.runbook.run import MAX_RECENT
from guard.runbook.states import RunStatus, StepState
from guard.runbook.turn import STEP_LIMIT

TO_END = ("success", "act", "success", "success", "success", "success")


@pytest.fixture
def run(driver, every_kind):
    """A run before its start."""
    return driver(every_kind)


def types(events):
    return [event.type for event in events]


def test_a_run_goes_from_start_to_end(run):
    run.go(*TO_END)
    assert run.state.status is RunStatus.COMPLETED
    assert [step.state for step in run.state.steps.values()] == [StepState.SUCCEEDED] * 6
    assert run.state.version == len(run.log)
    assert run.log[-1].path == "done"


def test_the_start_leads_to_the_first_thing_that_waits(run):
    assert types(run.begin()) == ["run_started", "step_ready", "step_waiting"]
    assert run.state.inputs == {"__key__": "crm.email", "__count__": 3}
    assert run.state.mode is cmd.Mode.LIVE
    assert run.open_step() == "work"


@pytest.mark.parametrize(
    ("labels", "status", "end"),
    [
        (TO_END, "completed", "done"),
        (("success", "leave"), "completed", "left"),
        (("failure", "success", "leave"), "completed", "left"),
        (("timeout", "success", "leave"), "completed", "left"),
        (("success", "act", "failure"), "failed", "refused"),
        (("success", "act", "timeout"), "failed", "refused"),
        (("success", "act", "success", "failure"), "failed", "refused"),
        (("success", "act", "success", "timeout"), "failed", "refused"),
    ],
)
def test_every_edge_leads_where_the_plan_says(run, labels, status, end):
    run.go(*labels)
    assert (run.state.status.value, run.log[-1].path, run.log[-1].type) == (status, end, "run_ended")


def test_the_way_is_in_the_events(run):
    run.go("failure", "success", "leave")
    ways = [(event.source, event.label, event.path) for event in run.log if isinstance(event, ev.StepReady)]
    assert ways == [("", "", "work"), ("work", "failure", "by_hand"), ("by_hand", "success", "choose")]


@pytest.mark.parametrize("inputs", [{}, {"__key__": 5}, {"__key__": "x", "__other__": "y"}, {"__count__": 1}])
def test_a_run_starts_only_with_its_inputs(run, inputs):
    with pytest.raises(InvalidRequest, match="inputs"):
        run.send(cmd.Start, inputs=inputs)
    assert run.state.version == 0


def test_a_run_starts_once(run):
    run.begin()
    with pytest.raises(Conflict, match="started already"):
        run.begin()


def test_nothing_can_be_done_before_the_start(run):
    for command in (
        run.command(cmd.Answer, path="work", answer={}),
        run.command(cmd.Pause, reason="x"),
        run.command(cmd.Resume),
        run.command(cmd.Abort, reason="x"),
        run.command(cmd.TimerFired, path="work", kind="deadline"),
    ):
        with pytest.raises(Conflict):
            run.take(command)


def test_another_plan_is_refused(run, every_kind_text):
    run.begin()
    edited = parse(every_kind_text.replace("PT30M", "PT31M"), "edited.yaml")
    command = run.command(cmd.Answer, path="work", answer={"note": "x"})
    with pytest.raises(Conflict, match="another version of its plan"):
        decide(run.state, edited, command, run.now_us)


def test_a_stale_version_is_told_what_happened_since_and_by_whom(run):
    run.begin()
    first = run.command(cmd.Answer, path="work", answer={"note": "x"}, actor="user:bo", person="bo")
    second = run.command(cmd.GiveUp, path="work", reason="cannot", actor="user:ana")
    run.take(first)
    with pytest.raises(Conflict) as caught:
        run.take(second)
    assert caught.value.extra["current_version"] == run.state.version == 6
    since = caught.value.extra["events_since"]
    assert [(each["seq"], each["type"], each["actor"], each["path"]) for each in since] == [
        (4, "task_answered", "user:bo", "work"),
        (5, "step_ready", "user:bo", "choose"),
        (6, "step_waiting", "user:bo", "choose"),
    ]


def test_a_version_of_the_future_is_stale_too(run):
    run.begin()
    with pytest.raises(Conflict) as caught:
        run.send(cmd.Answer, path="work", answer={"note": "x"}, expected_version=99)
    assert caught.value.extra["events_since"] == []


def test_only_the_last_events_are_told(driver, plan_of):
    steps = "".join(
        f"  s{n}: {{kind: task, role: sme, text: {{en: a, zh: a}}, next: {{success: s{n + 1}}}}}\n" for n in range(12)
    )
    run = driver(plan_of("start: s0\nsteps:\n" + steps + "  s12: {kind: end, text: {en: a, zh: a}}\n"))
    run.go(*["success"] * 12)
    assert len(run.state.recent) == MAX_RECENT
    assert run.state.recent[-1].seq == run.state.version


class TestAddress:
    """An answer reaches the attempt that it was made for, or nobody."""

    def test_too_early(self, run):
        run.begin()
        with pytest.raises(Conflict, match="has not begun"):
            run.send(cmd.Decide, path="choose", option="act")

    def test_too_late_names_who_answered(self, run):
        run.begin()
        run.send(cmd.Answer, path="work", answer={"note": "x"}, actor="user:bo", person="bo")
        with pytest.raises(Conflict, match="user:bo") as caught:
            run.send(cmd.Answer, path="work", answer={"note": "y"})
        assert caught.value.extra["state"] == "succeeded"
        assert caught.value.extra["by"] == "user:bo"
        assert "note" not in str(caught.value.extra)

    @pytest.mark.parametrize("address", [{"attempt": 2}, {"attempt": 0}, {"iteration": 1}])
    def test_another_attempt_or_iteration(self, run, address):
        run.begin()
        with pytest.raises(Conflict, match="attempt"):
            run.send(cmd.Answer, path="work", answer={"note": "x"}, **address)

    def test_no_such_step(self, run):
        run.begin()
        with pytest.raises(Conflict, match="no such step"):
            run.send(cmd.Answer, path="nothing", answer={})

    def test_the_wrong_kind(self, run):
        run.begin()
        with pytest.raises(Conflict, match="is no decision"):
            run.send(cmd.Decide, path="work", option="act")
        run.follow("work", "success")
        with pytest.raises(Conflict, match="is no task"):
            run.send(cmd.Answer, path="choose", answer={})
        with pytest.raises(Conflict, match="is no task"):
            run.send(cmd.GiveUp, path="choose", reason="x")
        with pytest.raises(Conflict):
            run.send(cmd.Approve, path="choose", subject_hash="x")
        with pytest.raises(Conflict):
            run.send(cmd.Intend, path="choose")


@pytest.mark.parametrize("roles", [frozenset(), frozenset({"commander"}), frozenset({"SME"})])
def test_only_the_role_of_a_step_answers_it(run, roles):
    run.begin()
    with pytest.raises(Denied, match="'sme'") as caught:
        run.send(cmd.Answer, path="work", answer={"note": "x"}, roles=roles)
    assert caught.value.extra["roles"] == ["sme"]
    with pytest.raises(Denied):
        run.send(cmd.GiveUp, path="work", reason="x", roles=roles)


def test_only_the_role_of_a_decision_decides(run):
    run.go("success")
    with pytest.raises(Denied, match="'commander'"):
        run.send(cmd.Decide, path="choose", option="act", roles=frozenset({"sme", "deputy"}))


@pytest.mark.parametrize("option", ["other", "timeout", "success", ""])
def test_only_an_option_can_be_chosen(run, option):
    run.go("success")
    with pytest.raises(Conflict, match="no such option"):
        run.send(cmd.Decide, path="choose", option=option)


@pytest.mark.parametrize("answer", [{}, {"note": 5}, {"note": "x" * 21}, {"note": "x", "more": 1}])
def test_an_answer_fits_the_form_or_leaves_no_event(run, answer):
    run.begin()
    before = run.state
    with pytest.raises(InvalidRequest):
        run.send(cmd.Answer, path="work", answer=answer)
    assert run.state is before


class TestSkip:
    """Leaving out is an act with a reason; what has to be decided cannot be left out."""

    def test_a_task(self, run):
        run.begin()
        assert types(run.send(cmd.Skip, path="work", reason="done yesterday"))[0] == "step_skipped"
        assert run.open_step() == "choose"

    @pytest.mark.parametrize("labels", [("success",), ("success", "act")], ids=["decision", "approval"])
    def test_no_decision_and_no_approval(self, run, labels):
        run.go(*labels)
        with pytest.raises(Conflict, match="somebody has to decide"):
            run.send(cmd.Skip, path=run.open_step(), reason="in a hurry")

    def test_an_effect_leaves_its_intent_in_the_record(self, run):
        run.go("success", "act", "success")
        events = run.send(cmd.Skip, path="shoot", reason="wrong target")
        assert types(events)[:2] == ["effect_intended", "step_skipped"]
        assert run.open_step() == "rotate"

    def test_an_intended_effect(self, run):
        run.go("success", "act", "success")
        run.send(cmd.Intend, path="shoot")
        assert types(run.send(cmd.Skip, path="shoot", reason="wrong target"))[0] == "step_skipped"

    def test_no_dispatched_effect(self, run):
        run.go("success", "act", "success")
        run.dispatch("shoot")
        with pytest.raises(Conflict, match="dispatched"):
            run.send(cmd.Skip, path="shoot", reason="wrong target")

    def test_a_wait(self, run):
        run.go(*TO_END[:-1])
        run.send(cmd.Skip, path="cool_down", reason="quiet already")
        assert run.state.status is RunStatus.COMPLETED


class TestPause:
    """Nothing begins while a run is paused."""

    def test_people_wait(self, run):
        run.begin()
        run.send(cmd.Pause, reason="evacuation")
        assert run.state.status is RunStatus.PAUSED
        for command in (
            run.command(cmd.Answer, path="work", answer={"note": "x"}),
            run.command(cmd.GiveUp, path="work", reason="x"),
            run.command(cmd.Skip, path="work", reason="x"),
            run.command(cmd.Pause, reason="x"),
            run.command(cmd.TimerFired, path="work", kind="deadline"),
        ):
            with pytest.raises(Conflict, match="paused"):
                run.take(command)
        run.send(cmd.Resume)
        run.follow("work", "success")
        assert run.open_step() == "choose"

    def test_only_a_paused_run_resumes(self, run):
        run.begin()
        with pytest.raises(Conflict, match="cannot be resumed"):
            run.send(cmd.Resume)

    def test_a_result_is_kept_and_the_next_step_waits_for_the_resumption(self, run):
        run.go("success", "act", "success", "success")
        run.dispatch("rotate")
        run.send(cmd.Pause, reason="x")
        assert types(run.complete("rotate")) == ["effect_succeeded", "step_ready"]
        assert run.state.steps["cool_down"].state is StepState.READY
        assert types(run.send(cmd.Resume)) == ["run_resumed", "step_waiting"]

    def test_no_effect_begins(self, run):
        run.go("success", "act", "success")
        run.send(cmd.Pause, reason="x")
        with pytest.raises(Conflict, match="paused"):
            run.send(cmd.Intend, path="shoot")

    def test_a_failure_without_a_way_on_pauses_and_resuming_tries_again(self, run):
        run.go("success", "act", "success", "success", "failure")
        assert run.state.status is RunStatus.PAUSED
        assert run.log[-1].reason == "no_way_on"
        assert run.log[-1].path == "rotate"
        assert types(run.send(cmd.Resume)) == ["run_resumed", "step_ready"]
        assert run.state.steps["rotate"].attempt == 2
        run.go("success", "success")
        assert run.state.status is RunStatus.COMPLETED

    def test_a_failure_while_paused_is_kept_and_tried_again_afterwards(self, run):
        run.go("success", "act", "success", "success")
        run.dispatch("rotate")
        run.send(cmd.Pause, reason="x")
        assert types(run.take(run.fenced(cmd.Fail, "rotate", reason="refused"))) == ["step_failed"]
        assert types(run.send(cmd.Resume)) == ["run_resumed", "step_ready"]
        assert run.state.steps["rotate"].attempt == 2

    def test_nobody_decides_signs_or_dispatches(self, run):
        run.go("success")
        run.send(cmd.Pause, reason="x")
        with pytest.raises(Conflict, match="paused"):
            run.send(cmd.Decide, path="choose", option="act")
        run.send(cmd.Resume)
        run.follow("choose", "act")
        subject = run.state.steps["sign"].subject_hash
        run.send(cmd.Pause, reason="x")
        for vote, more in ((cmd.Approve, {}), (cmd.Refuse, {"reason": "x"})):
            with pytest.raises(Conflict, match="paused"):
                run.send(vote, path="sign", person="eve", subject_hash=subject, **more)
        run.send(cmd.Resume)
        run.follow("sign", "success")
        run.send(cmd.Intend, path="shoot")
        run.send(cmd.Pause, reason="x")
        with pytest.raises(Conflict, match="paused"):
            run.take(run.fenced(cmd.Dispatch, "shoot", fence=1))
        run.send(cmd.Abort, reason="x")
        with pytest.raises(Conflict, match="aborted"):
            run.take(run.fenced(cmd.Dispatch, "shoot", fence=1))

    def test_a_failure_with_a_way_on_is_not_tried_again(self, run):
        run.go("failure")
        run.send(cmd.Pause, reason="x")
        assert types(run.send(cmd.Resume)) == ["run_resumed"]
        assert run.state.steps["work"].attempt == 1
        assert run.open_step() == "by_hand"

    def test_a_task_without_a_way_on_is_asked_again(self, run):
        run.go("failure", "failure")
        assert run.state.status is RunStatus.PAUSED
        run.send(cmd.Resume)
        assert run.state.steps["by_hand"].state is StepState.WAITING_HUMAN
        with pytest.raises(Conflict, match="attempt 2"):
            run.send(cmd.Answer, path="by_hand", answer={}, attempt=1)
        run.send(cmd.Answer, path="by_hand", answer={})


class TestAbort:
    """An aborted run takes no step; effects under way are still accounted for."""

    def test_nothing_goes_on(self, run):
        run.begin()
        assert types(run.send(cmd.Abort, reason="false alarm")) == ["run_ended"]
        assert run.state.status is RunStatus.ABORTED
        for command in (
            run.command(cmd.Answer, path="work", answer={"note": "x"}),
            run.command(cmd.Abort, reason="x"),
            run.command(cmd.Pause, reason="x"),
            run.command(cmd.Resume),
        ):
            with pytest.raises(Conflict):
                run.take(command)

    def test_a_paused_run_can_be_aborted(self, run):
        run.begin()
        run.send(cmd.Pause, reason="x")
        run.send(cmd.Abort, reason="x")
        assert run.state.status is RunStatus.ABORTED

    def test_a_result_under_way_is_kept(self, run):
        run.go("success", "act", "success")
        run.dispatch("shoot")
        run.send(cmd.Abort, reason="x")
        assert types(run.complete("shoot")) == ["effect_succeeded"]
        assert run.state.status is RunStatus.ABORTED


def test_a_run_takes_a_limited_number_of_steps(driver, plan_of):
    """A step that fails for ever would otherwise be retried for ever."""
    plan = plan_of(
        "start: a\nsteps:\n"
        "  a: {kind: task, role: sme, text: {en: a, zh: a}, next: {success: b}}\n"
        "  b: {kind: task, role: sme, text: {en: a, zh: a}, next: {success: z}}\n"
        "  z: {kind: end, text: {en: a, zh: a}}\n"
    )
    run = driver(plan)
    run.begin()
    assert run.state.steps_used == 1
    run.state = replace(run.state, steps_used=MAX_STEPS - 1)
    run.send(cmd.GiveUp, path="a", reason="x")
    run.send(cmd.Resume)
    assert run.state.steps["a"].attempt == 2
    run.send(cmd.Answer, path="a", answer={})
    assert run.state.status is RunStatus.FAILED
    assert run.state.reason == STEP_LIMIT
    assert "b" not in run.state.steps


def test_a_circle_that_no_lint_stopped_ends_in_a_conflict(driver, plan_of):
    plan = plan_of(
        "start: a\nsteps:\n"
        "  a: {kind: task, role: sme, text: {en: a, zh: a}, next: {success: b}}\n"
        "  b: {kind: task, role: sme, text: {en: a, zh: a}, next: {success: a, failure: gone}}\n"
    )
    run = driver(plan).go("success")
    with pytest.raises(Conflict):
        run.follow("b", "success")
    with pytest.raises(Conflict, match="no such step"):
        run.follow("b", "failure")
    assert run.open_step() == "b"


def test_a_plan_of_thousands_of_steps_is_walked(driver, plan_of):
    count = 1500
    steps = "".join(
        f"  s{n}: {{kind: task, role: sme, text: {{en: a, zh: a}}, next: {{success: s{n + 1}}}}}\n"
        for n in range(count)
    )
    run = driver(plan_of("start: s0\nsteps:\n" + steps + f"  s{count}: {{kind: end, text: {{en: a, zh: a}}}}\n"))
    run.begin()
    for number in range(count):
        run.send(cmd.Answer, path=f"s{number}", answer={})
    assert run.state.status is RunStatus.COMPLETED
