"""What people type and what plans hold never comes back in an error, whoever sees the error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import GuardError
from guard.runbook import commands as cmd
from guard.runbook.effects import effects

MARK = "hunter2"

values = st.sampled_from([MARK, f"{MARK}\n", 5, True, None, f"x{MARK}x", [MARK], {MARK: MARK}, 1.5, f"{MARK}" * 300])
answers = st.dictionaries(st.sampled_from(["note", "other", f"{MARK} {MARK}", f"<{MARK}>"]), values, max_size=3)


def said(error):
    return f"{error.detail} {error.hint} {error.extra} {error}"


def refused(run, cls, **members):
    """What an error says, or nothing."""
    try:
        run.send(cls, **members)
    except GuardError as error:
        return said(error)
    return ""


@given(answers)
@settings(max_examples=80, deadline=None)
def test_answers(driver, every_kind, answer):
    run = driver(every_kind)
    run.begin()
    assert MARK not in refused(run, cmd.Answer, path="work", answer=answer)


@given(st.dictionaries(st.sampled_from(["__key__", "__count__", "__other__", MARK]), values, max_size=3))
@settings(max_examples=80, deadline=None)
def test_inputs(driver, every_kind, inputs):
    assert MARK not in refused(driver(every_kind), cmd.Start, inputs=inputs)


@pytest.mark.parametrize(
    ("cls", "members"),
    [
        (cmd.Decide, {"path": "work", "option": MARK}),
        (cmd.Approve, {"path": "work", "subject_hash": MARK}),
        (cmd.Refuse, {"path": "work", "subject_hash": MARK, "reason": MARK}),
        (cmd.GiveUp, {"path": "work", "reason": MARK, "roles": frozenset({MARK})}),
        (cmd.Skip, {"path": "choose", "reason": MARK}),
        (cmd.Dispatch, {"path": "work", "fence": 1, "idem_key": MARK}),
        (cmd.Complete, {"path": "work", "fence": 0, "idem_key": MARK, "result": {"a": MARK}}),
        (cmd.Complete, {"path": "work", "fence": 0, "idem_key": "", "result": {"a": MARK * 5000}}),
        (cmd.Fail, {"path": "work", "fence": 0, "idem_key": MARK, "reason": MARK}),
        (cmd.ResolveUnknown, {"path": "work", "verdict": cmd.Verdict.DONE, "reason": MARK, "person": MARK}),
        (cmd.TimerFired, {"path": "work", "kind": MARK}),
        (cmd.Answer, {"path": MARK, "answer": {}}),
        (cmd.Answer, {"path": "work", "answer": {}, "command_id": MARK * 100}),
    ],
)
def test_every_other_member(driver, every_kind, cls, members):
    run = driver(every_kind)
    run.begin(__key__=MARK)
    text = refused(run, cls, **members)
    assert text
    assert MARK not in text


def test_an_earlier_answer_is_not_told_to_who_comes_late(driver, every_kind):
    run = driver(every_kind)
    run.begin(__key__=MARK)
    run.send(cmd.Answer, path="work", answer={"note": MARK})
    late = refused(run, cmd.Answer, path="work", answer={"note": "x"})
    stale = refused(run, cmd.Answer, path="work", answer={"note": "x"}, expected_version=1)
    assert late
    assert stale
    assert MARK not in late + stale


def test_the_reason_of_a_pause_stays_in_the_timeline(driver, every_kind):
    run = driver(every_kind)
    run.begin()
    run.send(cmd.Pause, reason=MARK)
    assert MARK in str(run.log[-1])
    assert MARK not in refused(run, cmd.Answer, path="work", answer={"note": "x"})


@pytest.mark.parametrize(
    "value",
    [
        "{{7*7}}",
        "__count__:value",
        "$(id)",
        "'; DROP TABLE runs; --",
        "=cmd|' /C calc'!A0",
        "<script>",
        "%s%n",
        "../../x",
    ],
)
def test_a_hostile_input_stays_one_value(driver, every_kind, value):
    """It reaches the operation as it was typed: not evaluated, not split, and not read as a reference."""
    run = driver(every_kind)
    run.begin(__key__=value)
    run.go("success", "act", "success")
    (effect,) = effects(run.state, run.plan)
    assert effect.arguments == {"value": value, "limit": 3}


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\x00b", "a\x1b]0;x\x07", "a\u2028b", "x" * 1001])
def test_an_input_that_could_forge_a_line_is_refused(driver, every_kind, value):
    assert "__key__" in refused(driver(every_kind), cmd.Start, inputs={"__key__": value})
