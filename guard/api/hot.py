"""Hot operations (encrypt, decrypt, check) answered by the HTTP protocol itself, before any ASGI machinery runs.

uvicorn's protocol makes a task, an event and a scope for each request, and FastAPI's stack more; together they cost
several times the cryptography. Here a request for a hot operation waits in the commit pipeline as its own waiter and is
answered with one write. Law: the same catalogue entry, the same gate, the same parser and the same problems as on any
route; whatever is unusual (no valid token, HTTP/1.0, pipelining, `Expect`) takes the ordinary way, unchanged.
A client sends the same head again and again. Where a request is, byte for byte, the last head of its connection and as
much body as that one announced, what the parser found stands, and it need not look again: a tenth of a request.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from guard.api import body as bodies
from guard.api.asgi import REQUEST_ID_BYTES, SECURITY
from guard.api.problem import REASONS, problem
from guard.api.routes import encode, evidence
from guard.catalogue import Actor, Effect, Operation
from guard.db.unit import Unit
from guard.errors import GuardError
from guard.gate import Gate, attempt

FIXED = b"".join(name + b": " + value + b"\r\n" for name, value in SECURITY)
ONCE = {b"authorization", b"content-type"}
HEAD_END = b"\r\n\r\n"
JSON = b"content-type: application/json\r\n" + FIXED


@dataclass(frozen=True, slots=True)
class Door:
    """What every connection of one server shares: the gate, its hot operations by method and URL, and the limits."""

    gate: Gate
    routes: Mapping[tuple[bytes, bytes], Operation]
    max_body_bytes: int
    random: Callable[[int], bytes]


def protocol(gate: Gate, max_body_bytes: int, random: Callable[[int], bytes]) -> type[HttpToolsProtocol]:
    """The protocol class to give to uvicorn as `http`."""
    hot = [item for item in gate.operations.values() if item.hot and item.effect is Effect.NONE]
    routes = {(str(item.method).encode(), str(item.path).encode()): item for item in hot}

    class Protocol(HotProtocol):
        door = Door(gate, routes, max_body_bytes, random)

    return Protocol


class HotProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a shorter way for hot operations."""

    door: ClassVar[Door]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.memo = Memo()
        self.at_rest = True  # the parser stands between two messages and has seen every byte before
        self.answered_s = 0.0  # on the loop's clock

    def data_received(self, data: bytes) -> None:
        """A part of a message, or as nearly always a whole one."""
        memo = self.memo
        if self.at_rest and len(data) == memo.length and data.startswith(memo.head) and self._idle():
            exchange = self._exchange(memo.operation)
            if exchange.remembered(data):
                self.cycle = exchange  # type: ignore[assignment]  # has what the protocol asks of a cycle
                exchange.complete()
                return
        began, self.at_rest = self.at_rest, False
        before: Any = self.cycle
        super().data_received(data)
        cycle: Any = self.cycle
        # An exchange that was there before is not what this data is of: it may be the first half of another's head.
        if began and cycle is not before and isinstance(cycle, Exchange):
            self.at_rest = memo.learn(cycle, data)

    def on_headers_complete(self) -> None:
        """The parser knows the head: take the shorter way if it is that of a hot operation."""
        operation = self.door.routes.get((self.parser.get_method(), self.url))
        if operation is not None and self._idle() and not self.expect_100_continue:
            exchange = self._exchange(operation)
            if exchange.recognised():
                self.cycle = exchange  # type: ignore[assignment]  # see above
                return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The parser has the whole body."""
        cycle: Any = self.cycle
        if isinstance(cycle, Exchange):
            cycle.complete()
        else:
            super().on_message_complete()

    def answered(self) -> None:
        """The answer of an exchange is written. A timer that runs goes on running: making one each time costs 2 us."""
        self.answered_s = self.loop.time()
        if self.timeout_keep_alive_task is None or self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """The timer ended: close what was idle for so long, else wait for the rest of the time."""
        if self.transport.is_closing():  # cut while a request was under way, which nobody will ever answer
            self.timeout_keep_alive_task = None
            return
        rest = self.answered_s + self.timeout_keep_alive - self.loop.time()
        if self._idle() and rest <= 0:
            super().timeout_keep_alive_handler()
        else:
            wait = rest if rest > 0 else self.timeout_keep_alive
            self.timeout_keep_alive_task = self.loop.call_later(wait, self.timeout_keep_alive_handler)

    def _idle(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete

    def _exchange(self, operation: Operation) -> "Exchange":
        return Exchange(operation, self, "req_" + self.door.random(REQUEST_ID_BYTES).hex())


class Memo:
    """What a connection's last request said of itself: its head, and whom its token stood for.

    The head holds for ever, the actor until any token changes or this one ends.
    """

    __slots__ = (
        *("_actor", "_authorization", "_expires_us", "_state"),
        *("authorization", "content_type", "head", "length", "operation"),
    )

    def __init__(self) -> None:
        self.head, self.length = b"", 0  # length: of the whole message
        self.operation: Any = None  # an Operation wherever the length is not zero
        self.authorization, self.content_type = b"", ""
        self._authorization, self._expires_us = b"", 0
        self._state: object = None
        self._actor: Actor | None = None

    def learn(self, exchange: "Exchange", data: bytes) -> bool:
        """Keep the head of *data*, which the parser took for *exchange*; False where that is not one whole message."""
        end = data.find(HEAD_END) + len(HEAD_END)
        if exchange.more_body or exchange.content_length < 0 or end + exchange.content_length != len(data):
            return False
        self.head, self.length, self.operation = data[:end], len(data), exchange.operation
        self.authorization, self.content_type = exchange.authorization, exchange.content_type
        return True

    def actor(self, gate: Gate, authorization: bytes) -> Actor | None:
        """The actor of an `Authorization` header; None where it is not valid now."""
        state = gate.credentials_state
        fresh = authorization == self._authorization and state is self._state and gate.now_us() < self._expires_us
        if not fresh:
            found = gate.recognise(authorization.decode("latin-1"))
            if found is None:
                return None
            self._authorization, self._state = authorization, state
            self._actor, self._expires_us = found
        return self._actor


class Exchange:
    """One hot request and its answer: the cycle of its connection, and the waiter of its unit in the pipeline."""

    __slots__ = (
        *("_actor", "_door", "_protocol", "_request_id", "_unit"),
        *("authorization", "content_length", "content_type", "operation"),
        *("body", "disconnected", "keep_alive", "more_body", "response_complete"),  # what the protocol looks at
    )

    def __init__(self, operation: Operation, via: HotProtocol, request_id: str) -> None:
        self.operation, self._protocol, self._door, self._request_id = operation, via, via.door, request_id
        self._actor: Actor | None = None
        self._unit: Unit | None = None
        self.authorization, self.content_type = b"", ""
        self.content_length = -1  # none, or a body of another framing
        self.body: bytes | bytearray = bytearray()
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True

    # what the protocol asks of a cycle

    @property
    def message_event(self) -> "Exchange":
        """What the protocol tells of more body and of the end: this. Kept, it would be a cycle for the collector."""
        return self

    def recognised(self) -> bool:
        """Whether the ordinary case is at hand: HTTP/1.1, kept open, a body within the limit, and a valid token."""
        parser = self._protocol.parser
        if parser.get_http_version() != "1.1" or not parser.should_keep_alive() or parser.should_upgrade():
            return False
        if not self._read(self._protocol.headers):
            return False
        self._actor = self._protocol.memo.actor(self._door.gate, self.authorization)
        return self._actor is not None

    def _read(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Take what matters of the headers; False where one of them comes twice or announces too much."""
        seen = set()
        for name, value in headers:
            if name in ONCE:
                if name in seen:  # even an empty one: which of the two counts is for the ordinary way to say
                    return False
                seen.add(name)
            if name == b"authorization":
                self.authorization = value
            elif name == b"content-type":
                self.content_type = value.decode("latin-1")
            elif name == b"content-length":
                if len(value) > len(str(self._door.max_body_bytes)):
                    return False
                self.content_length = int(value)
        return True

    def remembered(self, data: bytes) -> bool:
        """Take what the memo knows of the head of *data*; False where its token is not valid now."""
        memo = self._protocol.memo
        self._actor = memo.actor(self._door.gate, memo.authorization)
        self.content_type = memo.content_type
        self.body = data[len(memo.head) :]
        return self._actor is not None

    def set(self) -> None:
        """More of the body came, or the connection ended; too much of a body ends the exchange at once."""
        if not self.disconnected:
            self._protocol.flow.resume_reading()  # the protocol pauses at 64 KiB and leaves it to us to go on
        if len(self.body) > self._door.max_body_bytes and self.more_body and not self.response_complete:
            self.keep_alive = self.more_body = False
            self._unusual(self._run)

    def complete(self) -> None:
        """The body is whole: run the operation; its answer is written when its record is durable."""
        if self.response_complete or not self.more_body:
            return
        self.more_body = False
        self._protocol.flow.resume_reading()
        self._unusual(self._run)

    def _run(self) -> None:
        gate, body = self._door.gate, bytes(self.body)
        assert self._actor is not None
        try:
            bodies.size(len(body), self._door.max_body_bytes)
            bodies.media_type(self.content_type, body)
            request = bodies.parse(self.operation, body, {}, {})
            unit: Unit = gate.begin(self.operation, request, self._actor, self._request_id)
        except GuardError as error:
            unit = gate.refused(self.operation, error, self._request_id, self._actor)
        unit.waiter, self._unit = self, unit
        gate.submit(unit)

    def _unusual(self, work: Callable[[], None]) -> None:
        error = attempt(work, self._request_id)
        if error is not None:
            self.set_exception(error)

    # what the pipeline asks of a waiter

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which the answer is to be written."""
        loop: asyncio.AbstractEventLoop = self._protocol.loop
        return loop

    def done(self) -> bool:
        """Whether nobody waits any more."""
        return self.response_complete or self.disconnected

    def set_result(self, answer: Any) -> None:
        """Write the answer; one that cannot be written is its own failure and not that of those who wait behind it."""
        self._unusual(lambda: self._write(b"HTTP/1.1 200 OK\r\n" + JSON, encode(answer)))

    def set_exception(self, error: BaseException) -> None:
        """Write the problem."""
        if self.done() or not isinstance(error, GuardError):
            return
        status, content, headers = problem(error, self._request_id)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._write(f"HTTP/1.1 {status} {REASONS[status]}\r\n{lines}".encode() + FIXED, content)

    def _write(self, head: bytes, content: bytes) -> None:
        close = b"" if self.keep_alive else b"connection: close\r\n"
        lines = [f"{name}: {value}\r\n" for name, value in evidence(self._unit)] if self._unit is not None else ()
        tail = b"%b%brequest-id: %b\r\ncontent-length: %d\r\n\r\n" % (
            close,
            "".join(lines).encode(),
            self._request_id.encode(),
            len(content),
        )
        transport = self._protocol.transport
        transport.write(head + tail + content)
        self.response_complete = True
        if not self.keep_alive:
            transport.close()
        self._protocol.answered()
