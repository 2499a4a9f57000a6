"""The plans that ship: sound, in two languages, walked to every end, and every step failed once and run twice."""

import re
from dataclasses import replace

import pytest

from guard.errors import Conflict
from guard.runbook import commands as cmd
from guard.runbook.commands import body_sha256, repeated
from guard.runbook.lint import lint
from guard.runbook.machine import fold
from guard.runbook.plan import ApprovalStep, DecisionStep, EndStep, GuardStep, TaskStep, WaitStep, rendered
from guard.runbook.states import RunStatus, StepState

FILES = [
    "credential-stuffing.yaml",
    "legal-dispute-hold.yaml",
    "natural-disaster-site-loss.yaml",
    "personal-data-breach.yaml",
    "region-outage.yaml",
]
HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(params=FILES)
def plan(request, library):
    return library[request.param]


def test_these_plans_ship(library):
    assert list(library) == FILES
    assert all(name == f"{plan.id}.yaml" for name, plan in library.items())


def test_a_plan_has_no_error_and_no_warning(plan, operations):
    assert [str(finding) for finding in lint(plan, operations)] == []


def texts(plan):
    yield plan.title
    for each in plan.inputs.values():
        yield each.text
    for step in plan.steps.values():
        yield step.text
        if isinstance(step, DecisionStep):
            yield from step.options.values()
        if isinstance(step, TaskStep) and step.form:
            yield from (rules["title"] for rules in step.form["properties"].values())


def test_every_text_is_there_in_both_languages(plan):
    """Equal texts would mean that one was forgotten; the references in both must be the same."""
    for text in texts(plan):
        assert set(text) == {"en", "zh"}
        assert HAN.search(text["zh"])
        assert not HAN.search(text["en"])
        names = [set(re.findall(r"__[a-z_]+__:value", words)) for words in text.values()]
        assert names[0] == names[1]


def test_every_step_is_a_sentence(plan):
    for step in plan.steps.values():
        assert step.text["en"].rstrip()[-1] in ".?"
        assert step.text["zh"].rstrip()[-1] in "。?"
        assert rendered(step.text, "en", dict.fromkeys(plan.inputs, "X")).count("__") == 0


def test_every_human_step_has_a_deadline_with_a_ladder(plan):
    for step in plan.steps.values():
        if isinstance(step, TaskStep | DecisionStep | ApprovalStep):
            assert step.deadline
            assert step.deadline.ladder


def test_every_plan_asks_for_a_second_person(plan):
    approvals = [step for step in plan.steps.values() if isinstance(step, ApprovalStep)]
    assert approvals
    assert all("failure" in step.next for step in approvals)


def ends(plan, ways):
    return {path: labels for path, labels in ways(plan) if isinstance(plan.steps[path], EndStep)}


def test_a_plan_is_walked_to_each_of_its_ends(plan, driver, ways):
    reached = ends(plan, ways)
    assert set(reached) == {path for path, step in plan.steps.items() if isinstance(step, EndStep)}
    for end, labels in reached.items():
        run = driver(plan).go(*labels)
        outcome = RunStatus.COMPLETED if plan.steps[end].outcome.value == "success" else RunStatus.FAILED
        assert (run.state.status, run.log[-1].path) == (outcome, end)
        assert fold(driver(plan).state, run.log) == run.state


def test_every_edge_of_a_plan_is_taken(plan, driver, ways):
    for path, labels in ways(plan):
        for label, target in plan.steps[path].next.items():
            run = driver(plan).go(*labels, label)
            assert (run.log[-1].path if run.state.status is not RunStatus.RUNNING else run.open_step()) == target


def automatic_and_human(plan, ways):
    return [(path, labels) for path, labels in ways(plan) if not isinstance(plan.steps[path], EndStep)]


