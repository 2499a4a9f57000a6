"""What is tried again and what is not: only what was refused before anything was done, and never past the deadline."""

import time

import pytest

from guard.client import Address, Client
from guard.client.session import RETRIES
from guard.errors import (
    AuditOutcomeUnknown,
    Conflict,
    InternalError,
    Overloaded,
    RateLimited,
    Unreachable,
)
from tests.client.canned import Canned, Reply, problem

FINE = Reply(body=b'{"fine":true}')
FULL = problem("GRD-STORE-004", 503)


@pytest.mark.parametrize(
    "refusals",
    [
        [FULL] * 3,
        [problem("GRD-RATE-001", 429)],
        [problem("GRD-AUDIT-001", 503)],
        [FULL, problem("GRD-RATE-001", 429)],
    ],
)
@pytest.mark.parametrize("operation", ["keys.list", "checks.evaluate", "checkpoints.publish"])
def test_a_refusal_before_anything_was_done_is_tried_again(operation, refusals):
    with Canned(*refusals, FINE) as server, server.client() as client:
        assert client.call(operation, subject="x") == {"fine": True}
        assert len(server.asked) == len(refusals) + 1
        assert len({(one.line, one.body) for one in server.asked}) == 1, "each time the same request"


@pytest.mark.parametrize(
    ("reply", "error"), [(FULL, Overloaded), (problem("GRD-RATE-001", 429), RateLimited)], ids=["full", "slow down"]
)
def test_it_gives_up_after_the_last_try_and_raises_what_the_server_said(reply, error):
    with Canned(reply) as server, server.client() as client:
        with pytest.raises(error):
            client.call("keys.list")
        assert len(server.asked) == RETRIES + 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (problem("GRD-AUDIT-002", 503), AuditOutcomeUnknown),
        (problem("GRD-STORE-410", 409), Conflict),
        (problem("GRD-HTTP-500", 500), InternalError),
        (Reply(502, b"bad gateway"), InternalError),
        (Reply(302, b"", {"location": "http://example.org/"}), InternalError),
    ],
    ids=["outcome unknown", "conflict", "internal", "a proxy", "a redirect"],
)
def test_what_may_have_been_done_is_not_tried_again(reply, error):
    with Canned(reply, FINE) as server, server.client() as client:
        with pytest.raises(error):
            client.call("keys.rotate", key="customers.email")
        assert len(server.asked) == 1


def test_an_answer_that_breaks_off_is_not_tried_again():
    with Canned(Reply(body=b"x" * 1000, cut=True), FINE) as server, server.client() as client:
        with pytest.raises(Unreachable):
            client.call("keys.rotate", key="customers.email")
        assert len(server.asked) == 1


def test_the_pause_is_below_what_the_server_asks_for():
    slow = problem("GRD-RATE-001", 429)
    slow = Reply(slow.status, slow.body, {**slow.headers, "retry-after": "1"})
    with Canned(slow, FINE) as server, server.client() as client:
        began = time.monotonic()
        client.call("keys.list")
        assert 0.4 <= time.monotonic() - began < 1.5


@pytest.mark.parametrize("asked", ["3600", "9" * 30, "Wed, 21 Oct 2026 07:28:00 GMT", "٥"])
def test_no_retry_after_makes_a_call_longer_than_its_deadline(asked):
    slow = Reply(503, FULL.body, {**FULL.headers, "retry-after": asked.encode().decode("latin-1")})
    with Canned(slow) as server, server.client(total_seconds=2) as client:
        began = time.monotonic()
        with pytest.raises(Overloaded):
            client.call("keys.list")
        assert time.monotonic() - began < 2.5
        assert server.asked


def test_a_server_that_never_answers_is_given_up_at_the_deadline():
    with Canned(Reply(silent=True)) as server, server.client(total_seconds=0.3) as client:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="ReadTimeout"):
            client.call("keys.list")
        assert time.monotonic() - began < 2
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://[",
        "http://127.0.0.1:99999",
        "ftp://x",
        "",
        "127.0.0.1:8420",
        "http://nope.invalid",
    ],
)
def test_no_server_is_one_sentence_with_the_address(url):
    with Client(Address(url, "grd_svc_canary")) as client:
        with pytest.raises(Unreachable) as refusal:
            client.call("keys.list")
        assert f"at {url}," in refusal.value.detail
        assert "canary" not in str(refusal.value)
        assert refusal.value.__cause__ is None
