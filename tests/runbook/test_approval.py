"""The second person: who may agree, how often he counts, and that silence refuses."""

import pytest

from guard.errors import Conflict, Denied
from guard.runbook import commands as cmd
from guard.runbook.approval import subject_hash
from guard.runbook.states import RunStatus, StepState

DEPUTY, LEGAL, COMMANDER = (frozenset({role}) for role in ("deputy", "legal", "commander"))


@pytest.fixture
def run(driver, every_kind):
    """A run that waits for two of deputy, commander and legal; dora decided."""
    return driver(every_kind).go("success", "act")


def subject(run):
    return run.state.steps["sign"].subject_hash


def approve(run, person, roles=DEPUTY, **members):
    return run.send(cmd.Approve, path="sign", person=person, roles=roles, **{"subject_hash": subject(run)} | members)


def refuse(run, person, roles=DEPUTY, **members):
    members = {"subject_hash": subject(run), "reason": "not now"} | members
    return run.send(cmd.Refuse, path="sign", person=person, roles=roles, **members)


def test_the_quorum_is_needed(run):
    approve(run, "eve")
    assert run.state.steps["sign"].state is StepState.WAITING_APPROVAL
    approve(run, "leo", LEGAL)
    assert run.state.steps["sign"].state is StepState.SUCCEEDED
    assert run.open_step() == "shoot"


def test_who_decided_cannot_approve(run):
    with pytest.raises(Denied, match="second person"):
        approve(run, "dora")
    approve(run, "eve")
    with pytest.raises(Denied, match="second person"):
        approve(run, "dora", COMMANDER | LEGAL)


def test_another_token_of_the_same_person_changes_nothing(run):
    with pytest.raises(Denied):
        approve(run, "dora", actor="token:dora-2")


def test_a_person_counts_once_whatever_roles_and_tokens(run):
    approve(run, "eve")
    with pytest.raises(Conflict, match="counts once"):
        approve(run, "eve", LEGAL, actor="token:other")
    assert run.state.steps["sign"].approvals == ("eve",)
    assert run.state.steps["sign"].state is StepState.WAITING_APPROVAL


@pytest.mark.parametrize("roles", [frozenset(), frozenset({"sme"}), frozenset({"Deputy"})])
def test_only_the_roles_named_count(run, roles):
    with pytest.raises(Denied, match="other roles"):
        approve(run, "eve", roles)
    with pytest.raises(Denied, match="other roles"):
        refuse(run, "eve", roles)


def test_one_refusal_decides(run):
    approve(run, "eve")
    events = refuse(run, "leo", LEGAL)
    assert [event.type for event in events] == ["approval_refused", "run_ended"]
    assert run.state.status is RunStatus.FAILED
    assert events[0].reason == "not now"


def test_who_asks_may_take_it_back(run):
    refuse(run, "dora", COMMANDER)
    assert run.state.steps["sign"].state is StepState.FAILED


def test_who_agreed_may_think_better_of_it(run):
    approve(run, "eve")
    refuse(run, "eve")
    assert run.state.steps["sign"].state is StepState.FAILED


@pytest.mark.parametrize("wrong", ["", "0" * 64])
def test_only_what_was_shown_is_approved(run, wrong):
    for vote in (approve, refuse):
        with pytest.raises(Conflict, match="look at it again") as caught:
            vote(run, "eve", subject_hash=wrong)
        assert caught.value.extra["subject_hash"] == subject(run)


def test_the_subject_is_bound_to_plan_place_and_inputs(run, driver, every_kind):
    state = run.state
    here = subject_hash(state, "sign", 0)
    assert here == subject(run)
    assert subject_hash(state, "sign", 1) != here
    assert subject_hash(state, "other", 0) != here
    other = driver(every_kind)
    other.begin(__key__="crm.phone")
    other.go("success", "act")
    assert subject(other) != here
    with pytest.raises(Conflict, match="look at it again"):
        approve(other, "eve", subject_hash=here)


def test_silence_refuses(run):
    approve(run, "eve")
    while run.state.status is RunStatus.RUNNING:
        run.fire()
    assert run.state.steps["sign"].state is StepState.TIMED_OUT
    assert run.log[-1].path == "refused"
    with pytest.raises(Conflict):
        approve(run, "leo", LEGAL)


def test_silence_refuses_without_an_edge_of_its_own(driver, plan_of):
    run = driver(plan_of(SIGN.format(deadline="deadline: {after: PT1M}"))).go("timeout")
    assert run.log[-1].path == "no"


def test_without_a_deadline_an_approval_waits(driver, plan_of):
    run = driver(plan_of(SIGN.format(deadline="quorum: 1")))
    run.begin()
    assert run.state.steps["sign"].timers == ()


def test_approval_and_timeout_have_one_outcome(run):
    """Both are decided from the same version: whichever commits first makes the other stale."""
    approve(run, "eve")
    run.now_us += 10**10
    late = run.command(cmd.Approve, path="sign", person="leo", roles=LEGAL, subject_hash=subject(run))
    timer = run.command(cmd.TimerFired, path="sign", kind="deadline")
    run.take(timer)
    with pytest.raises(Conflict, match="at version"):
        run.take(late)


SIGN = """start: sign
steps:
  sign:
    kind: approval
    text: {{en: a, zh: a}}
    roles: [deputy]
    {deadline}
    next: {{success: yes, failure: no}}
  yes: {{kind: end, text: {{en: a, zh: a}}}}
  no: {{kind: end, text: {{en: a, zh: a}}, outcome: failure}}
"""


def test_without_a_decision_who_started_cannot_approve(driver, plan_of):
    run = driver(plan_of(SIGN.format(deadline="quorum: 1")))
    run.begin(person="sam")
    with pytest.raises(Denied):
        approve(run, "sam")
    approve(run, "eve")
    assert run.state.status is RunStatus.COMPLETED


def test_a_service_that_started_excludes_nobody(driver, plan_of):
    run = driver(plan_of(SIGN.format(deadline="quorum: 1")))
    run.begin(person="")
    approve(run, "sam")


def test_without_a_decision_who_worked_cannot_approve(driver, plan_of):
    work = "start: work\nsteps:\n  work: {kind: task, role: sme, text: {en: a, zh: a}, next: {success: sign}}\n"
    run = driver(plan_of(work + SIGN.format(deadline="quorum: 1").split("steps:\n")[1]))
    run.begin(person="sam")
    run.send(cmd.Answer, path="work", answer={}, person="wes")
    assert run.state.requester == "wes"
    with pytest.raises(Denied):
        approve(run, "wes")
    approve(run, "sam")


def test_the_last_decision_counts_even_after_more_work(run):
    assert run.state.requester == "dora"
    assert run.state.worked_by == "ana"
    approve(run, "ana")
