"""Plans that nobody wrote: random graphs of every kind of step, sound as made, and each broken in one way."""

import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from guard.runbook import commands as cmd
from guard.runbook.finding import Code
from guard.runbook.lint import lint
from guard.runbook.machine import fold
from guard.runbook.plan import ApprovalStep, DecisionStep, GuardStep, TaskStep, WaitStep, parse
from guard.runbook.states import ENDED, RunStatus, StepState

HEAD = """guard_plan: "1"
id: generated
title: {en: Generated, zh: 生成}
group: security
review_due: "2027-03-31"
roles: {commander: {}, deputy: {}, sme: {}}
inputs: {__key__: {type: string, external: true}}
start: s0
steps:
"""
TEXT = 'text: {en: "Do __key__:value.", zh: "处理 __key__:value。"}'
LADDER = 'deadline: {after: PT10M, ladder: ["role:deputy", "role:commander"]}'
FORM = (
    "form: {type: object, required: [n], properties: {n: {type: integer}, at: {type: string, format: date-time},"
    " c: {type: string, enum: [a, b]}}}"
)


def step(name, kind, targets, flags):
    """One step as YAML; *targets* are taken in order for its edges."""
    first, second, third = (targets * 3)[:3]
    late, failing = flags
    timeout = f", timeout: {third}" if late else ""
    failure = f", failure: {second}" if failing else ""
    lines = {
        "task": f"role: sme, {FORM if failing else TEXT}, {LADDER}, next: {{success: {first}{failure}{timeout}}}",
        "decision": f"role: commander, options: {{a: {{en: A, zh: 甲}}, b: {{en: B, zh: 乙}}}}, {LADDER},"
        f" next: {{a: {first}, b: {second}{timeout}}}",
        "approval": f"roles: [deputy, sme], quorum: {1 + late}, {LADDER},"
        f" next: {{success: {first}, failure: {second}{timeout}}}",
        "guard": f'operation: keys.rotate, with: {{key: "__key__:value"}}, idempotent: true,'
        f" next: {{success: {first}{failure}{timeout}}}",
        "wait": f"for: PT5M, next: {{success: {first}}}",
        "end": f"outcome: {'failure' if failing else 'success'}",
    }
    text = "" if kind == "task" and not failing else f", {TEXT}"
    return f"  {name}: {{kind: {kind}{text}, {lines[kind]}}}\n"


@st.composite
def plans(draw):
    """The text of a sound plan: every edge leads forward, and what no edge reached is left out."""
    count = draw(st.integers(2, 12))
    kinds = [draw(st.sampled_from(["task", "decision", "approval", "guard", "wait"])) for _ in range(count - 1)]
    kinds.append("end")
    edges = {}
    for index in range(count - 1):
        edges[index] = [draw(st.integers(index + 1, count - 1)) for _ in range(3)]
        edges[index][0] = index + 1  # so that a way leads through all of them
    flags = [(draw(st.booleans()), draw(st.booleans())) for _ in range(count)]
    lines = [
        step(f"s{index}", kind, [f"s{target}" for target in edges.get(index, [0])], flags[index])
        for index, kind in enumerate(kinds)
    ]
    return HEAD + "".join(lines)


def codes(text, operations):
    return {finding.code for finding in lint(parse(text, "generated.yaml"), operations)}


@given(plans(), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_generated_plan_is_sound_and_runs_to_its_end(driver, operations, text, data):
    assert codes(text, operations) == set()
    run = driver(parse(text, "generated.yaml"))
    run.begin()
    for _ in range(40):
        if run.state.status is RunStatus.PAUSED:
            run.send(cmd.Resume)
        if run.state.status in ENDED:
            break
        path = run.open_step()
        step_now = run.plan.steps[path]
        labels = sorted(labels_of(step_now))
        run.follow(path, data.draw(st.sampled_from(labels), label=path) if run.state.version < 60 else first(step_now))
    assert run.state.status in {RunStatus.COMPLETED, RunStatus.FAILED}
    assert fold(driver(run.plan).state, run.log) == run.state
    settled = {StepState.SUCCEEDED, StepState.FAILED, StepState.TIMED_OUT}
    assert {each.state for each in run.state.steps.values()} <= settled


def labels_of(step_now):
    """Every way in which the step can be settled, also those for which the plan has no edge."""
    match step_now:
        case TaskStep():
            return {"success", "failure"} | ({"timeout"} & set(step_now.next))
        case DecisionStep():
            return set(step_now.next)
        case ApprovalStep():
            return {"success", "failure", "timeout"}
        case GuardStep():
            return {"success", "failure", "timeout"}
        case WaitStep():
            return {"success"}


def first(step_now):
    return next(iter(step_now.next))


BREAKS = [
    ("start: s0", "start: s99", Code.DANGLING_REF),
    ("success: s1", "success: s99", Code.DANGLING_REF),
    ("a: s1", "a: s99", Code.DANGLING_REF),
    ("success: s1", "success: s0", Code.CYCLE),
    ("a: s1", "a: s0", Code.CYCLE),
    ("role: sme", "role: nobody", Code.ROLE_UNDEFINED),
    ("roles: [deputy, sme]", "roles: [deputy, nobody]", Code.ROLE_UNDEFINED),
    ("role:commander", "role:nobody", Code.ROLE_UNDEFINED),
    ("roles: [deputy, sme]", "roles: []", Code.APPROVAL_IMPOSSIBLE),
    (', ladder: ["role:deputy", "role:commander"]', "", Code.DEADLINE_NO_LADDER),
    ('zh: "处理 __key__:value。"', 'zh: ""', Code.TEXT_MISSING),
    ("title: {en: Generated, zh: 生成}", "title: {zh: 生成}", Code.TEXT_MISSING),
    ("operation: keys.rotate", "operation: keys.spin", Code.OPERATION_UNKNOWN),
    ("idempotent: true", "idempotent: false", Code.EFFECT_UNPROVEN),
    ("type: integer", "type: decimal", Code.FORM_INVALID),
    ("enum: [a, b]", "enum: [a, 1]", Code.FORM_INVALID),
    ("__key__:value", "__kez__:value", Code.VAR_UNDECLARED),
    ('{key: "__key__:value"}', "{secret: abc}", Code.SECRET_LITERAL),
    ("  s0: {kind", "  lost: {kind: end, text: {en: a, zh: a}}\n  s0: {kind", Code.UNREACHABLE),
    ("kind: end", "kind: wait, for: PT1S, next: {success: s0}", Code.NO_END),
]


@pytest.mark.parametrize(("old", "new", "code"), BREAKS)
@given(text=plans())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_plan_broken_in_one_way_is_found_out(operations, old, new, code, text):
    text = text.replace(", outcome: failure", "").replace(", outcome: success", "")
    broken = re.sub(re.escape(old) + "(?![0-9])", lambda _: new, text, count=1)
    assume(broken != text)
    assert code not in codes(text, operations)
    assert code in codes(broken, operations)


@given(plans(), plans())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_two_plans_have_one_hash_exactly_when_they_are_the_same(text, other):
    one, two = parse(text, "a.yaml"), parse(other, "b.yaml")
    assert (one.sha256 == two.sha256) == (one == two)
    assert parse("# reviewed\n" + text, "c.yaml").sha256 == one.sha256
