"""An external operation that is exempt: no intent, no outcome, its changes all the same, and a record of each refusal."""

from dataclasses import replace

import pytest

from guard.catalogue import Effect, operation
from guard.errors import Conflict, Denied, InternalError
from guard.gate import Gate
from tests.gate.building import Answer, Ask, insert, play, stage, things, told

SHIP = operation(
    "notes.ship",
    None,
    takes=Ask,
    gives=Answer,
    effect=Effect.EXTERNAL,
    resource=things,
    audit=("name",),
    exempt="for this test",
)(play)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with stage(tmp_path_factory.mktemp("exempt") / "home") as made:
        doors = made.gate._doors
        made.gate = Gate(replace(doors, operations=doors.operations | {"notes.ship": SHIP}))
        made.ana = made.hire("acme", "user:local|ana", "role:tester")
        made.sam = made.hire("acme", "user:local|sam", "role:support")
        yield made


@pytest.fixture(autouse=True)
def clean(made):
    made.script.clear()


def records(made, work=None, actor=None, error=None):
    """What one call leaves in the log, in short."""
    size = made.size
    made.script["a"] = work or (lambda *_: None)
    if error is None:
        made.call("notes.ship", actor or made.ana)
    else:
        with pytest.raises(error):
            made.call("notes.ship", actor or made.ana)
    return [told(body) for body in made.bodies(size)]


def test_a_success_leaves_no_record_and_no_open_intent(made):
    assert records(made) == []
    assert made.rows("SELECT count(*) FROM audit_open_intents") == [(0,)]


def test_it_runs_with_no_transaction_open_and_its_changes_are_kept(made):
    def work(ctx, _):
        assert ctx.transaction is None
        ctx.at_outcome(lambda _tx: insert(ctx, "shipped"))
        ctx.after_commit(lambda: seen.append(made.kept()))

    seen = []
    assert records(made, work) == []
    assert seen == [["shipped"]]


def test_what_it_calls_in_its_outcome_is_recorded(made):
    def work(ctx, _):
        ctx.at_outcome(lambda _tx: ctx.call("notes.keep", {"name": "b"}))

    assert records(made, work) == [("notes.keep", "event", True, "ok", None)]


@pytest.mark.parametrize("error", [Conflict, InternalError])
def test_a_failure_is_recorded_and_changes_nothing(made, error):
    def work(ctx, _):
        ctx.at_outcome(lambda _tx: insert(ctx, "never"))
        raise error("no")

    ((name, phase, _, status, code),) = records(made, work, error=error)
    assert (name, phase, status, code) == ("notes.ship", "event", "refused", error.code)
    assert "never" not in made.kept()


def test_a_change_that_fails_is_undone_and_recorded(made):
    def work(ctx, _):
        def change(_tx):
            insert(ctx, "undone")
            raise Conflict("no")

        ctx.at_outcome(change)

    assert [one[3] for one in records(made, work, error=Conflict)] == ["refused"]
    assert "undone" not in made.kept()


def test_who_may_not_is_recorded(made):
    assert records(made, actor=made.sam, error=Denied) == [("notes.ship", "event", False, "refused", "GRD-AUTHZ-001")]
