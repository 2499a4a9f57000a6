"""The sealed service over ASGI: what it answers, who may open it, and how often that may be tried."""

import asyncio
import json

import pytest

from guard.api.asgi import Front
from guard.api.sealed import ATTEMPTS_PER_MINUTE, MAX_BODY_BYTES, SealedApp
from guard.app import initialise
from guard.settings import Settings
from guard.vault.starting import opening

PHRASE = "a passphrase of the tests"


class Place:
    def __init__(self, home):
        self.settings = Settings(home=home)
        initialise(self.settings, "passphrase", {}, {"passphrase": PHRASE})
        self.way = opening(self.settings)
        self.now, self.done = 0.0, []
        made = SealedApp(self.way, "token-of-the-home", lambda: self.done.append(1), lambda: self.now)
        self.front = Front(made.app(), bytes)

    def ask(self, method, path, body=b"", headers=()):
        sent = []
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        asyncio.run(self.front(scope, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"]), dict(sent[0]["headers"])

    def unseal(self, **members):
        return self.ask("POST", "/api/v1/custody/unseal", json.dumps(members).encode())


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "home")


def test_health_and_status_are_answered_and_nothing_else(place):
    assert place.ask("GET", "/livez")[:2] == (200, {"status": "ok"})
    assert place.ask("GET", "/version")[0] == 200
    status, shown, _ = place.ask("GET", "/api/v1/custody")
    assert (status, shown["state"], shown["slots"][0]["plugin"]) == (200, "sealed", "passphrase")
    for method, path in (("GET", "/readyz"), ("POST", "/api/v1/encrypt"), ("GET", "/openapi.json"), ("GET", "/")):
        status, problem, headers = place.ask(method, path)
        assert (status, problem["code"], headers[b"retry-after"]) == (503, "GRD-SEAL-002", b"5")
        assert headers[b"content-type"] == b"application/problem+json"
        assert headers[b"request-id"].decode() == problem["request_id"]


def test_the_right_passphrase_opens_once_and_then_the_server_is_told(place):
    assert place.unseal(secrets={"passphrase": PHRASE})[:2] == (
        200,
        {"state": "unsealed", "slot": "passphrase-1", "have": 1, "need": 1},
    )
    assert place.done == [1]
    assert place.way.opened is not None


def test_a_wrong_one_is_403_so_that_no_client_tries_it_again_by_itself(place):
    status, problem, _ = place.unseal(secrets={"passphrase": "another passphrase"})
    assert (status, problem["code"], problem["failures"]) == (403, "GRD-SEAL-005", 1)
    assert place.done == []
    assert "another passphrase" not in json.dumps(problem)


def test_ten_attempts_a_minute(place):
    for _ in range(ATTEMPTS_PER_MINUTE):
        assert place.ask("POST", "/api/v1/custody/unseal", b"no json")[0] == 422
    status, problem, headers = place.unseal(secrets={"passphrase": PHRASE})
    assert (status, problem["code"]) == (429, "GRD-RATE-001")
    assert 0 < int(headers[b"retry-after"]) <= 61
    place.now = 61.0
    assert place.unseal(secrets={"passphrase": PHRASE})[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b'{"secrets": {"passphrase": 1}}',
        b'{"secret": "typed-by-mistake"}',
        b'{"secrets": {"a": "1", "b": "2", "c": "3"}}',
        b'{"secrets": {"shares": "typed-by-mistake"}}',
        b'{"slot": "absent-1", "secrets": {"passphrase": "typed-by-mistake"}}',
        b'"' + b"x" * MAX_BODY_BYTES + b'"',
    ],
)
def test_bodies_that_are_refused_are_not_repeated(place, body):
    status, problem, _ = place.ask("POST", "/api/v1/custody/unseal", body)
    assert status == 422
    assert "typed-by-mistake" not in json.dumps(problem)


def test_without_a_secret_only_the_owner_of_the_home_is_heard(place):
    for header in (b"", b"Bearer", b"Bearer token-of-the-hom", b"Bearer token-of-the-home2", b"token-of-the-home"):
        given = [(b"authorization", header)]
        assert place.ask("POST", "/api/v1/custody/unseal", b"{}", given)[0] == 401
    status, problem, _ = place.ask(
        "POST", "/api/v1/custody/unseal", b"", [(b"authorization", b"Bearer token-of-the-home")]
    )
    assert (status, problem["code"]) == (403, "GRD-SEAL-005")  # heard, but this slot needs a passphrase
