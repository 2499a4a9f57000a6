"""An operation that fails in a way nobody foresaw: 500 with a request id and nothing of the exception's text, anywhere."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest

from guard.api.asgi import Front
from guard.api.hot import protocol
from guard.api.routes import build
from guard.catalogue import Context, Effect, operation
from guard.gate import Gate
from guard.wire.model import Nothing
from tests.api.asking import ask
from tests.api.conftest import LIMIT, Live
from tests.api.test_problems import check

CANARY = "wanda.canary@example.org"


def failing(name: str, effect: Effect, *, hot: bool = False):
    """An operation that raises an exception whose text holds a personal value."""

    @operation(
        name,
        f"POST /api/v1/{name.replace('.', '/')}",
        takes=Nothing,
        gives=Nothing,
        effect=effect,
        resource="faults/all",
        hot=hot,
    )
    def run(ctx: Context, request: Nothing) -> Nothing:
        del ctx, request
        raise KeyError(CANARY)

    return run


OPERATIONS = {
    "computed": failing("faults.compute", Effect.NONE),
    "reading": failing("faults.read", Effect.READ),
    "writing": failing("faults.write", Effect.WRITE),
    "external": failing("faults.call", Effect.EXTERNAL),
    "hot": failing("faults.hot", Effect.NONE, hot=True),
}


@pytest.fixture
def faulty(api):
    """The same guard with these operations only, as application and as live server."""
    gate = Gate(replace(api.world.gate._doors, operations={one.name: one for one in OPERATIONS.values()}))
    random = api.world.gate._doors.random
    front = Front(build(gate, dict, LIMIT), random)
    return SimpleNamespace(front=front, protocol=protocol(gate, LIMIT, random), full=api.full)


@pytest.fixture
def live(faulty):
    server = Live(SimpleNamespace(world=SimpleNamespace(guard=faulty)), faulty.protocol)
    yield server
    server.stop()


def silent(answer, captured, caplog) -> None:
    """Nothing of the text anywhere; the request id where the operator looks."""
    told = captured.out + captured.err + caplog.text
    assert "canary" not in answer.all_bytes.decode() + told
    assert "Traceback" not in told
    assert "KeyError" in told
    assert answer.json["request_id"] in told


@pytest.mark.parametrize("item", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_a_500_tells_the_request_id_only(faulty, item, capfd, caplog):
    answer = ask(faulty.front, "POST", item.path, {}, token=faulty.full)
    check(answer, 500, "GRD-HTTP-500")
    silent(answer, capfd.readouterr(), caplog)


@pytest.mark.parametrize("item", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_the_same_through_a_server(faulty, live, item, capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        answer = live.ask("POST", item.path, b"{}", token=faulty.full)
    check(answer, 500, "GRD-HTTP-500")
    silent(answer, capfd.readouterr(), caplog)


@pytest.mark.parametrize("item", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_the_failure_is_on_record_and_the_service_goes_on(api, faulty, item):
    answer = ask(faulty.front, "POST", item.path, {}, token=faulty.full)
    newest = api.world.records("acme", action=item.name)[0]
    assert (newest.status, newest.code) == ("refused", "GRD-HTTP-500")
    assert answer.status == 500
    assert api("GET", "/api/v1/whoami").status == 200


def test_an_exception_outside_every_operation_is_caught_too(api, capfd, caplog):
    async def broken(scope, receive, send):
        raise KeyError(CANARY)

    answer = ask(Front(broken, api.world.gate._doors.random), "GET", "/")
    check(answer, 500, "GRD-HTTP-500")
    silent(answer, capfd.readouterr(), caplog)


def test_an_exception_after_the_answer_began_sends_nothing_more(api, capfd, caplog):
    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError(CANARY)

    answer = ask(Front(broken, api.world.gate._doors.random), "GET", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert "canary" not in capfd.readouterr().out + caplog.text
