"""Carries checkpoints to witnesses and authorities over HTTP: a limit in all, one bounded answer, no redirect.

Law: who is asked is a stranger: it may hang, send a byte a second, answer without end or send the caller elsewhere, and
none of that may hold a loop for longer than the limit or reach another address than the one in the settings.
"""

import asyncio
from collections.abc import Mapping

import httpx2

from guard.audit.witnesses import Reply

TIMEOUT_SECONDS = 1.0
MAX_ANSWER_BYTES = 1 << 18  # a note with every signature that it may have


class Courier:
    """Sends requests, each on a connection of its own: one every few seconds is not worth keeping one open."""

    def __init__(self, *, seconds: float = TIMEOUT_SECONDS, most_bytes: int = MAX_ANSWER_BYTES) -> None:
        """An answer is whole within *seconds* and has at most *most_bytes*."""
        self._seconds, self._most_bytes = seconds, most_bytes

    def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """Send *body*; status 0 where there was no answer in time."""
        return asyncio.run(self._send("POST", url, body, headers))

    def get(self, url: str) -> Reply:
        """Fetch; status 0 where there was no answer in time."""
        return asyncio.run(self._send("GET", url, None))

    async def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> Reply:
        # On an event loop: the library's own limits are for each read, and a byte a second would pass them for days.
        content = b""
        try:
            async with (
                asyncio.timeout(self._seconds),
                httpx2.AsyncClient(timeout=self._seconds, follow_redirects=False, trust_env=False) as client,
                client.stream(method, url, content=body, headers=headers) as answer,
            ):
                async for part in answer.aiter_bytes():
                    content += part
                    if len(content) > self._most_bytes:
                        return Reply(0, b"")
                return Reply(answer.status_code, content)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError):
            return Reply(0, b"")
