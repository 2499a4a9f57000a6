"""The plan format: what a plan is read as, and where a malformed one is wrong."""

import hashlib
from dataclasses import FrozenInstanceError
from datetime import date

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidPlan
from guard.runbook.plan import (
    KINDS,
    ApprovalStep,
    Deadline,
    DecisionStep,
    EndStep,
    GuardStep,
    Outcome,
    Plan,
    TaskStep,
    WaitStep,
    parse,
    rendered,
)
from guard.runbook.text import load

MINUTE = 60_000_000

SMALL = """guard_plan: "1"
id: small
title: {en: Small, zh: 小}
group: security
review_due: "2027-03-31"
roles: {sme: {}, commander: {}}
start: work
steps:
  work:
    kind: task
    role: sme
    text: {en: Work., zh: 工作。}
    deadline: {after: PT5M, ladder: ["role:commander"]}
    next: {success: choose}
  choose:
    kind: decision
    role: commander
    text: {en: Which?, zh: 哪个?}
    options: {this: {en: This, zh: 这}, that: {en: That, zh: 那}}
    next: {this: sign, that: done}
  sign:
    kind: approval
    text: {en: Agree., zh: 同意。}
    roles: [commander, sme]
    next: {success: act, failure: done}
  act:
    kind: guard
    text: {en: Act., zh: 行动。}
    operation: keys.rotate
    next: {success: rest}
  rest:
    kind: wait
    text: {en: Wait., zh: 等待。}
    for: PT1H
    next: {success: done}
  done:
    kind: end
    text: {en: Done., zh: 完成。}
"""


def faults(text):
    with pytest.raises(InvalidPlan) as caught:
        parse(text, "small.yaml")
    return [(each["code"], each["line"]) for each in caught.value.extra["findings"]], caught.value


def test_a_plan_is_read():
    plan = parse(SMALL, "small.yaml")
    assert (plan.id, plan.group, plan.start, plan.review_due) == ("small", "security", "work", date(2027, 3, 31))
    assert [type(step) for step in plan.steps.values()] == [
        TaskStep,
        DecisionStep,
        ApprovalStep,
        GuardStep,
        WaitStep,
        EndStep,
    ]
    assert plan.steps["work"].deadline == Deadline(5 * MINUTE, ("role:commander",))
    assert plan.steps["sign"].quorum == 1
    assert plan.steps["act"].idempotent is False
    assert plan.steps["rest"].for_us == 60 * MINUTE
    assert plan.steps["done"].outcome is Outcome.SUCCESS
    assert plan.roles["commander"].holders == 1
    assert plan.roles["sme"].holders is None


def test_a_plan_and_its_steps_do_not_change():
    plan = parse(SMALL, "small.yaml")
    parts = [
        (plan, "start"),
        (plan.steps["work"], "role"),
        (plan.steps["work"].deadline, "after_us"),
        (plan.roles["sme"], "name"),
    ]
    for part, member in parts:
        with pytest.raises(FrozenInstanceError):
            setattr(part, member, "other")


def test_the_hash_names_the_content_and_not_its_spelling(every_kind_text):
    plan = parse(every_kind_text, "a.yaml")
    document = load(every_kind_text, "a.yaml").value
    assert plan.sha256 == hashlib.sha256(rfc8785.dumps(document)).hexdigest()
    spaced = every_kind_text.replace("start: work", "# a comment\nstart:   'work'")
    assert parse(spaced, "b.yaml").sha256 == plan.sha256
    assert parse(spaced, "b.yaml") == plan
    assert parse(every_kind_text.replace("Look at", "Look into"), "a.yaml").sha256 != plan.sha256


def test_texts_are_filled_in_for_people():
    texts = {"en": "Look at __key__:value.", "zh": "查看 __key__:value。"}
    assert rendered(texts, "zh", {"__key__": "crm"}) == "查看 crm。"
    assert rendered(texts, "fr", {"__key__": "crm"}) == "Look at crm."
    assert rendered({}, "en", {}) == ""


