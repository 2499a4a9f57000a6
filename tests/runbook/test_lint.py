"""Whether a plan can be carried out: each finding once, at its line, and in linear time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.runbook.finding import Code
from guard.runbook.graph import walk
from guard.runbook.lint import lint
from guard.runbook.plan import MAX_STEPS, parse

HEAD_LINES = 10


def found(plan, operations):
    return [(each.code, each.severity, each.path) for each in lint(plan, operations)]


def only(plan, operations, code):
    return [each for each in lint(plan, operations) if each.code == code]


def test_a_plan_of_every_kind_only_warns_of_the_unproven_effect(every_kind, operations):
    assert found(every_kind, operations) == [("EFFECT_UNPROVEN", "warning", "steps.shoot")]


# Each case replaces one part of the plan of every kind; the finding's path says where it has to be seen.
CASES = [
    ("start: work", "start: wrk", "DANGLING_REF", "error", "start"),
    ("success: rotate,", "success: rotat,", "DANGLING_REF", "error", "steps.shoot.next.success"),
    ("timeout: by_hand}", "timeout: by_hands}", "DANGLING_REF", "error", "steps.work.next.timeout"),
    ("  done: {kind: end", "  more: {kind: end, text: {en: a, zh: a}}\n  done: {kind: end", "UNREACHABLE", "error", "steps.more"),
    ("next: {success: cool_down}", "next: {success: choose}", "CYCLE", "error", "steps.rotate.next.success"),
    ("next: {success: cool_down}", "next: {success: rotate}", "CYCLE", "error", "steps.rotate.next.success"),
    ("    role: sme\n", "    role: smee\n", "ROLE_UNDEFINED", "error", "steps.work.role"),
    ('"role:legal"', '"role:lawyer"', "ROLE_UNDEFINED", "error", "steps.sign.deadline.ladder.0"),
    ("roles: [deputy, commander, legal]", "roles: [deputy, cmdr]", "ROLE_UNDEFINED", "error", "steps.sign.roles.1"),
    ("roles: [deputy, commander, legal]", "roles: [commander]", "APPROVAL_IMPOSSIBLE", "error", "steps.sign"),
    ("roles: [deputy, commander, legal]", "roles: []", "APPROVAL_IMPOSSIBLE", "error", "steps.sign"),
    (
        "roles: [deputy, commander, legal]\n    quorum: 2",
        "roles: [commander, legal]\n    quorum: 3",
        "APPROVAL_IMPOSSIBLE",
        "error",
        "steps.sign",
    ),
    ('deadline: {after: PT10M, ladder: ["role:deputy"]}', "deadline: {after: PT10M}", "DEADLINE_NO_LADDER", "warning", "steps.choose.deadline"),
    ("title: {en: Sample, zh: 样例}", "title: {en: Sample}", "TEXT_MISSING", "error", "title"),
    ("title: {en: Sample, zh: 样例}", "title: {en: ' ', zh: 样例}", "TEXT_MISSING", "error", "title"),
    ("text: {en: Act?, zh: 是否行动?}", "text: {zh: 是否行动?}", "TEXT_MISSING", "error", "steps.choose.text"),
    ("act: {en: Act, zh: 行动}", "act: {en: Act}", "TEXT_MISSING", "error", "steps.choose.options.act"),
    ("maxLength: 20}", "maxLength: 20, title: {en: Note}}", "TEXT_MISSING", "error", "steps.work.form.properties.note.title"),
    ("external: true}", "external: true, text: {en: Key}}", "TEXT_MISSING", "error", "inputs.__key__.text"),
    ("    idempotent: true\n", "", "EFFECT_UNPROVEN", "warning", "steps.rotate"),
    ("operation: keys.rotate", "operation: keys.rotat", "OPERATION_UNKNOWN", "error", "steps.rotate.operation"),
    ("type: object, required", "type: array, required", "FORM_INVALID", "error", "steps.work.form.type"),
    ("maxLength: 20", "pattern: '(a+)+'", "FORM_INVALID", "error", "steps.work.form.properties.note.pattern"),
    ("required: [note]", "required: [notes]", "FORM_INVALID", "error", "steps.work.form.required"),
    ('{key: "__key__:value"}', '{key: "__kay__:value"}', "VAR_UNDECLARED", "error", "steps.rotate.with.key"),
    ("Look at __key__:value.", "Look at __host__:value.", "VAR_UNDECLARED", "error", "steps.work.text.en"),
    ('{key: "__key__:value"}', "{password: opensesame}", "SECRET_LITERAL", "error", "steps.rotate.with.password"),
    ('{key: "__key__:value"}', "{api_key: [opensesame]}", "SECRET_LITERAL", "error", "steps.rotate.with.api_key.0"),
    ("en: Send it.", "en: 'Log in with password=Tr0ub4dor3'", "SECRET_LITERAL", "error", "steps.shoot.text.en"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "code", "severity", "path"), CASES)
def test_each_fault_is_found_where_it_stands(every_kind_text, operations, old, new, code, severity, path):
    assert old in every_kind_text
    plan = parse(every_kind_text.replace(old, new, 1), "plan.yaml")
    found_now = found(plan, operations)
    assert (code, severity, path) in found_now
    (finding,) = [each for each in lint(plan, operations) if (each.code, each.path) == (code, path)][:1]
    lines = every_kind_text.replace(old, new, 1).splitlines()
    last_key = [part for part in path.split(".") if not part.isdigit()][-1]
    assert last_key in lines[finding.line - 1]
    assert str(finding).startswith(f"plan.yaml:{finding.line}: {severity} {code} ")


def test_suggestions_name_the_nearest(every_kind_text, operations):
    text = every_kind_text.replace("success: rotate,", "success: rotat,").replace("keys.rotate", "key.rotate")
    messages = " ".join(each.message for each in lint(parse(text, "p"), operations))
    assert "Did you mean 'rotate'?" in messages
    assert "Did you mean 'keys.rotate'?" in messages


def test_a_plan_without_an_end(plan_of, operations):
    plan = plan_of(
        "start: a\nsteps:\n"
        "  a: {kind: wait, for: PT1S, text: {en: a, zh: a}, next: {success: b}}\n"
        "  b: {kind: wait, for: PT1S, text: {en: a, zh: a}, next: {success: a}}\n"
    )
    assert {each.code for each in lint(plan, operations)} == {Code.CYCLE, Code.NO_END}


def test_a_circle_is_reported_alone(every_kind_text, operations):
    """Who asks for an approval is not defined where the way there has no order."""
    text = every_kind_text.replace("success: cool_down", "success: choose")
    text = text.replace("roles: [deputy, commander, legal]", "roles: [commander]")
    errors = {each.code for each in lint(parse(text, "p"), operations) if each.severity == "error"}
    assert errors == {Code.CYCLE, Code.UNREACHABLE}


def test_a_plan_without_steps(plan_of, operations):
    assert [each.code for each in lint(plan_of("start: a\nsteps: {}\n"), operations)] == [Code.DANGLING_REF]


@pytest.mark.parametrize(
    "literal",
    [
        "-----BEGIN RSA PRIVATE KEY-----",
        "grd_0123456789abcdefABCD",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghij0123",
        "xoxb-1234567890-abc",
        "sk_live_0123456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x",
        "Authorization: Bearer abcdefghijklmnopqrstuvwx",
        "postgresql://app:hunter2@db.example.org/app",
        "secret: Xk29vuw8aa",
    ],
)
def test_secrets_are_noticed_and_not_repeated(every_kind_text, operations, literal):
    plan = parse(every_kind_text.replace("en: Send it.", f'en: "Use {literal} now"'), "p")
    (finding,) = only(plan, operations, Code.SECRET_LITERAL)
    assert finding.path == "steps.shoot.text.en"
    assert literal not in finding.message
    assert literal[-8:] not in str(finding.to_json())


@pytest.mark.parametrize(
    "innocent",
    [
        "Reset the password of every account, then end all sessions.",
        "Choose a new secret: somebody else must keep the other half.",
        "The token is at https://guard.example.org/tokens and nowhere else.",
        "Ask bearer of the badge for identification.",
        "Write to security@example.org: password resets stay off.",
    ],
)
def test_talk_about_secrets_is_no_secret(every_kind_text, operations, innocent):
    plan = parse(every_kind_text.replace("en: Send it.", f'en: "{innocent}"'), "p")
    assert only(plan, operations, Code.SECRET_LITERAL) == []


def test_a_reference_in_place_of_a_secret_is_right(every_kind_text, operations):
    plan = parse(every_kind_text.replace('{key: "__key__:value"}', '{token: "__key__:value"}'), "p")
    assert only(plan, operations, Code.SECRET_LITERAL) == []


APPROVALS = [
    # (steps before the approval, roles and quorum, whether it can be met)
    ("none", "roles: [commander]\n    quorum: 1", True),  # a service may have started the run
    ("decision", "roles: [commander]\n    quorum: 1", False),
    ("decision", "roles: [commander, deputy]\n    quorum: 1", True),
    ("decision", "roles: [commander, legal]\n    quorum: 2", True),
    ("decision", "roles: [commander, legal]\n    quorum: 3", False),
    ("decision", "roles: [legal]\n    quorum: 2", True),
    ("decision", "roles: [legal]\n    quorum: 3", False),
    ("task", "roles: [commander]\n    quorum: 1", True),
    ("commander_task", "roles: [commander]\n    quorum: 1", False),
    ("decision_then_task", "roles: [commander]\n    quorum: 1", False),
    ("either", "roles: [commander]\n    quorum: 1", False),
    ("sme_decides_then_commander_works", "roles: [commander]\n    quorum: 1", True),
    ("sme_may_decide_then_commander_works", "roles: [commander]\n    quorum: 1", False),
]
BEFORE = {
    "none": "start: sign\nsteps:\n",
    "task": "start: work\nsteps:\n  work: {kind: task, role: sme, text: {en: a, zh: a}, next: {success: sign}}\n",
    "commander_task": "start: work\nsteps:\n"
    "  work: {kind: task, role: commander, text: {en: a, zh: a}, next: {success: sign}}\n",
    "decision": "start: choose\nsteps:\n"
    "  choose: {kind: decision, role: commander, text: {en: a, zh: a},"
    " options: {x: {en: a, zh: a}, y: {en: a, zh: a}}, next: {x: sign, y: done}}\n",
    "decision_then_task": "start: choose\nsteps:\n"
    "  choose: {kind: decision, role: commander, text: {en: a, zh: a},"
    " options: {x: {en: a, zh: a}, y: {en: a, zh: a}}, next: {x: work, y: done}}\n"
    "  work: {kind: task, role: sme, text: {en: a, zh: a}, next: {success: sign}}\n",
    "sme_decides_then_commander_works": "start: choose\nsteps:\n"
    "  choose: {kind: decision, role: sme, text: {en: a, zh: a},"
    " options: {x: {en: a, zh: a}, y: {en: a, zh: a}}, next: {x: work, y: done}}\n"
    "  work: {kind: task, role: commander, text: {en: a, zh: a}, next: {success: sign}}\n",
    "sme_may_decide_then_commander_works": "start: first\nsteps:\n"
    "  first: {kind: task, role: sme, text: {en: a, zh: a}, next: {success: choose, failure: work}}\n"
    "  choose: {kind: decision, role: sme, text: {en: a, zh: a},"
    " options: {x: {en: a, zh: a}, y: {en: a, zh: a}}, next: {x: work, y: done}}\n"
    "  work: {kind: task, role: commander, text: {en: a, zh: a}, next: {success: sign}}\n",
    "either": "start: first\nsteps:\n"
    "  first: {kind: decision, role: sme, text: {en: a, zh: a},"
    " options: {x: {en: a, zh: a}, y: {en: a, zh: a}}, next: {x: sign, y: choose}}\n"
    "  choose: {kind: decision, role: commander, text: {en: a, zh: a},"
    " options: {x: {en: a, zh: a}, y: {en: a, zh: a}}, next: {x: sign, y: done}}\n",
}


@pytest.mark.parametrize(("before", "rule", "possible"), APPROVALS)
def test_an_approval_needs_enough_people_besides_the_one_who_asks(plan_of, operations, before, rule, possible):
    text = BEFORE[before] + (
        f"  sign:\n    kind: approval\n    text: {{en: a, zh: a}}\n    {rule}\n    next: {{success: done, failure: done}}\n"
        "  done: {kind: end, text: {en: a, zh: a}}\n"
    )
    codes = [each.code for each in lint(plan_of(text), operations)]
    assert codes == ([] if possible else [Code.APPROVAL_IMPOSSIBLE])


def long_plan(plan_of, count):
    step = "  s{0}: {{kind: task, role: sme, text: {{en: Do it., zh: 做。}}, next: {{success: s{1}, failure: done}}}}\n"
    steps = "".join(step.format(n, n + 1) for n in range(count - 2))
    last = f"  s{count - 2}: {{kind: wait, for: PT1S, text: {{en: a, zh: a}}, next: {{success: done}}}}\n"
    return plan_of("start: s0\nsteps:\n" + steps + last + "  done: {kind: end, text: {en: Done., zh: 完成。}}\n")


def seconds(plan, operations):
    began = time.process_time()
    assert lint(plan, operations) == ()
    return time.process_time() - began


def test_a_plan_of_five_thousand_steps_is_linted_in_linear_time(plan_of, operations):
    """A line of steps five times longer than Python's stack; ten times the steps may cost about ten times as much."""
    short, long = long_plan(plan_of, 500), long_plan(plan_of, 5000)
    base = min(seconds(short, operations) for _ in range(3))
    assert min(seconds(long, operations) for _ in range(2)) < 25 * max(base, 0.004)


