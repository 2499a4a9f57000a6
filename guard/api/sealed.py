"""The ASGI application of a sealed service: it lives, says what it waits for, and takes what opens it.

Law: everything but health, custody status and unseal is 503 with what to do; no token can be checked, since the tokens'
pepper is under the seal. Whoever gives a passphrase or shares proves enough by them; to open the slots that need
nothing, a caller shows the token that lies in the home directory of this process. One attempt at a time, ten a minute:
each costs 64 MiB and much time, and this door stands open to everybody.
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from pydantic import ValidationError

from guard import __version__
from guard.api.asgi import App, Receive, Scope, Send
from guard.api.problem import problem
from guard.errors import GuardError, InvalidRequest, RateLimited, Unauthenticated
from guard.vault.opening import Opening
from guard.wire.custody import UnsealService
from guard.wire.problems import misfit

MAX_BODY_BYTES: Final = 1 << 15
ATTEMPTS_PER_MINUTE: Final = 10
STATUS: Final = ("GET", "/api/v1/custody")
UNSEAL: Final = ("POST", "/api/v1/custody/unseal")


class SealedApp:
    """`done` is called once the seal is open and the answer has left. *token* opens slots that need nothing."""

    def __init__(
        self,
        opening: Opening,
        token: str,
        done: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opening = opening
        self._token = token.encode()
        self._done = done
        self._clock = clock
        self._attempts: list[float] = []
        self._busy = False

    def app(self) -> App:
        """The application."""
        return self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status, content, headers = await self._answer(scope, receive)
        except GuardError as error:
            status, content, more = problem(error, scope["guard.request_id"])
            headers = {**more, "retry-after": "5"} if status == 503 else dict(more)  # noqa: PLR2004 - Service Unavailable
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        pairs.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": content})
        if self._opening.opened is not None:
            self._done()

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes, Mapping[str, str]]:
        where = (scope["method"], scope["path"])
        if where == ("GET", "/livez"):
            return _json({"status": "ok"})
        if where == ("GET", "/version"):
            return _json({"version": __version__})
        if where == STATUS:
            return _json(self._opening.view().model_dump())
        if where == UNSEAL:
            return _json((await self._unseal(scope, receive)).model_dump())
        raise self._opening.error

    async def _unseal(self, scope: Scope, receive: Receive) -> Any:
        self._limit()
        self._busy = True
        try:
            request = _parse(await _body(receive))
            if not request.secrets and not self._is_owner(scope):
                raise Unauthenticated(
                    "Expected a passphrase or shares, or the token in the home directory of this process, got neither.",
                    hint="Run guard custody unseal --home on the host itself.",
                )
            return await asyncio.to_thread(self._opening.offer, request)
        finally:
            self._busy = False

    def _limit(self) -> None:
        now = self._clock()
        self._attempts = [at for at in self._attempts if now - at < 60]  # noqa: PLR2004 - seconds of a minute
        if self._busy or len(self._attempts) >= ATTEMPTS_PER_MINUTE:
            wait = 1 if self._busy else int(60 - (now - self._attempts[0])) + 1
            raise RateLimited("Too many attempts to unseal; try again later.", retry_after_seconds=wait)
        self._attempts.append(now)

    def _is_owner(self, scope: Scope) -> bool:
        shown = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(shown, b"Bearer " + self._token)


async def _body(receive: Receive) -> bytes:
    content: bytes = b""
    while True:
        message = await receive()
        content += bytes(message.get("body", b""))
        if len(content) > MAX_BODY_BYTES:
            raise InvalidRequest(f"Expected a body of at most {MAX_BODY_BYTES} bytes, got more.")
        if not message.get("more_body"):
            return content


def _parse(content: bytes) -> UnsealService:
    try:
        return UnsealService.model_validate_json(content or b"{}")
    except ValidationError as error:
        raise misfit("custody.unseal", error, UnsealService) from None


def _json(answer: Any) -> tuple[int, bytes, Mapping[str, str]]:
    return 200, orjson.dumps(answer), {"content-type": "application/json"}
