"""Carries checkpoints to witnesses over HTTP: one second in all, one bounded answer, no redirect.

Law: a witness is a stranger: it may hang, send a byte a second, answer without end or send the caller elsewhere, and
none of that may hold a loop for longer than the limit or reach another address than the one in the settings.
"""

import asyncio

import httpx2

from guard.audit.witnesses import Reply

TIMEOUT_SECONDS = 1.0
MAX_ANSWER_BYTES = 1 << 18  # a note with every signature that it may have


class Courier:
    """Sends requests, each on a connection of its own: one every few seconds is not worth keeping one open."""

    def post(self, url: str, body: bytes) -> Reply:
        """Send *body*; status 0 where there was no answer in time."""
        return asyncio.run(_send("POST", url, body))

    def get(self, url: str) -> Reply:
        """Fetch; status 0 where there was no answer in time."""
        return asyncio.run(_send("GET", url, None))


async def _send(method: str, url: str, body: bytes | None) -> Reply:
    # On an event loop, because the library's own limits are for each read: a byte a second would pass them for days.
    content = b""
    try:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False) as client,
            client.stream(method, url, content=body) as answer,
        ):
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > MAX_ANSWER_BYTES:
                    return Reply(0, b"")
            return Reply(answer.status_code, content)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError):
        return Reply(0, b"")
