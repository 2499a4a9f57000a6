"""The short way of hot operations gives what the ordinary way gives: the same answers, headers and records."""

import base64
import gc
import json
import socket
import sqlite3
import struct
import time
import weakref
from contextlib import ExitStack

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from guard.api import hot as ways
from guard.api.routes import encode
from guard.audit import receipt, store
from guard.audit.entry import split
from guard.catalogue import Effect, collect
from guard.rooms import ROOMS
from tests.api.asking import Wire, request_bytes
from tests.api.conftest import LIMIT, Live, until

HOT = {name: item for name, item in collect(ROOMS).items() if item.hot}
ENCRYPT, CHECK = "/api/v1/fields/encrypt", "/api/v1/checks"
QUESTION = {"subject": "user:local|ana", "action": "keys.list", "resource": "keys/all"}
CHANGING = {"id", "salt", "time", "time_us", "node"}
"""What differs between any two records, however they came about."""


def plaintext(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def compact(value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def item(row: str, **other: str):
    return {"field": "customers.email", "context": {"row": row}, "plaintext": plaintext("ana@example.org")} | other


REQUESTS = {
    **{f"the example of {name}": (one.path, compact(dict(one.example)), {}) for name, one in HOT.items()},
    "blanks between members": (CHECK, json.dumps(QUESTION, indent=1).encode(), {}),
    "escaped letters": (CHECK, compact(QUESTION).replace(b"keys", rb"\u006beys"), {}),
    "a charset": (CHECK, compact(QUESTION), {"kind": "application/json; charset=utf-8"}),
    "a +json type": (CHECK, compact(QUESTION), {"kind": "application/vnd.x+json"}),
    "an item that fails": (ENCRYPT, compact({"items": [item("1"), item("2", plaintext="?"), item("3")]}), {}),
    "an unknown field": (ENCRYPT, compact({"items": [item("1", field="customers.shoe")]}), {}),
    "no items": (ENCRYPT, b'{"items":[]}', {}),
    "no body": (CHECK, b"", {}),
    "an array": (CHECK, b"[]", {}),
    "a number": (CHECK, b"5", {}),
    "nothing but blanks": (CHECK, b"  ", {}),
    "malformed": (CHECK, b'{"subject":', {}),
    "a duplicate member": (CHECK, compact(QUESTION)[:-1] + b',"action":"keys.list"}', {}),
    "a duplicate member with blanks": (CHECK, b'{ "items" : [], "items" : [] }', {}),
    "a duplicate inside an item": (
        ENCRYPT,
        b'{"items":[{"field":"a.b","field":"a.b","context":{},"plaintext":""}]}',
        {},
    ),
    "NaN": (CHECK, b'{"subject":NaN}', {}),
    "an unknown member": (CHECK, compact({**QUESTION, "wanda": 1}), {}),
    "another type": (CHECK, compact(QUESTION), {"kind": "text/plain"}),
    "no type": (CHECK, compact(QUESTION), {"kind": None}),
    "too large": (CHECK, b'{"subject":"' + b"x" * LIMIT + b'"}', {}),
    "chunks": (CHECK, b"", {"chunks": [compact(QUESTION)[:9], compact(QUESTION)[9:]]}),
    "chunks, too large": (CHECK, b"", {"chunks": [b" " * (LIMIT // 4)] * 5}),
    "no token": (CHECK, compact(QUESTION), {"token": None}),
    "a wrong token": (CHECK, compact(QUESTION), {"token": "grd_svc_nonsense"}),
    "a token in small letters": (
        CHECK,
        compact(QUESTION),
        {"token": None, "headers": ["authorization: bearer {full}"]},
    ),
    "two tokens, the first valid": (
        CHECK,
        compact(QUESTION),
        {"headers": ["authorization: Bearer {full}"], "token": "x"},
    ),
    "two tokens, the last valid": (CHECK, compact(QUESTION), {"headers": ["authorization: Bearer x"]}),
    "two tokens, the first empty": (CHECK, compact(QUESTION), {"headers": ["authorization:"]}),
    "two types, the first empty": (CHECK, compact(QUESTION), {"headers": ["content-type:"]}),
    "two types, the first right": (
        CHECK,
        compact(QUESTION),
        {"headers": ["content-type: application/json"], "kind": "a/b"},
    ),
    "two types, the last right": (CHECK, compact(QUESTION), {"headers": ["content-type: text/plain"]}),
    "no role": (CHECK, compact(QUESTION), {"token": "{nobody}"}),
    "a query": (CHECK + "?x=1", compact(QUESTION), {}),
    "a slash at the end": (CHECK + "/", compact(QUESTION), {}),
    "an escaped path": ("/api/v1/%63hecks", compact(QUESTION), {}),
    "closing the connection": (CHECK, compact(QUESTION), {"headers": ["connection: close"]}),
    "expecting to be asked": (CHECK, compact(QUESTION), {"headers": ["expect: 100-continue"]}),
    "an upgrade": (CHECK, compact(QUESTION), {"headers": ["connection: upgrade", "upgrade: h2c"]}),
}


@pytest.fixture
def ask_both(api, hot, plain):
    """The same bytes to both servers, and twice to the short way: the answers and the records that each left."""

    def ask(path, body, options):
        given = {"token": "{full}"} | options
        for name in ("token", "headers"):
            texts = given.get(name)
            filled = [
                text.format(full=api.full, nobody=api.nobody)
                for text in ([texts] if name == "token" and texts else texts or [])
            ]
            given[name] = (filled[0] if filled else None) if name == "token" else filled
        content = request_bytes("POST", path, body, **given)
        return [observed(api, hot, content), observed(api, plain, content), observed(api, hot, content, times=2)]

    return ask


def observed(api, server, content: bytes, times=1):
    """The last answer to *content* sent so often on one connection, as far as that stays open, and its records."""
    log = api.world.guard.log
    with Wire(server.port) as wire:
        for _ in range(times):
            before = log.size
            wire.send(content)
            answer = wire.read()
            if answer.status == 100:
                answer = wire.read()
            if answer.status == 413 or answer.headers.get("connection") == "close":
                break
    with api.world.guard.store.read() as tx:
        entries = list(store.entries(tx, before, log.size))
    bodies = [json.loads(entry)["b"] for entry in entries]
    assert ("guard-audit-id" in answer.headers) == bool(bodies)
    if bodies:
        assert answer.headers["guard-audit-id"] == bodies[-1]["id"]
        given = receipt.parse(answer.headers["guard-audit-receipt"])
        receipt.verify(given, log.origin, [log.receipts.verifier], split(entries[-1])[0])
    records = [{name: value for name, value in body.items() if name not in CHANGING} for body in bodies]
    for record in records:
        assert record["request"].pop("id", None) in {answer.headers["request-id"], None}
    return answer, records


def settled(answer):
    """An answer without what is drawn anew for each request."""
    # Whether the connection stays open after a body that was too large is between the two ends of it.
    own = {"request-id", "guard-audit-id", "guard-audit-receipt"} | ({"connection"} if answer.status == 413 else set())
    headers = {name: value for name, value in answer.headers.items() if name not in own}
    members = answer.json
    members.pop("request_id", None)
    for result in members.get("results", ()):
        if "ciphertext" in result:
            result["ciphertext"] = len(result["ciphertext"])
    return answer.status, headers, members


def sameness(records):
    for record in records:
        record.get("data", {}).pop("sealed", None)
        # A commitment is never twice the same, so that equal addresses look different.
        record["sealed"] = {name: len(text) for name, text in record.get("sealed", {}).items()}
    return records


@pytest.mark.parametrize(("path", "body", "options"), REQUESTS.values(), ids=REQUESTS.keys())
def test_both_ways_answer_and_record_alike(ask_both, path, body, options):
    (short, short_records), (long, long_records), (again, again_records) = ask_both(path, body, options)
    assert settled(short) == settled(long) == settled(again)
    assert sameness(short_records) == sameness(long_records) == sameness(again_records)
    assert short.status != 500


@pytest.fixture
def parsed(monkeypatch):
    """The messages that the parser was given, as they came."""
    seen, feed = [], HttpToolsProtocol.data_received

    def data_received(self, data):
        seen.append(data)
        feed(self, data)

    monkeypatch.setattr(HttpToolsProtocol, "data_received", data_received)
    return seen


def test_a_head_that_comes_again_is_parsed_once_and_any_other_is_parsed(api, hot, parsed):
    def question(subject, **options):
        return request_bytes("POST", CHECK, compact({**QUESTION, "subject": subject}), token=api.full, **options)

    bodies = [question("user:local|ana"), question("user:local|bob"), question("user:local|eve")]
    longer, other = question("user:local|zachary"), question("user:local|ana", headers=["accept: a/b"])
    with Wire(hot.port) as wire:
        for content in [*bodies, longer, longer, other, bodies[0]]:
            wire.send(content)
            assert wire.read().status == 200
    assert parsed == [bodies[0], longer, other, bodies[0]]


def test_the_same_head_with_a_body_that_comes_later_or_with_more_behind_it_is_parsed(api, hot, parsed):
    content = request_bytes("POST", CHECK, compact(QUESTION), token=api.full)
    with Wire(hot.port) as wire:
        wire.send(content)
        assert wire.read().status == 200
        wire.send(content[:-5])
        time.sleep(0.1)
        wire.send(content[-5:])
        assert wire.read().status == 200
        wire.send(content + content + content)
        assert [wire.read().status for _ in range(3)] == [200, 200, 200]
        wire.send(content)  # from here on nobody knows where the parser stands
        assert wire.read().status == 200
    assert b"".join(parsed) == content * 6


def test_half_a_head_is_never_taken_for_a_message_of_the_one_before(api, hot):
    """As long as the body before it and three letters, so that it might pass for a message without an end of its head.

    What follows would then be run for the actor of the message before, whoever sent it through a shared connection.
    """
    body = compact(QUESTION)
    length = len(body) + len("POS")
    head = request_bytes("POST", CHECK, body, token=api.nobody, headers=["x-a: " + "a" * length])
    cut = head.index(b"aaa")
    first = head[:cut] + b"a" * (length - cut)
    rest = head[head.index(b"\r\n", cut) :]
    with Wire(hot.port) as wire:
        assert wire.ask("POST", CHECK, body, token=api.full).status == 200
        for piece in (first, b"POS" + body, rest):
            wire.send(piece)
            time.sleep(0.05)
        assert wire.read().status == 403
        assert wire.ask("POST", CHECK, body, token=api.full).status == 200


@pytest.fixture
def mortal(api):
    """A server whose connections may be quiet for a moment only, and those of them that are still in memory."""
    alive: weakref.WeakSet = weakref.WeakSet()

    class Mortal(api.world.guard.protocol):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            self.timeout_keep_alive = 0.1
            alive.add(self)

    live = Live(api, Mortal)
    yield live, alive
    live.stop()


def test_a_connection_that_is_cut_while_a_remembered_request_waits_is_forgotten(api, mortal):
    live, alive = mortal
    content = request_bytes("POST", CHECK, compact(QUESTION), token=api.full)
    blocker = sqlite3.connect(api.world.guard.store.path, isolation_level=None)
    with Wire(live.port) as wire:
        wire.send(content)
        assert wire.read().status == 200
        blocker.execute("BEGIN IMMEDIATE")
        wire.send(content)
        time.sleep(0.02)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.05)
    blocker.execute("ROLLBACK")
    blocker.close()
    until(lambda: gc.collect() >= 0 and not alive)


def test_an_answer_that_cannot_be_written_fails_alone(api, hot, monkeypatch):
    """Of four whose records share a commit, two get an error and two their answers."""

    def failing(answer):
        if answer["results"][0].get("problem"):
            raise TypeError("a text that nobody may see")
        return encode(answer)

    monkeypatch.setattr(ways, "encode", failing)
    good, bad = compact({"items": [item("1")]}), compact({"items": [item("1", plaintext="?")]})
    blocker = sqlite3.connect(api.world.guard.store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with ExitStack() as opened:
        wires = [opened.enter_context(Wire(hot.port)) for _ in range(4)]
        for wire, body in zip(wires, [bad, good, bad, good], strict=True):
            wire.send(request_bytes("POST", ENCRYPT, body, token=api.full))
        time.sleep(0.1)
        blocker.execute("ROLLBACK")
        answers = [wire.read() for wire in wires]
    blocker.close()
    assert [one.status for one in answers] == [500, 200, 500, 200]
    assert not any(b"nobody may see" in one.all_bytes for one in answers)


def test_hot_operations_compute_in_memory_only():
    assert HOT
    assert all(one.effect is Effect.NONE and "{" not in one.path and one.method == "POST" for one in HOT.values())


@pytest.mark.parametrize("name", sorted(HOT))
def test_the_answer_of_a_hot_operation_fits_its_model(api, hot, name):
    one = HOT[name]
    example = dict(one.example)
    if any("ciphertext" in item for item in example.get("items", ())):
        sealed = api.encrypt("ana@example.org")[0]
        example["items"] = [{**example["items"][0], "context": {"row": "0"}, "ciphertext": sealed}]
    answer = hot.ask("POST", one.path, compact(example), token=api.full)
    assert answer.status == 200
    assert all("problem" not in result for result in answer.json.get("results", ()))
    one.gives.model_validate_json(answer.body, strict=True)