def test_thousands_of_faults_are_found_in_linear_time(plan_of, operations):
    """Looking for similar names costs the product of both lists, so only the first findings get a suggestion."""
    step = "  s{0}: {{kind: guard, operation: no.such{0}, text: {{en: a, zh: a}}, next: {{success: t{0}}}}}\n"
    plan = plan_of("start: s0\nsteps:\n" + "".join(step.format(n) for n in range(2000)))
    began = time.process_time()
    assert len(lint(plan, operations)) > 6000
    assert time.process_time() - began < 5


def test_more_steps_than_a_run_may_take_are_refused(plan_of, operations):
    line = "  s{0}: {{kind: end, text: {{en: a, zh: a}}}}\n"
    plan = plan_of("start: s0\nsteps:\n" + "".join(line.format(n) for n in range(MAX_STEPS + 1)))
    assert only(plan, operations, Code.STEP_LIMIT)


NAMES = [f"s{number}" for number in range(7)]
graphs = st.dictionaries(
    st.sampled_from(NAMES),
    st.none() | st.tuples(st.sampled_from([*NAMES, "nowhere"]), st.sampled_from([*NAMES, "nowhere"])),
    min_size=1,
)


@given(graphs, st.sampled_from(NAMES))
@settings(max_examples=150, deadline=None)
def test_the_walk_agrees_with_a_naive_one(plan_of, operations, graph, start):
    plan = plan_of(f"start: {start}\nsteps:\n" + "".join(line(name, edges) for name, edges in graph.items()))
    reached, circle = naive(graph, start)
    codes = [each.code for each in lint(plan, operations)]
    if start not in graph:
        assert Code.DANGLING_REF in codes
        return
    order = walk(plan).order
    assert set(order) == reached
    assert (Code.CYCLE in codes) == circle
    assert codes.count(Code.UNREACHABLE) == len(graph.keys() - reached)
    assert (Code.NO_END in codes) == all(graph[name] is not None for name in reached)
    if not circle:
        position = {name: index for index, name in enumerate(order)}
        assert all(position[a] < position[b] for a in reached for b in graph[a] or () if b in graph)


def line(name, edges):
    if edges is None:
        return f"  {name}: {{kind: end, text: {{en: a, zh: a}}}}\n"
    return (
        f"  {name}: {{kind: task, role: sme, text: {{en: a, zh: a}},"
        f" next: {{success: {edges[0]}, failure: {edges[1]}}}}}\n"
    )


def naive(graph, start):
    """Reached steps, and whether one of them can reach itself, by closure over all pairs."""

    def below(name):
        todo, seen = [name], set()
        while todo:
            for target in graph.get(todo.pop()) or ():
                if target in graph and target not in seen:
                    seen.add(target)
                    todo.append(target)
        return seen

    reached = {start} | below(start) if start in graph else set()
    return reached, any(name in below(name) for name in reached)
