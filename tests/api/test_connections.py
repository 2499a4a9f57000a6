"""What clients do to connections: bodies in pieces, too much of them, hanging up at every moment, many requests at once."""

import base64
import json
import logging
import socket
import sqlite3
import struct
import time

import pytest
import uvicorn

from tests.api.asking import Wire, ask, request_bytes
from tests.api.conftest import LIMIT, Live, until

CHECK = "/api/v1/checks"
QUESTION = b'{"subject":"user:local|ana","action":"keys.list","resource":"keys/all"}'


@pytest.fixture(params=["hot", "plain"])
def server(request):
    """Each test below holds on both ways."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def held_writer(api):
    """While open, nothing can be committed: another connection holds the write lock of the store."""
    blocker = sqlite3.connect(api.world.guard.store.path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    yield lambda: blocker.execute("ROLLBACK") if blocker.in_transaction else None
    blocker.close()


KEEP_ALIVE_SECONDS = uvicorn.Config(None).timeout_keep_alive


def reset(wire: Wire) -> None:
    """Cut the connection at once (RST), as a client that crashed does."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def big_encrypt(size: int) -> bytes:
    plaintext = base64.b64encode(b"a" * size).decode()
    return json.dumps(
        {"items": [{"field": "customers.email", "context": {"row": "1"}, "plaintext": plaintext}]}
    ).encode()


