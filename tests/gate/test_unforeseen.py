"""A defect inside an operation: one error with the request id, and its text nowhere."""

import asyncio
import threading

import pytest
import structlog

from guard.errors import GuardError, InternalError
from guard.gate import Gate, attempt, last_resort
from tests.db.building import PATIENCE_SECONDS, held
from tests.gate.building import CANARY, EFFECTS, Ask, declared, insert, stage, told


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with stage(tmp_path_factory.mktemp("unforeseen") / "home") as made:
        made.ana = made.hire("acme", "user:local|ana", "role:tester")
        made.pat = made.token("acme", "user:local|pat", "role:tester")
        yield made


@pytest.fixture(autouse=True)
def clean(made):
    made.script.clear()


@pytest.fixture(params=EFFECTS)
def name(request):
    return request.param


class Odd(Exception):
    """An exception that tells its text everywhere it can."""

    def __repr__(self):
        return f"Odd {CANARY}"


def breaking(kind=ValueError):
    def run(ctx, request):
        if ctx.transaction is not None and request.value == "insert":
            insert(ctx, "half done")
        try:
            raise KeyError(CANARY)  # a cause and a context that hold the text as well
        except KeyError as error:
            raise kind(f"could not use {CANARY}") from error

    return run


def everywhere(home):
    """Every byte below the home directory."""
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", [ValueError, Odd, RecursionError, UnicodeError, AssertionError, OSError])
def test_it_becomes_an_internal_error_with_the_request_id_and_nothing_else(made, name, kind, capfd):
    made.script["a"] = breaking(kind)
    size = made.size
    with structlog.testing.capture_logs() as logs, pytest.raises(InternalError) as failure:
        made.gate.call_named(name, {"value": CANARY}, made.ana, "req-0815")
    error = failure.value
    assert error.code == "GRD-HTTP-500"
    assert "req-0815" in error.detail
    assert (error.hint, error.extra) == ("", {})
    assert CANARY not in f"{error!s} {error!r} {error.detail}"
    last = made.bodies(size)[-1]
    assert told(last)[2:] == (True, "refused", "GRD-HTTP-500")
    (line,) = logs
    assert (line["event"], line["kind"], line["request_id"]) == ("unforeseen_error", kind.__name__, "req-0815")
    assert "test_unforeseen.py:" in line["place"]
    assert CANARY not in str(logs)
    out, err = capfd.readouterr()
    assert CANARY not in out + err


def test_its_text_is_in_no_file(made, name):
    made.script["a"] = breaking()
    with pytest.raises(InternalError):
        made.call(name, made.ana, value=CANARY)
    assert CANARY.encode() not in everywhere(made.home)


def test_a_write_that_breaks_is_undone_and_its_neighbours_are_not(made):
    made.script["a"] = breaking()
    made.script["b"] = lambda ctx, _: insert(ctx, "neighbour")
    with pytest.raises(InternalError):
        made.call("notes.keep", made.ana, value="insert")
    made.call("notes.keep", made.ana, name="b")
    assert "half done" not in made.kept()
    assert "neighbour" in made.kept()


def test_an_inner_call_that_breaks_breaks_the_outer_in_the_same_way(made):
    made.script["a"] = lambda ctx, _: ctx.call("notes.keep", {"name": "b"})
    made.script["b"] = breaking()
    with structlog.testing.capture_logs() as logs, pytest.raises(InternalError):
        made.call("notes.keep", made.ana)
    assert CANARY not in str(logs)


def test_an_outcome_whose_change_breaks_is_an_internal_error_too(made):
    def send(ctx, _request):
        ctx.at_outcome(lambda _tx: breaking()(ctx, Ask()))

    made.script["a"] = send
    size = made.size
    with structlog.testing.capture_logs() as logs, pytest.raises(InternalError):
        made.call("notes.send", made.ana)
    assert [told(body)[1:] for body in made.bodies(size)] == [
        ("intent", True, "ok", None),
        ("outcome", True, "refused", "GRD-HTTP-500"),
    ]
    assert CANARY not in str(logs)
    assert made.rows("SELECT count(*) FROM audit_open_intents") == [(0,)]


