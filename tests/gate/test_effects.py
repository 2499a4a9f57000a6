"""What each effect does and records, and that its record is durable before anybody has the answer."""

import asyncio
import threading

import pytest

from guard.errors import AuditUnavailable, Conflict, InternalError, Overloaded
from tests.db.building import PATIENCE_SECONDS, held, on_writer
from tests.gate.building import BROKEN_LOG, EFFECTS, Ask, insert, stage, told

PHASES = {name: ["event"] for name in EFFECTS} | {"notes.send": ["intent", "outcome"]}
SIMPLE = [name for name in EFFECTS if name != "notes.send"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with stage(tmp_path_factory.mktemp("effects") / "home", queue_limit=64) as made:
        made.ana = made.hire("acme", "user:local|ana", "role:tester")
        made.stranger = made.hire("acme", "user:local|stranger", "role:support")
        yield made


@pytest.fixture(autouse=True)
def clean(made):
    made.script.clear()


@pytest.fixture(params=EFFECTS)
def name(request):
    return request.param


def test_a_success_leaves_its_records_before_the_answer(made, name):
    size = made.size
    answer = made.call(name, made.ana, name="a", value="not for the log")
    bodies = made.bodies(size)  # read by another connection, right after the answer
    assert answer.text == "did a"
    assert [told(body) for body in bodies] == [(name, phase, True, "ok", None) for phase in PHASES[name]]


def test_a_record_says_who_what_on_what_by_which_rule_and_never_a_value(made, name):
    size = made.size
    made.call(name, made.ana, name="a", value="not for the log")
    for body in made.bodies(size):
        assert body["actor"] == {"id": "user:local|ana", "type": "pat", "auth": made.ana.credential}
        assert body["resource"] == {"id": "notes/a"}
        assert body["decision"]["rule"].startswith("role:tester allow notes.* on notes/** (policies/access/roles.csv:")
        assert body["decision"]["policy"] == made.guard.doorkeeper.snapshot.version
        assert body["request"]["id"].startswith("test-")
        assert body["data"] == {"name": "a"}
        assert "not for the log" not in str(body)


def test_notes_of_the_operation_join_its_record(made, name):
    made.script["a"] = lambda ctx, _: ctx.note(count=3)
    size = made.size
    made.call(name, made.ana)
    assert made.bodies(size)[-1]["data"] == {"name": "a", "count": 3}


def test_an_outcome_names_its_intent_and_both_have_the_same_request(made):
    size = made.size
    made.call("notes.send", made.ana)
    intent, outcome = made.bodies(size)
    assert outcome["intent"] == intent["id"]
    assert "intent" not in intent
    assert outcome["request"] == intent["request"]
    assert made.rows("SELECT count(*) FROM audit_open_intents") == [(0,)]


def test_an_external_call_runs_after_its_intent_is_durable_and_without_a_transaction(made):
    seen = []

    def send(ctx, _request):
        seen.extend(told(body)[1] for body in made.bodies(size))
        seen.append(made.rows("SELECT count(*) FROM audit_open_intents")[0][0])
        with pytest.raises(InternalError):
            _ = ctx.tx

    made.script["a"] = send
    size = made.size
    made.call("notes.send", made.ana)
    assert seen == ["intent", 1]


def test_the_writer_is_free_while_an_external_call_runs(made):
    made.script["a"] = lambda _ctx, _request: made.call("notes.compute", made.ana, name="meanwhile").text
    assert made.call("notes.send", made.ana).text == "did meanwhile"


def test_what_an_external_call_changes_here_commits_with_its_outcome(made):
    def send(ctx, _request):
        ctx.at_outcome(lambda tx: insert(ctx, "outcome"))
        ctx.after_commit(lambda: seen.append(made.kept()))

    seen = []
    made.script["a"] = send
    made.call("notes.send", made.ana)
    assert seen == [["outcome"]]


def test_a_change_at_the_outcome_may_set_the_answer(made):
    def send(ctx, _request):
        def change(_tx):
            ctx.answer = {"text": "from the outcome"}

        ctx.at_outcome(change)

    made.script["a"] = send
    assert made.call("notes.send", made.ana) == {"text": "from the outcome"}


def test_a_change_at_the_outcome_that_is_refused_is_undone_and_recorded(made):
    def send(ctx, _request):
        def change(_tx):
            insert(ctx, "half")
            raise Conflict("Moved on.")

        ctx.at_outcome(change)

    made.script["a"] = send
    size = made.size
    with pytest.raises(Conflict):
        made.call("notes.send", made.ana)
    assert [told(body)[1:] for body in made.bodies(size)] == [
        ("intent", True, "ok", None),
        ("outcome", True, "refused", "GRD-STORE-410"),
    ]
    assert "half" not in made.kept()


def test_a_write_and_its_record_are_one_transaction(made):
    made.script["a"] = lambda ctx, _: insert(ctx, "one")
    size = made.size
    with held(made.pipeline):
        done = threading.Thread(target=made.call, args=("notes.keep", made.ana))
        done.start()
        done.join(0.05)
        assert (made.kept().count("one"), made.size) == (0, size)
    done.join(PATIENCE_SECONDS)
    assert (made.kept().count("one"), made.size) == (1, size + 1)


def test_hooks_run_when_the_change_is_durable_and_not_for_a_refusal(made):
    def keep(ctx, request):
        ctx.after_commit(lambda: seen.append(made.kept().count(request.value)))
        insert(ctx, request.value)
        if request.value == "no":
            raise Conflict("No.")

    seen = []
    made.script["a"] = keep
    made.call("notes.keep", made.ana, value="yes")
    with pytest.raises(Conflict):
        made.call("notes.keep", made.ana, value="no")
    assert seen == [1]


def test_a_read_sees_what_was_committed_and_cannot_write(made):
    made.script["w"] = lambda ctx, _: insert(ctx, "written by a read")
    with pytest.raises(InternalError):
        made.call("notes.look", made.ana, name="w")
    assert "written by a read" not in made.kept()


def test_a_computation_has_no_transaction(made):
    made.script["a"] = lambda ctx, _: str(ctx.transaction)
    assert made.call("notes.compute", made.ana).text == "None"


@pytest.mark.parametrize("name", EFFECTS)
def test_an_event_loop_has_the_answer_after_the_record_too(made, name):
    async def client():
        pending = asyncio.create_task(made.gate.call(made.gate.operations[name], Ask(), made.ana, "req-loop"))
        with held(made.pipeline):
            done, _ = await asyncio.wait([pending], timeout=0.05)
            assert not done
            assert made.size == size
        return await pending, made.bodies(size)

    size = made.size
    unit, bodies = asyncio.run(client())
    assert unit.result.text == "did a"
    assert unit.record.id == bodies[-1]["id"]
    assert [body["phase"] for body in bodies] == PHASES[name]


# when the record cannot be written


@pytest.fixture
def broken(made):
    on_writer(made.pipeline, BROKEN_LOG)
    yield made.size
    on_writer(made.pipeline, "DROP TRIGGER broken")


def test_an_operation_whose_record_cannot_be_written_did_not_happen(made, name, broken):
    done = []

    def run(ctx, _request):
        done.append(name)
        if name == "notes.keep":
            insert(ctx, "without a record")

    made.script["a"] = run
    with pytest.raises(AuditUnavailable, match="did not happen"):
        made.call(name, made.ana)
    assert made.size == broken
    assert "without a record" not in made.kept()
    assert (name == "notes.send") == (done == [])  # without an intent there is no call


def test_a_refusal_whose_record_cannot_be_written_is_no_refusal(made, name, broken):
    with pytest.raises(AuditUnavailable):
        made.call(name, made.stranger)
    assert made.size == broken


def test_after_the_fault_the_log_goes_on_without_a_gap(made, broken):
    del broken
    for _ in range(3):
        with pytest.raises(AuditUnavailable):
            made.call("notes.keep", made.ana)
    on_writer(made.pipeline, "DROP TRIGGER broken")
    made.call("notes.keep", made.ana)
    numbers = made.rows("SELECT n FROM audit_index WHERE tenant = 'acme' ORDER BY idx")
    assert [n for (n,) in numbers] == list(range(len(numbers)))
    on_writer(made.pipeline, BROKEN_LOG)


def test_a_full_queue_refuses_before_anything_is_done(made, name):
    done, answers = [], []
    made.script["mine"] = lambda ctx, _: done.append(ctx.transaction)
    size = made.size
    with held(made.pipeline):
        fillers = [
            threading.Thread(target=lambda: answers.append(made.call("notes.keep", made.ana))) for _ in range(64)
        ]
        for filler in fillers:
            filler.start()
        _until(lambda: made.pipeline.waiting == 64)
        with pytest.raises(Overloaded) as refusal:
            made.call(name, made.ana, name="mine")
        assert made.size == size
    for filler in fillers:
        filler.join(PATIENCE_SECONDS)
    assert refusal.value.extra["retry_after_seconds"] >= 1
    assert len(answers) == 64
    assert done == ([None] if name == "notes.compute" else done[:1] if name == "notes.look" else [])


def _until(holds):
    waited = threading.Event()
    for _ in range(2000):
        if holds():
            return
        waited.wait(0.005)
    raise AssertionError("it did not come to that")