def test_a_body_of_many_pieces_is_read_whole(api, server):
    request = request_bytes("POST", "/api/v1/fields/encrypt", big_encrypt(LIMIT // 2), token=api.full)
    with Wire(server.port) as wire:
        for at in range(0, len(request), 30_000):
            wire.send(request[at : at + 30_000])
            time.sleep(0.001)
        answer = wire.read()
    assert answer.status == 200
    assert "ciphertext" in answer.json["results"][0]


def test_a_request_byte_by_byte_is_read_whole(api, server):
    with Wire(server.port) as wire:
        for byte in request_bytes("POST", CHECK, QUESTION, token=api.full):
            wire.send(bytes([byte]))
        assert wire.read().status == 200


def test_a_chunked_body_over_the_limit_ends_before_it_is_whole(api, server):
    head = request_bytes("POST", CHECK, token=api.full, chunks=[]).removesuffix(b"0\r\n\r\n")
    piece = b"%x\r\n%b\r\n" % (LIMIT // 4, b" " * (LIMIT // 4))
    with Wire(server.port) as wire:
        wire.send(head + piece * 5)  # and no end
        answer = wire.read()
    assert (answer.status, answer.code) == (413, "GRD-HTTP-413")


def test_a_client_that_hangs_up_within_its_body_leaves_no_trace_of_failure(api, server, caplog, capfd):
    with caplog.at_level(logging.WARNING):
        for cut in (1, 40):
            with Wire(server.port) as wire:
                wire.send(request_bytes("POST", CHECK, QUESTION, token=api.full)[:-cut])
        with Wire(server.port) as wire:
            wire.send(request_bytes("POST", CHECK, QUESTION, token=api.full)[:-9])
            time.sleep(0.05)
            reset(wire)
        assert server.ask("POST", CHECK, QUESTION, token=api.full).status == 200
    captured = capfd.readouterr()
    assert "unforeseen" not in captured.out + captured.err + caplog.text
    assert "Traceback" not in captured.out + captured.err + caplog.text


@pytest.mark.parametrize("path", [CHECK, "/api/v1/runs", "/api/v1/events", "/api/v1/censuses"])
def test_hanging_up_within_a_body_is_a_malformed_body_to_the_application(api, path):
    answer = ask(api.world.guard.front, "POST", path, parts=[b'{"a'], hang_up=True, token=api.full)
    assert (answer.status, answer.code) == (400, "GRD-HTTP-400")


def test_who_hangs_up_while_waiting_is_on_record_and_the_others_get_their_answers(api, server, held_writer):
    with Wire(server.port) as gone, Wire(server.port) as staying:
        gone.send(request_bytes("POST", CHECK, QUESTION.replace(b"keys.list", b"keys.read"), token=api.full))
        time.sleep(0.05)
        staying.send(request_bytes("POST", CHECK, QUESTION, token=api.full))
        time.sleep(0.05)
        reset(gone)
        time.sleep(0.05)
        held_writer()
        assert staying.read().status == 200
    assert len(api.world.records("acme", action="checks.evaluate", limit=2)) == 2


def test_who_hangs_up_with_requests_queued_stops_nobody_else(api, server, held_writer, caplog):
    """Three at once on one connection, cut before the first is durable; a neighbour in the same commit is answered."""
    with Wire(server.port) as gone, Wire(server.port) as staying:
        gone.send(request_bytes("POST", CHECK, QUESTION, token=api.full) * 3)
        time.sleep(0.05)
        staying.send(request_bytes("POST", CHECK, QUESTION, token=api.full))
        time.sleep(0.05)
        reset(gone)
        time.sleep(0.05)
        held_writer()
        assert staying.read().status == 200
        assert staying.ask("POST", CHECK, QUESTION, token=api.full).status == 200
    assert "Traceback" not in caplog.text


def test_a_request_sent_again_before_its_answer_waits_its_turn(api, server, held_writer):
    with Wire(server.port) as wire:
        for _ in range(2):
            wire.send(request_bytes("POST", CHECK, QUESTION, token=api.full))
            time.sleep(0.05)
        held_writer()
        answers = [wire.read() for _ in range(2)]
    assert [one.status for one in answers] == [200, 200]
    assert len({one.headers["guard-audit-id"] for one in answers}) == 2


def test_a_connection_ends_when_it_was_quiet_for_its_time_and_no_earlier(api, server):
    request = request_bytes("POST", CHECK, QUESTION, token=api.full)
    with Wire(server.port) as wire:
        began = time.monotonic()
        while time.monotonic() - began < 1.5 * KEEP_ALIVE_SECONDS:
            wire.send(request)
            assert wire.read().status == 200
            time.sleep(KEEP_ALIVE_SECONDS / 4)
        last = time.monotonic()
        assert wire.socket.recv(1) == b""
        quiet = time.monotonic() - last + KEEP_ALIVE_SECONDS / 4
    assert KEEP_ALIVE_SECONDS - 0.2 <= quiet <= KEEP_ALIVE_SECONDS + 2


def test_requests_sent_at_once_are_answered_in_order(api, server):
    asked = [b"keys.list", b"keys.read", b"keys.rotate", b"fields.list"]
    requests = [request_bytes("POST", CHECK, QUESTION.replace(b"keys.list", one), token=api.full) for one in asked]
    requests.insert(2, request_bytes("GET", "/api/v1/whoami", token=api.full, kind=None))
    with Wire(server.port) as wire:
        wire.send(b"".join(requests))
        answers = [wire.read() for _ in requests]
    assert [answer.status for answer in answers] == [200] * 5
    assert "subject" in answers[2].json
    assert all("allow" in answer.json for number, answer in enumerate(answers) if number != 2)
    assert len({answer.headers["request-id"] for answer in answers}) == 5


def test_one_connection_serves_many_requests_of_every_kind(api, server):
    with Wire(server.port) as wire:
        for _ in range(3):
            assert wire.ask("POST", CHECK, QUESTION, token=api.full).status == 200
            assert wire.ask("GET", "/api/v1/keys", token=api.full).status == 200
            assert wire.ask("POST", CHECK, b"{", token=api.full).status == 400
            assert wire.ask("POST", CHECK, QUESTION).status == 401
            assert wire.ask("GET", "/livez").status == 200


def test_a_kept_connection_forgets_a_token_when_it_is_revoked(api, server):
    root = api.world.gate.identify(f"Bearer {api.full}", "test")
    minted = api.world.call("tokens.create", root, subject="user:local|ana", kind="pat")
    with Wire(server.port) as wire:
        assert wire.ask("POST", CHECK, QUESTION, token=minted.token).status == 200
        assert wire.ask("POST", CHECK, QUESTION, token=minted.token).status == 200
        api.world.call("tokens.revoke", root, handle=minted.handle)
        assert wire.ask("POST", CHECK, QUESTION, token=minted.token).status == 401
        assert wire.ask("POST", CHECK, QUESTION, token=api.full).status == 200


def test_a_kept_connection_forgets_a_token_when_it_ends(api, server):
    root = api.world.gate.identify(f"Bearer {api.full}", "test")
    token = api.world.call("tokens.create", root, subject="user:local|ana", expires_in_seconds=60).token
    with Wire(server.port) as wire:
        assert wire.ask("POST", CHECK, QUESTION, token=token).status == 200
        api.world.clock.advance(61)
        assert wire.ask("POST", CHECK, QUESTION, token=token).status == 401


def test_a_kept_connection_obeys_a_grant_that_was_taken_back(api, server):
    root = api.world.gate.identify(f"Bearer {api.full}", "test")
    token = api.world.call("tokens.create", root, subject="svc:shop").token
    grant = api.world.call("grants.add", root, member="svc:shop", role="role:storing-service").id
    with Wire(server.port) as wire:
        assert wire.ask("POST", CHECK, QUESTION, token=token).status == 200
        api.world.call("grants.remove", root, grant=grant)
        assert wire.ask("POST", CHECK, QUESTION, token=token).status == 403


def test_a_kept_connection_changes_its_actor_with_its_token(api, server):
    with Wire(server.port) as wire:
        first = wire.ask("POST", CHECK, QUESTION, token=api.full)
        second = wire.ask("POST", CHECK, QUESTION, token=api.nobody)
        third = wire.ask("POST", CHECK, QUESTION, token=api.full)
    assert [first.status, second.status, third.status] == [200, 403, 200]


@pytest.mark.parametrize("protocol", ["hot", "plain"])
def test_a_server_that_stops_answers_what_it_began_and_closes_what_idles(api, held_writer, protocol):
    live = Live(api, api.world.guard.protocol if protocol == "hot" else "httptools")
    with Wire(live.port) as idle, Wire(live.port) as waiting:
        assert idle.ask("GET", "/livez").status == 200
        waiting.send(request_bytes("POST", CHECK, QUESTION, token=api.full))
        time.sleep(0.05)
        live._server.should_exit = True
        until(idle.ended)
        held_writer()
        answer = waiting.read()
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert waiting.ended()
    live.stop()
