"""A refusal arrives as the class of `guard.errors` that bears its code, with hint, ids and counts, and no token."""

import json

import pytest

from guard import errors
from guard.client import Address, Client
from guard.errors import (
    Denied,
    GuardError,
    InternalError,
    InvalidRequest,
    InvalidSetting,
    NotFound,
    RouteNotFound,
    Unauthenticated,
)
from tests.client.canned import Canned, Reply, problem

CLASSES = sorted(
    (found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, GuardError)),
    key=lambda found: found.__name__,
)
CANARY = "grd_svc_canary"
STRANGE = {
    "no JSON": b"<html>proxy</html>",
    "nothing": b"",
    "a list": b"[]",
    "a text": b'"GRD-STORE-404"',
    "no code": b'{"detail":"So."}',
    "no detail": b'{"code":"GRD-STORE-404"}',
    "a code that is no text": b'{"code":["GRD-STORE-404"],"detail":"So."}',
    "a detail that is no text": b'{"code":"GRD-STORE-404","detail":{"a":1}}',
    "bad UTF-8": b'{"code":"\xff"}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", [one for one in CLASSES if one is not GuardError])
def test_each_code_raises_its_class(kind):
    reply = problem(kind.code, 400, hint="Do so.", retry_after_seconds=7, missing_permission="keys.list")
    with Canned(reply) as server, server.client() as client, pytest.raises(kind) as refusal:
        client.call("keys.list")
    error = refusal.value
    assert type(error) is kind
    assert (error.detail, error.hint, error.code) == ("So.", "Do so.", kind.code)
    assert error.extra == {"request_id": "req_1", "retry_after_seconds": 7, "missing_permission": "keys.list"}
    assert str(error) == "So."


def test_a_code_of_a_newer_server_keeps_its_text():
    server = Canned(problem("GRD-NEW-999", 409))
    with server, server.client() as client, pytest.raises(InternalError, match=r"So\."):
        client.call("keys.list")


@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE.keys())
@pytest.mark.parametrize("status", [200, 400, 404, 502])
def test_what_is_no_guard_server_is_told_so(body, status):
    if status == 200 and b"{" in body[:1] and b"\xff" not in body:
        return  # an object is an answer
    server, told = Canned(Reply(status, body)), f"Expected a guard server, got status {status}"
    with server, server.client() as client, pytest.raises(InternalError, match=told):
        client.call("keys.list")


def test_the_real_server_refuses_with_the_same_classes(client, dev):
    with pytest.raises(NotFound, match="nope"):
        client.keys.read(key="nope")
    with pytest.raises(InvalidRequest) as refusal:
        client.incidents.open(title="Down", severity=9)
    assert refusal.value.extra["errors"][0]["pointer"] == "/severity"
    with pytest.raises(Denied) as refusal:
        client.tenants.list()
    assert refusal.value.extra["missing_permission"] == "tenants.list"
    assert refusal.value.extra["request_id"].startswith("req_")
    with Client(Address(dev.url, CANARY)) as stranger, pytest.raises(Unauthenticated):
        stranger.keys.list()
    with Client(Address(dev.url + "/elsewhere", dev.token())) as lost, pytest.raises(RouteNotFound):
        lost.keys.list()


def test_no_repr_and_no_error_shows_the_token():
    address = Address("http://127.0.0.1:1", CANARY)
    with Client(address) as client:
        shown = [repr(address), str(address), repr(client), repr(client.keys), repr(vars(client)["_http"])]
        for act in (client.keys.list, lambda: client.call("nope")):
            with pytest.raises(GuardError) as refusal:
                act()
            shown += [repr(refusal.value), str(refusal.value), repr(vars(refusal.value))]
    assert not [text for text in shown if "canary" in text]


@pytest.mark.parametrize(
    "token", ["grd_svc_canary\r\nx: y", "grd_svc_canary\n", "canäry", "令牌canary", "canary\x00", "canary\x7f"]
)
def test_a_token_that_is_no_header_is_refused_without_showing_it(token):
    with pytest.raises(InvalidSetting) as refusal:
        Client(Address("http://127.0.0.1:1", token))
    assert "can" not in refusal.value.detail.replace("Expected a token of printable ASCII characters", "")


@pytest.mark.parametrize("code", ["GRD-CRYPT-001", "GRD-CRYPT-002", "GRD-STORE-404", "GRD-VAL-001"])
def test_a_failed_item_raises_and_gives_nothing_back(code):
    result = {"problem": {"code": code, "title": "Refused", "detail": "So."}}
    body = Reply(body=json.dumps({"results": [result]}).encode())
    with Canned(body) as server, server.client() as client:
        for act in (
            lambda: client.encrypt("customers.email", "value", row="1"),
            lambda: client.decrypt("customers.email", "gd1.x", "billing", row="1"),
            lambda: client.mask("customers.email", "gd1.x", row="1"),
        ):
            with pytest.raises(GuardError) as refusal:
                act()
            assert refusal.value.code == code
