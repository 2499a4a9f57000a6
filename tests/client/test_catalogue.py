"""The SDK knows every operation of the catalogue, and needs nothing of the server to know it."""

import subprocess
import sys

import pytest

from guard.catalogue import collect
from guard.client import Address, Client
from guard.client.operations import OPERATIONS
from guard.errors import InvalidInput
from guard.rooms import ROOMS
from tests.cli.processes import environment
from tests.client.canned import Canned, Reply

ROUTED = {name: item for name, item in collect(ROOMS).items() if item.path}
SERVER_ONLY = (
    *("alembic", "apscheduler", "casbin", "fastapi", "rich", "sigma", "sqlalchemy", "starlette", "typer", "uvicorn"),
    *("uvloop", "httptools", "orjson", "structlog", "ruamel", "re2"),
)


def test_its_operations_are_those_of_the_catalogue():
    assert dict(OPERATIONS) == {name: (item.method, item.path) for name, item in ROUTED.items()}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_each_operation_is_an_attribute_too(name):
    noun, verb = name.split(".")
    with Canned(Reply(body=b'{"done":true}')) as server, server.client() as client:
        members = {one: "x" for one in ROUTED[name].takes.model_fields if "{" + one + "}" in ROUTED[name].path}
        assert getattr(getattr(client, noun), verb)(**members) == {"done": True}
        method, path = OPERATIONS[name]
        filled = path.format_map(members)
        assert server.asked[0].line == f"{method} {filled} HTTP/1.1"
        assert server.asked[0].headers["authorization"] == "Bearer grd_svc_canary"


@pytest.mark.parametrize("attribute", ["nope", "_private", "__deepcopy__", "fields.encrypt"])
def test_what_the_catalogue_has_not_is_no_attribute(attribute):
    with Client(Address("http://127.0.0.1:1", "t")) as client, pytest.raises(AttributeError):
        getattr(client, attribute)


def test_a_noun_has_only_its_own_verbs():
    with Client(Address("http://127.0.0.1:1", "t")) as client, pytest.raises(AttributeError, match=r"fields\.rotate"):
        client.fields.rotate  # noqa: B018 - the look-up itself is the test


@pytest.mark.parametrize("name", ["keys.nope", "runs.advance", "principals.bootstrap", ""])
def test_an_unknown_operation_is_refused_before_anything_is_sent(name):
    with Canned(Reply()) as server, server.client() as client:
        with pytest.raises(InvalidInput, match="operation"):
            client.call(name)
        assert server.asked == []


def test_a_missing_path_parameter_is_named_before_anything_is_sent():
    with Canned(Reply()) as server, server.client() as client:
        with pytest.raises(InvalidInput, match="version"):
            client.call("keys.retire", key="customers.email")
        assert server.asked == []


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("../tokens", "..%2Ftokens"),
        ("a/rotate", "a%2Frotate"),
        ("a?x=1", "a%3Fx%3D1"),
        ("a#b", "a%23b"),
        ("a b", "a%20b"),
        ("中", "%E4%B8%AD"),
        ("%2e%2e", "%252e%252e"),
        ("a\r\nx: y", "a%0D%0Ax%3A%20y"),
    ],
)
def test_a_path_parameter_stays_within_its_segment(value, sent):
    with Canned(Reply()) as server, server.client() as client:
        client.call("keys.read", key=value)
        assert server.asked[0].line == f"GET /api/v1/keys/{sent} HTTP/1.1"


def test_what_is_none_is_left_out_and_the_rest_goes_into_body_or_query():
    with Canned(Reply()) as server, server.client() as client:
        client.call("runs.list", limit=5, cursor=None)
        client.call("incidents.open", title="中断", plan=None)
        assert server.asked[0].line == "GET /api/v1/runs?limit=5 HTTP/1.1"
        assert server.asked[1].body.decode() in ('{"title":"中断"}', '{"title": "中断"}')
        assert server.asked[1].headers["content-type"] == "application/json"


def test_importing_it_loads_nothing_of_the_server():
    script = "import sys, guard.client; print('\\n'.join(sys.modules))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "httpx2" in loaded
    assert loaded & set(SERVER_ONLY) == set()
    inside = {name.split(".")[1] for name in done.stdout.split() if name.startswith("guard.")}
    assert inside == {"client", "errors", "settings"}