# Each case replaces one part of SMALL; the line is that of the fault in the result.
MALFORMED = [
    ('guard_plan: "1"', "guard_plan: 1", "SHAPE", 1),
    ('guard_plan: "1"', 'guard_plan: "2"', "SHAPE", 1),
    ("id: small", "id: Small", "SHAPE", 2),
    ("id: small", "id: sma|ll", "SHAPE", 2),
    ("id: small", "id: 'ѕmall'", "SHAPE", 2),  # a Cyrillic letter
    ("id: small", "idd: small", "KEY_UNKNOWN", 2),
    ("title: {en: Small, zh: 小}", "title: Small", "SHAPE", 3),
    ("title: {en: Small, zh: 小}", "title: {english: Small}", "KEY_UNKNOWN", 3),
    ("title: {en: Small, zh: 小}", "title: {en: 5}", "SHAPE", 3),
    ("group: security", "group: Se curity", "SHAPE", 4),
    ('review_due: "2027-03-31"', 'review_due: "2027-02-29"', "SHAPE", 5),
    ('review_due: "2027-03-31"', "review_due: 20270331", "SHAPE", 5),
    ("roles: {sme: {}, commander: {}}", "roles: [sme]", "SHAPE", 6),
    ("roles: {sme: {}, commander: {}}", "roles: {sme: {}, commander: {holders: 2}}", "SHAPE", 6),
    ("roles: {sme: {}, commander: {}}", "roles: {sme: {skill: x}, commander: {}}", "KEY_UNKNOWN", 6),
    ("start: work", "start: [work]", "SHAPE", 7),
    ("start: work", "begin: work", "KEY_UNKNOWN", 7),
    ("  work:\n    kind: task", "  Work:\n    kind: task", "SHAPE", 9),
    ("  work:\n    kind: task", "  work:\n    kind: taks", "KIND_UNKNOWN", 10),
    ("  work:\n    kind: task", "  work:\n    kind: parallel", "KIND_UNKNOWN", 10),
    ("  work:\n    kind: task", "  work:\n    kind: [task]", "KIND_UNKNOWN", 10),
    ("  work:\n    kind: task", "  work:\n    sort: task", "KEY_MISSING", 9),
    ("  done:\n    kind: end\n    text: {en: Done., zh: 完成。}\n", "  done: end\n", "SHAPE", 36),
    ("    role: sme\n", "", "KEY_MISSING", 9),
    ("    role: sme\n", "    role: S.M.E.\n", "SHAPE", 11),
    ("after: PT5M", "after: 5m", "SHAPE", 13),
    ("after: PT5M", "after: 300", "SHAPE", 13),
    ("after: PT5M", "after: P1M", "SHAPE", 13),
    ('ladder: ["role:commander"]', "ladder: [commander]", "SHAPE", 13),
    ('ladder: ["role:commander"]', 'ladder: ["role:commander", "role:commander"]', "SHAPE", 13),
    ('ladder: ["role:commander"]', 'lader: ["role:commander"]', "KEY_UNKNOWN", 13),
    ("next: {success: choose}", "next: {succes: choose}", "KEY_UNKNOWN", 14),
    ("next: {success: choose}", "next: choose", "SHAPE", 14),
    ("next: {success: choose}", "next: {failure: choose}", "KEY_MISSING", 14),
    ("options: {this: {en: This, zh: 这}, that: {en: That, zh: 那}}", "options: {this: {en: This}}", "SHAPE", 19),
    ("options: {this: {en: This, zh: 这},", "options: {timeout: {en: This, zh: 这},", "SHAPE", 19),
    ("next: {this: sign, that: done}", "next: {this: sign}", "KEY_MISSING", 20),
    ("next: {this: sign, that: done}", "next: {this: sign, that: done, timeout: done}", "SHAPE", 20),
    ("next: {this: sign, that: done}", "next: {this: sign, that: done, other: done}", "KEY_UNKNOWN", 20),
    ("roles: [commander, sme]", "roles: commander", "SHAPE", 24),
    ("roles: [commander, sme]", "roles: [commander, commander]", "SHAPE", 24),
    ("roles: [commander, sme]", "roles: [commander, sme]\n    quorum: 0", "SHAPE", 25),
    ("roles: [commander, sme]", "roles: [commander, sme]\n    quorum: true", "SHAPE", 25),
    ("next: {success: act, failure: done}", "next: {success: act}", "KEY_MISSING", 25),
    ("operation: keys.rotate", "operation: rotate", "SHAPE", 29),
    ("operation: keys.rotate", "operation: keys.rotate\n    shell: rm -rf /", "KEY_UNKNOWN", 30),
    ("operation: keys.rotate", "operation: keys.rotate\n    idempotent: yes", "SHAPE", 30),
    ("operation: keys.rotate", "operation: keys.rotate\n    with: [x]", "SHAPE", 30),
    ("for: PT1H", "for: forever", "SHAPE", 34),
    ("for: PT1H", "for: P400D", "SHAPE", 34),
    ("    kind: end\n", "    kind: end\n    outcome: fine\n", "SHAPE", 38),
    ("    kind: end\n", "    kind: end\n    next: {success: work}\n", "KEY_UNKNOWN", 38),
    ("id: small", "id: small\nid: small", "DUPLICATE_KEY", 3),
    ("id: small", "id: !!str small", "TAG_REFUSED", 2),
    ("start: work", "inputs: {__a__: {type: strin, external: true}}\nstart: work", "SHAPE", 7),
    ("start: work", "inputs: {__a__: {type: string}}\nstart: work", "SHAPE", 7),
    ("start: work", "inputs: {__a__: {type: integer, value: '5'}}\nstart: work", "SHAPE", 7),
    ("start: work", "inputs: {__a__: {type: string, external: true, value: x}}\nstart: work", "SHAPE", 7),
    ("start: work", "inputs: {a: {type: string, external: true}}\nstart: work", "SHAPE", 7),
    ("start: work", "tags: [plain]\nstart: work", "SHAPE", 7),
]


