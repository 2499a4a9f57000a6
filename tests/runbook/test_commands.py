"""Commands: what all of them need, and what happens to one that comes twice."""

import pytest

from guard.errors import Conflict, InvalidRequest
from guard.runbook import commands as cmd
from guard.runbook.commands import body_sha256, check, repeated

BASE = {"command_id": "c1", "actor": "user:ana", "expected_version": 3, "path": "work"}
ANSWER = BASE | {"person": "ana", "roles": frozenset({"sme", "deputy"}), "answer": {"note": "x", "share": 1.5}}


@pytest.mark.parametrize(
    ("cls", "members", "field"),
    [
        (cmd.Answer, ANSWER | {"command_id": ""}, "command_id"),
        (cmd.Answer, ANSWER | {"command_id": "x" * 201}, "command_id"),
        (cmd.Answer, ANSWER | {"actor": " "}, "actor"),
        (cmd.Answer, ANSWER | {"person": ""}, "person"),
        (cmd.Answer, ANSWER | {"path": ""}, "path"),
        (cmd.Skip, BASE | {"reason": ""}, "reason"),
        (cmd.Skip, BASE | {"reason": " \n "}, "reason"),
        (cmd.Skip, BASE | {"reason": "x" * 2001}, "reason"),
        (cmd.ResolveUnknown, BASE | {"verdict": cmd.Verdict.DONE, "reason": "", "person": "ana"}, "reason"),
        (cmd.ResolveUnknown, BASE | {"verdict": cmd.Verdict.DONE, "reason": "x", "person": ""}, "person"),
        (cmd.MarkUnknown, BASE | {"fence": 1, "idem_key": "k", "reason": ""}, "reason"),
    ],
)
def test_a_command_without_its_parts_is_refused(cls, members, field):
    with pytest.raises(InvalidRequest, match=f"'{field}'") as caught:
        check(cls(**members))
    assert caught.value.extra["errors"][0]["pointer"] == f"/{field}"


def test_a_decision_needs_no_reason_and_a_service_is_no_person():
    check(cmd.Decide(**BASE, person="ana", roles=frozenset(), option="act"))
    check(cmd.Start(command_id="c", actor="svc:detect", expected_version=0, inputs={}))


def test_the_hash_is_over_what_is_asked_and_not_over_what_was_seen():
    first = body_sha256(cmd.Answer(**ANSWER))
    assert body_sha256(cmd.Answer(**ANSWER | {"expected_version": 9})) == first
    assert body_sha256(cmd.Answer(**ANSWER | {"roles": frozenset({"deputy", "sme"})})) == first
    assert body_sha256(cmd.Answer(**ANSWER | {"answer": {"share": 1.5, "note": "x"}})) == first
    for change in ({"answer": {"note": "y"}}, {"person": "bo"}, {"actor": "user:bo"}, {"path": "b"}, {"attempt": 2}):
        assert body_sha256(cmd.Answer(**ANSWER | change)) != first


def test_the_hash_tells_commands_with_the_same_members_apart():
    steer = {"command_id": "c1", "actor": "user:ana", "expected_version": 3, "reason": "x"}
    assert body_sha256(cmd.Pause(**steer)) != body_sha256(cmd.Abort(**steer))


def test_what_is_no_json_is_refused():
    with pytest.raises(InvalidRequest):
        body_sha256(cmd.Answer(**ANSWER | {"answer": {"x": object()}}))


def test_a_double_click_makes_one_event(driver, every_kind):
    run = driver(every_kind)
    run.begin()
    command = run.command(cmd.Answer, path="work", answer={"note": "x"})
    events, kept = run.take(command), body_sha256(command)
    run.follow("choose", "act")
    with pytest.raises(Conflict):
        run.take(command)
    assert repeated(command, kept, run.log) == events


def test_one_id_for_two_acts_is_refused(driver, every_kind):
    run = driver(every_kind)
    run.begin()
    command = run.command(cmd.Answer, path="work", answer={"note": "x"})
    run.take(command)
    other = run.command(cmd.Answer, path="work", answer={"note": "y"}, command_id=command.command_id)
    with pytest.raises(InvalidRequest, match="another command"):
        repeated(other, body_sha256(command), run.log)