def test_every_step_fails_once_and_the_run_goes_on(plan, driver, ways):
    """After the failure the run is at the failure edge, or pauses and tries the same step again."""
    for path, labels in automatic_and_human(plan, ways):
        step = plan.steps[path]
        if isinstance(step, DecisionStep | WaitStep):
            continue  # a person who does not decide is late, not failed; a wait cannot fail
        run = driver(plan).go(*labels, "failure")
        settled = run.state.steps[path].state
        assert settled is StepState.FAILED
        if "failure" in step.next:
            assert run.state.status in {RunStatus.RUNNING, RunStatus.COMPLETED, RunStatus.FAILED}
            continue
        assert run.state.status is RunStatus.PAUSED
        run.send(cmd.Resume)
        assert run.state.steps[path].attempt == 2
        run.go("success")
        assert run.state.steps[path].state is StepState.SUCCEEDED


def test_every_step_is_late_once_and_the_run_goes_on(plan, driver, ways):
    for path, labels in automatic_and_human(plan, ways):
        step = plan.steps[path]
        if isinstance(step, GuardStep | WaitStep):
            continue
        run = driver(plan).go(*labels)
        calls = len(step.deadline.ladder)
        for _ in range(calls + 1):
            run.fire()
        if isinstance(step, ApprovalStep):
            assert run.state.steps[path].state is StepState.TIMED_OUT
            assert path in {event.path for event in run.log if event.type == "step_timed_out"}
        else:
            assert run.state.steps[path].overdue
            run.go(next(iter(step.next)))
            assert run.state.steps[path].state is StepState.SUCCEEDED


def first_command(run, path, step):
    match step:
        case TaskStep():
            from_form = (
                {} if step.form is None else {name: sample(rules) for name, rules in step.form["properties"].items()}
            )
            return run.command(cmd.Answer, path=path, answer=from_form, roles=frozenset({step.role}))
        case DecisionStep():
            option = next(iter(step.options))
            return run.command(cmd.Decide, path=path, option=option, roles=frozenset({step.role}))
        case ApprovalStep():
            subject = run.state.steps[path].subject_hash
            return run.command(cmd.Approve, path=path, person="vic", roles=frozenset(step.roles), subject_hash=subject)
        case WaitStep():
            run.now_us += step.for_us
            return run.command(cmd.TimerFired, path=path, kind="wait")
        case _:
            run.dispatch(path)
            return run.fenced(cmd.Complete, path, result={})


def sample(rules):
    if "enum" in rules:
        return rules["enum"][0]
    if "format" in rules:
        return "2026-11-22T03:00:00+08:00"
    return {"string": "x", "integer": 1, "boolean": False, "number": 1}[rules["type"]]


def test_every_step_run_twice_has_one_effect(plan, driver, ways):
    """The same command again gives the same events; a second command to the settled step is refused."""
    for path, labels in automatic_and_human(plan, ways):
        run = driver(plan).go(*labels)
        command = first_command(run, path, plan.steps[path])
        events = run.take(command)
        before = run.state
        with pytest.raises(Conflict):
            run.take(command)
        assert repeated(command, body_sha256(command), run.log) == events
        again = replace(command, command_id="another", expected_version=run.state.version)
        with pytest.raises(Conflict):
            run.take(again)
        assert run.state == before


def test_the_first_step_against_credential_stuffing_is_automatic(library):
    step = library["credential-stuffing.yaml"].steps["rotate_key"]
    assert (step.operation, step.arguments) == ("keys.rotate", {"key": "__key__:value"})
    assert library["credential-stuffing.yaml"].start == "rotate_key"


def test_who_wants_containment_does_not_approve_it(library, driver):
    from guard.errors import Denied

    run = driver(library["credential-stuffing.yaml"]).go("success")
    both = frozenset({"commander", "deputy"})
    run.send(cmd.Decide, path="judge", option="contain", person="dora", roles=both)
    subject = run.state.steps["approve_containment"].subject_hash
    with pytest.raises(Denied):
        run.send(cmd.Approve, path="approve_containment", person="dora", roles=both, subject_hash=subject)
    run.send(cmd.Approve, path="approve_containment", person="eve", roles=both, subject_hash=subject)
    assert run.open_step() == "mark_contained"