@pytest.mark.parametrize(("old", "new", "code", "line"), MALFORMED)
def test_a_malformed_plan_is_refused_at_its_line(old, new, code, line):
    assert old in SMALL
    found, _ = faults(SMALL.replace(old, new, 1))
    assert (code, line) in found


@pytest.mark.parametrize("text", ["null", "a", "[]", "5"])
def test_a_plan_is_a_mapping(text):
    found, _ = faults(text)
    assert ("SHAPE", 1) in found


def test_an_unknown_kind_is_refused_with_the_known_ones():
    _, error = faults(SMALL.replace("kind: wait", "kind: waits"))
    assert "Did you mean 'wait'?" in error.detail
    for kind in KINDS:
        assert kind in error.detail
    assert error.detail.startswith("small.yaml:32: ")


def test_a_misspelt_key_gets_a_suggestion():
    _, error = faults(SMALL.replace("operation:", "opration:"))
    assert any("Did you mean 'operation'?" in each["message"] for each in error.extra["findings"])


def test_every_fault_of_a_plan_comes_at_once():
    found, error = faults(SMALL.replace("id: small", "id: S").replace("PT1H", "1h").replace("kind: end", "kind: ende"))
    assert {line for _, line in found} == {2, 34, 37}
    assert "(and 2 more)" in error.detail


def test_a_file_full_of_faults_is_not_answered_with_all_of_them():
    steps = "".join(f"  s{n}: {{kind: nothing}}\n" for n in range(300))
    found, _ = faults(SMALL + steps)
    assert len(found) == 100


def test_values_are_not_quoted():
    _, error = faults(SMALL.replace("for: PT1H", "for: hunter2-hunter2").replace("role: sme", "role: Hunter2 Hunter2"))
    assert "unter2" not in str(error.extra) + error.detail


def read_or_refused(text):
    try:
        return parse(text, "x.yaml")
    except InvalidPlan as refused:
        return refused


@given(st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_text_in_place_of_a_step_is_refused_or_read(text):
    read = read_or_refused(SMALL + "  " + text)
    assert isinstance(read, Plan) or read.extra["findings"]


@given(st.integers(0, len(SMALL) - 1), st.sampled_from(list(" :{}[],'\"-xX1\n")))
@settings(max_examples=150, deadline=None)
def test_one_wrong_character_is_refused_or_makes_another_plan(position, sign):
    """A typing mistake may never raise anything but InvalidPlan, nor leave the hash as it was with other content."""
    text = SMALL[:position] + sign + SMALL[position + 1 :]
    read = read_or_refused(text)
    if isinstance(read, Plan):
        good = parse(SMALL, "x.yaml")
        assert (read.sha256 == good.sha256) == (read == good)
    else:
        assert read.extra["findings"]


REQUIRED = [
    ("guard_plan", 1),
    ("id", 1),
    ("title", 1),
    ("group", 1),
    ("review_due", 1),
    ("roles", 1),
    ("start", 1),
]


@pytest.mark.parametrize(("key", "line"), REQUIRED)
def test_each_required_key_of_a_plan(key, line):
    text = "".join(each for each in SMALL.splitlines(keepends=True) if not each.startswith(f"{key}:"))
    found, error = faults(text)
    assert ("KEY_MISSING", line) in found
    assert f"'{key}'" in error.detail


KIND_KEYS = {
    "work": {"role": True, "deadline": False, "next": True},
    "choose": {"role": True, "options": True, "next": True},
    "sign": {"roles": True, "next": True},
    "act": {"operation": True, "next": True},
    "rest": {"for": True, "next": True},
    "done": {"text": False},
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in KIND_KEYS.items() for key in keys])
def test_each_key_of_each_kind(name, key):
    """A required key that is missing is a fault at its step; any other may be left out; a doubtful one never passes."""
    lines = SMALL.splitlines(keepends=True)
    step_line = next(number for number, each in enumerate(lines, 1) if each == f"  {name}:\n")
    place = next(
        number for number, each in enumerate(lines, 1) if number > step_line and each.startswith(f"    {key}:")
    )
    without = "".join(lines[: place - 1] + lines[place:])
    if KIND_KEYS[name][key]:
        assert ("KEY_MISSING", step_line) in faults(without)[0]
    else:
        assert parse(without, "x.yaml").steps.keys() == parse(SMALL, "x.yaml").steps.keys()
    for value in ("[[]]", "{a: {b: c}}", "-5", "true", "~"):
        broken = "".join([*lines[: place - 1], f"    {key}: {value}\n", *lines[place:]])
        assert faults(broken)[0][0][1] == place


@pytest.mark.parametrize("name", KIND_KEYS)
def test_no_kind_takes_a_key_of_another(name):
    for key, value in (
        ("loop", "3"),
        ("parallel", "[a]"),
        ("shell", "id"),
        ("url", "http://192.0.2.1"),
        ("quorom", "1"),
    ):
        text = SMALL.replace(f"  {name}:\n", f"  {name}:\n    {key}: {value}\n")
        found, error = faults(text)
        assert [code for code, _ in found] == ["KEY_UNKNOWN"]
        assert f"'{key}' is no key here; known: kind, " in error.detail
