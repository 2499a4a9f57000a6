"""The outermost ASGI application: request id, security headers, last resort, and the dispatcher of hot operations.

Law: a hot operation passes the same gate with the same catalogue entry as any other; only the web framework's own
machinery, which costs more than the cryptography, is left out. Nothing is sent before the record is durable.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from guard.api import body as bodies
from guard.api.problem import problem
from guard.api.routes import encode, peer
from guard.catalogue import Effect, Operation
from guard.errors import GuardError, MalformedBody, Unauthenticated
from guard.gate import Gate, last_resort

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID_BYTES = 12
SECURITY = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
JSON = (b"content-type", b"application/json")


class Front:
    """`(scope, receive, send)`: what the server runs. *inner* is the FastAPI application."""

    def __init__(self, gate: Gate, inner: App, max_body_bytes: int) -> None:
        self._gate = gate
        self._inner = inner
        self._limit = max_body_bytes
        hot = [item for item in gate.operations.values() if item.hot and item.effect is Effect.NONE]
        self._hot: Mapping[tuple[str, str], Operation] = {(str(i.method), str(i.path)): i for i in hot}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        request_id = "req_" + secrets.token_hex(REQUEST_ID_BYTES)
        scope["guard.request_id"] = request_id
        started = False

        async def reply(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"request-id", request_id.encode()), *SECURITY]
            await send(message)

        async def failed(error: GuardError) -> None:
            if not started:
                await _refuse(error, request_id, reply)

        operation = self._hot.get((scope["method"], scope["path"]))
        if operation is None:
            work = self._inner(scope, receive, reply)
        else:
            work = self._dispatch(operation, scope, receive, reply)
        await last_resort(work, failed, request_id)

    async def _dispatch(self, operation: Operation, scope: Scope, receive: Receive, send: Send) -> None:
        gate, request_id = self._gate, scope["guard.request_id"]
        authorization, content_type = _headers(scope)
        try:
            actor = gate.identify(authorization, peer(scope))
        except Unauthenticated as error:
            await gate.settle(gate.refused(operation, error, request_id))
            raise
        received = await self._read(receive)
        bodies.media_type(content_type, received)
        request = bodies.parse(operation, received, {}, {})
        answer = encode(await gate.settle(gate.begin(operation, request, actor, request_id)))
        await send({"type": "http.response.start", "status": 200, "headers": [JSON, _length(answer)]})
        await send({"type": "http.response.body", "body": answer})

    async def _read(self, receive: Receive) -> bytes:
        parts, length, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise MalformedBody("The connection ended before the body was complete; send it again.")
            part = message.get("body", b"")
            length += len(part)
            bodies.size(length, self._limit)
            parts.append(part)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)


async def _refuse(error: GuardError, request_id: str, send: Send) -> None:
    status, content, headers = problem(error, request_id)
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*pairs, _length(content)]})
    await send({"type": "http.response.body", "body": content})


def _headers(scope: Scope) -> tuple[str | None, str]:
    authorization, content_type = None, ""
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"content-type":
            content_type = value.decode("latin-1")
    return authorization, content_type


def _length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(content)).encode()
