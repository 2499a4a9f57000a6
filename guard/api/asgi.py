"""The outermost ASGI application: request id, security headers, and the last resort.

Law: every answer carries its request id and the security headers, a 500 included, and no exception reaches the server,
whose log would print its text.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from guard.api.problem import problem
from guard.errors import GuardError
from guard.gate import last_resort

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


class Front:
    """What the server runs. *inner* is the FastAPI application; *random* gives request ids."""

    def __init__(self, inner: App, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        request_id = "req_" + self._random(REQUEST_ID_BYTES).hex()
        scope["guard.request_id"] = request_id
        started = False

        async def reply(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = [*message.get("headers", ()), (b"request-id", request_id.encode())]
                names = {name for name, _ in given}  # a tile that never changes says itself how long it may be kept
                message["headers"] = given + [pair for pair in SECURITY if pair[0] not in names]
            await send(message)

        async def failed(error: GuardError) -> None:
            if not started:
                await _refuse(error, request_id, reply)

        await last_resort(self._inner(scope, receive, reply), failed, request_id)


async def _refuse(error: GuardError, request_id: str, send: Send) -> None:
    status, content, headers = problem(error, request_id)
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*pairs, _length(content)]})
    await send({"type": "http.response.body", "body": content})


def _length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(content)).encode()
