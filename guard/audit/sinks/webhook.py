"""POST of JSON lines over HTTPS, each batch with an id that a receiver recognises when it comes again.

Law: a batch counts as delivered when the receiver answers 2xx; no redirect is followed, since the address is set in the
configuration only. `Guard-Batch` is made of sink, first and last index, so the same records have the same id.
"""

import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from guard.audit.exports.jsonl import line
from guard.audit.row import Row
from guard.audit.sinks import CONNECT_SECONDS, lost
from guard.errors import InvalidSetting
from guard.settings import Sink

ACKNOWLEDGED = "the receiver answered 2xx"
TAKES = frozenset({"address"})
MAY_TAKE = frozenset({"ca_file", "token_file"})
MEDIA_TYPE = "application/x-ndjson"
MAX_TOKEN_BYTES = 4096
CHUNK_BYTES, MAX_CHUNKS = 4096, 16  # of an answer; nothing is looked for in it
SUCCESS = 2
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def check(plan: Sink) -> None:
    """Look at the options.

    Raises:
        InvalidSetting: no URL, one without TLS to another machine, or a file that cannot be read.
    """
    try:
        found = urlsplit(plan.address)
        usable = bool(found.hostname) and not found.username and found.port != 0
    except ValueError:
        usable = False
    if not usable or not (found.scheme == "https" or (found.scheme == "http" and found.hostname in LOOPBACK)):
        raise InvalidSetting(
            f"Expected an https:// address for the sink {plan.name} (http:// on this machine only); correct address."
        )
    try:
        _context(plan)
        _headers(plan)
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"Expected readable files in ca_file and token_file of the sink {plan.name}, got {type(error).__name__}."
        ) from None


def connect(plan: Sink, index: int) -> "Posts":
    """Prepare the client; raises SinkUnavailable."""
    del index
    try:
        return Posts(plan)
    except (OSError, ValueError) as error:
        raise lost(error) from None


class Posts:
    """A client that posts to one address."""

    doubtful = None

    def __init__(self, plan: Sink) -> None:
        self._plan = plan
        self._http = httpx2.Client(headers=_headers(plan), verify=_context(plan), trust_env=False)

    def send(self, rows: Sequence[Row]) -> int:
        """Post one batch. The whole of it ends in `total_seconds`: its thread waits no longer for a slow one."""
        batch = f"{self._plan.name}-{rows[0].index}-{rows[-1].index}"
        content = b"".join(map(line, rows))
        status: list[int | Exception] = []
        thread = threading.Thread(target=self._post, args=(batch, content, status), name="guard-sink-post", daemon=True)
        thread.start()
        thread.join(self._plan.total_seconds)
        found = status[0] if status else TimeoutError()
        if isinstance(found, Exception):
            raise lost(found)
        if found // 100 != SUCCESS:
            raise lost(f"HTTP {found}")
        return len(rows)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _post(self, batch: str, content: bytes, status: list[int | Exception]) -> None:
        headers = {"guard-batch": batch}
        timeout = httpx2.Timeout(self._plan.total_seconds, connect=CONNECT_SECONDS)
        try:
            with self._http.stream(
                "POST", self._plan.address, content=content, headers=headers, timeout=timeout
            ) as answer:
                # Read to its end, the connection can be used again; an endless answer is not read to its end.
                for _ in zip(range(MAX_CHUNKS), answer.iter_raw(CHUNK_BYTES), strict=False):
                    pass
            status.append(answer.status_code)
        except (httpx2.HTTPError, OSError, RuntimeError) as error:
            status.append(error)


def _headers(plan: Sink) -> dict[str, str]:
    headers = {"content-type": MEDIA_TYPE}
    if plan.token_file:
        with Path(plan.token_file).open(encoding="ascii") as file:
            token = file.read(MAX_TOKEN_BYTES).strip()
        if not token.isprintable() or not token:
            raise ValueError
        headers["authorization"] = f"Bearer {token}"
    return headers


def _context(plan: Sink) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=plan.ca_file or None) if plan.address.startswith("https:") else False