def test_a_resource_that_cannot_be_named_is_an_internal_error_of_every_effect(made, name):
    def nameless(_request):
        raise ValueError(CANARY)

    entry = declared()[name]
    odd = type(entry)(**{slot: getattr(entry, slot) for slot in entry.__slots__} | {"resource": nameless})
    size = made.size
    with structlog.testing.capture_logs() as logs, pytest.raises(InternalError) as failure:
        made.gate.call_sync(odd, Ask(), made.ana, "req-0816")
    assert "req-0816" in failure.value.detail
    assert [told(body) for body in made.bodies(size)] == [(name, "event", False, "refused", "GRD-HTTP-500")]
    assert CANARY not in str(logs)


def test_a_note_that_no_record_can_hold_costs_only_the_operation_that_took_it(made, name):
    def run(ctx, _request):
        if name == "notes.keep":
            insert(ctx, "without a record")
        ctx.note(share=0.5, text=CANARY)

    def client(wanted, thing):
        try:
            answers[thing] = made.call(wanted, made.ana, name=thing).text
        except GuardError as error:
            answers[thing] = error.code

    made.script["a"] = run
    made.script["b"] = lambda ctx, _: insert(ctx, f"beside {name}")
    size, answers = made.size, {}
    threads = [threading.Thread(target=client, args=pair) for pair in ((name, "a"), ("notes.keep", "b"))]
    with structlog.testing.capture_logs() as logs:
        with held(made.pipeline):
            for thread in threads:
                thread.start()
                thread.join(0.1)  # it is queued by now, and shares a group with the other
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert answers["b"] == "did b"
    assert f"beside {name}" in made.kept()
    assert "without a record" not in made.kept()
    last = {body["resource"]["id"]: body for body in made.bodies(size)}["notes/a"]
    if name == "notes.send":  # the call was made, and its outcome is on record without the note
        assert (answers["a"], last["phase"], last["result"]) == ("did a", "outcome", {"status": "ok"})
    else:
        assert answers["a"].startswith("GRD-")
        assert last["result"]["status"] == "refused"
    assert "share" not in str(last)
    assert CANARY not in str(logs)


def test_over_http_it_is_a_problem_with_the_same_request_id(made, name):
    made.script["a"] = breaking()

    async def client():
        async with made.http(made.pat) as http:
            return await http.post(f"/api/v1/{name.replace('.', '/')}", json={"value": CANARY})

    size = made.size
    answer = asyncio.run(client())
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "GRD-HTTP-500"
    assert problem["request_id"] == answer.headers["request-id"] == made.bodies(size)[-1]["request"]["id"]
    assert problem["request_id"] in problem["detail"]
    assert CANARY not in answer.text


def test_the_last_resort_lets_no_text_out():
    told_errors = []

    async def failed(error):
        told_errors.append(error)

    async def work():
        raise ValueError(CANARY)

    async def foreseen():
        raise GuardError("Expected this.")

    with structlog.testing.capture_logs() as logs:
        asyncio.run(last_resort(work(), failed, "req-1"))
        asyncio.run(last_resort(foreseen(), failed, "req-2"))
    assert [error.detail for error in told_errors] == [
        "An internal error occurred; give the operator the request id req-1.",
        "Expected this.",
    ]
    assert CANARY not in str(logs)


def test_an_attempt_gives_the_error_and_lets_no_text_out():
    def work():
        raise ValueError(CANARY)

    with structlog.testing.capture_logs() as logs:
        error = attempt(work, "req-1")
    assert isinstance(error, InternalError)
    assert CANARY not in str(logs) + error.detail
    assert attempt(lambda: None, "req-2") is None


def test_a_gate_without_the_part_that_an_operation_wants_says_internal_error(made):
    doors = made.gate._doors
    bare = Gate(type(doors)(**{slot: getattr(doors, slot) for slot in doors.__slots__} | {"parts": {}}))
    with pytest.raises(InternalError):
        bare.call_named("notes.compute", {}, made.ana, "req")
