"""Carries checkpoints to witnesses over HTTP: one second, one bounded answer, no redirect.

Law: a witness is a stranger: it may hang, answer without end or send the caller elsewhere, and none of that may hold a
loop for longer than the limit or reach another address than the one in the settings.
"""

import time
from typing import Final

import httpx2

from guard.audit.witnesses import Reply

TIMEOUT_SECONDS: Final = 1.0
MAX_ANSWER_BYTES = 1 << 18  # a note with every signature that it may have


class Courier:
    """Keeps connections open between calls; `close` ends them."""

    def __init__(self) -> None:
        self._client = httpx2.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)

    def close(self) -> None:
        """End every connection."""
        self._client.close()

    def post(self, url: str, body: bytes) -> Reply:
        """Send *body*; status 0 where there was no answer in time."""
        return self._send("POST", url, body)

    def get(self, url: str) -> Reply:
        """Fetch; status 0 where there was no answer in time."""
        return self._send("GET", url, None)

    def _send(self, method: str, url: str, body: bytes | None) -> Reply:
        # The library's limit is for each read, so one byte a second would hold the loop for days.
        end = time.monotonic() + TIMEOUT_SECONDS
        content = b""
        try:
            with self._client.stream(method, url, content=body) as answer:
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > MAX_ANSWER_BYTES or time.monotonic() > end:
                        return Reply(0, b"")
                return Reply(answer.status_code, content)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
            return Reply(0, b"")
