"""Fetches a file of any size: as it comes, whole or resumed, and known by its SHA-256 before it gets its name.

Law: a file under its name is whole; what came so far lies under `<name>.partial` and is continued by Range (RFC 9110
section 14), in this run or the next.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guard.client.session import Client
from guard.errors import Unreachable, VerificationFailed

ATTEMPTS = 5  # for one file; a server that restarts is back within them
HEX = re.compile(r'"([0-9a-f]{64})"').fullmatch
PARTIAL = 206


def fetch(client: Client, operation: str, path: Path, pause: Callable[[int], None], **members: Any) -> None:
    """Write the file that *operation* answers with to *path*; `pause(attempt)` waits before another attempt.

    Raises:
        Unreachable: the connection broke again and again; what came is kept.
        VerificationFailed: what came is not what the server's ETag says; it was removed.
    """
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(ATTEMPTS):
        try:
            tag = _continue(client, operation, partial, members)
        except Unreachable:
            if attempt == ATTEMPTS - 1:
                raise
            pause(attempt)
        else:
            _check(partial, tag)
            partial.replace(path)
            return


def _continue(client: Client, operation: str, partial: Path, members: dict[str, Any]) -> str:
    """Ask for what is missing and append it; the ETag. The last byte is asked for again: an empty range is refused."""
    start = max(partial.stat().st_size - 1, 0) if partial.exists() else 0
    with partial.open("ab") as file, client.stream(operation, start, **members) as answer:
        file.truncate(start if answer.status_code == PARTIAL else 0)
        for block in answer.iter_bytes():
            file.write(block)
        return str(answer.headers.get("etag", ""))


def _check(partial: Path, tag: str) -> None:
    found = HEX(tag)
    with partial.open("rb") as file:
        if found and hashlib.file_digest(file, "sha256").hexdigest() != found[1]:
            partial.unlink()
            raise VerificationFailed(
                f"Expected a file with the SHA-256 {found[1]}, got another; it was removed. Try again."
            )
