"""Hot operations (encrypt, decrypt, check) answered by the HTTP protocol itself, before any ASGI machinery runs.

uvicorn's protocol makes a task, an event and a scope for each request, and FastAPI's stack more; together they cost
several times the cryptography. Here a request for a hot operation waits in the commit pipeline as its own waiter and is
answered with one write. Law: the same catalogue entry, the same gate, the same parser and the same problems as on any
route; whatever is unusual (no valid token, HTTP/1.0, pipelining, `Expect`) takes the ordinary way, unchanged.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from guard.api import body as bodies
from guard.api.asgi import REQUEST_ID_BYTES, SECURITY
from guard.api.problem import REASONS, problem
from guard.api.routes import encode, evidence
from guard.catalogue import Actor, Effect, Operation
from guard.db.commit import Unit
from guard.errors import GuardError
from guard.gate import Gate, attempt

FIXED = b"".join(name + b": " + value + b"\r\n" for name, value in SECURITY)
JSON = b"content-type: application/json\r\n" + FIXED


def protocol(gate: Gate, max_body_bytes: int, random: Callable[[int], bytes]) -> type[HttpToolsProtocol]:
    """The protocol class to give to uvicorn as `http`."""
    hot = [item for item in gate.operations.values() if item.hot and item.effect is Effect.NONE]
    routes: Mapping[tuple[bytes, bytes], Operation] = {
        (str(item.method).encode(), str(item.path).encode()): item for item in hot
    }

    class Protocol(HttpToolsProtocol):
        """uvicorn's protocol, with a shorter way for hot operations."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.memo = Memo()

        def on_headers_complete(self) -> None:
            operation = routes.get((self.parser.get_method(), self.url))
            before: Any = self.cycle
            idle = before is None or before.response_complete
            if operation is not None and idle and not self.expect_100_continue:
                number = random(REQUEST_ID_BYTES).hex()
                exchange = Exchange(gate, operation, self, self.memo, max_body_bytes, number)
                if exchange.recognised():
                    self.cycle = exchange  # type: ignore[assignment]  # has what the protocol asks of a cycle
                    return
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            cycle: Any = self.cycle
            if isinstance(cycle, Exchange):
                cycle.complete()
            else:
                super().on_message_complete()

    return Protocol


class Memo:
    """Whom the token of a connection's last request stood for, until any token changes or this one ends."""

    __slots__ = ("_actor", "_authorization", "_expires_us", "_state")

    def __init__(self) -> None:
        self._authorization, self._expires_us = b"", 0
        self._state: object = None
        self._actor: Actor | None = None

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
        "_actor",
        "_content_type",
        "_gate",
        "_limit",
        "_memo",
        "_operation",
        "_protocol",
        "_request_id",
        "_unit",
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
    )

    def __init__(
        self, gate: Gate, operation: Operation, via: HttpToolsProtocol, memo: Memo, limit: int, number: str
    ) -> None:
        self._memo = memo
        self._gate, self._operation, self._protocol, self._limit = gate, operation, via, limit
        self._request_id = "req_" + number
        self._actor: Actor | None = None
        self._unit: Unit | None = None
        self._content_type = ""
        self.body = bytearray()
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
        authorization = b""
        for name, value in self._protocol.headers:
            if name == b"authorization":
                if authorization:
                    return False
                authorization = value
            elif name == b"content-type":
                if self._content_type:
                    return False
                self._content_type = value.decode("latin-1")
            elif name == b"content-length" and len(value) > len(str(self._limit)):
                return False
        parser = self._protocol.parser
        if parser.get_http_version() != "1.1" or not parser.should_keep_alive() or parser.should_upgrade():
            return False
        self._actor = self._memo.actor(self._gate, authorization)
        return self._actor is not None

    def set(self) -> None:
        """More of the body came, or the connection ended; too much of a body ends the exchange at once."""
        if not self.disconnected:
            self._protocol.flow.resume_reading()  # the protocol pauses at 64 KiB and leaves it to us to go on
        if len(self.body) > self._limit and self.more_body and not self.response_complete:
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
        gate, body = self._gate, bytes(self.body)
        assert self._actor is not None
        try:
            bodies.size(len(body), self._limit)
            bodies.media_type(self._content_type, body)
            request = bodies.parse(self._operation, body, {}, {})
            unit: Unit = gate.begin(self._operation, request, self._actor, self._request_id)
        except GuardError as error:
            unit = gate.refused(self._operation, error, self._request_id, self._actor)
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
        """Write the answer."""
        self._write(b"HTTP/1.1 200 OK\r\n" + JSON, encode(answer))

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
        self._protocol.on_response_complete()
