"""Two ways to ask guard without a client in between: straight into its ASGI application, and by bytes on a socket."""

import asyncio
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

JSON = "application/json"
SOCKET_SECONDS = 20


@dataclass(frozen=True)
class Answer:
    """What came back; header names are lower case. *received* pieces of the body were asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    received: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["code"]

    @property
    def all_bytes(self) -> bytes:
        """Everything that a caller sees."""
        return "\n".join(f"{name}: {value}" for name, value in self.headers.items()).encode() + b"\n" + self.body


def ask(
    app: Any,
    method: str,
    path: str,
    body: Any = b"",
    *,
    token: str | None = None,
    kind: str | None = JSON,
    headers: Iterable[tuple[str, str]] = (),
    parts: Iterable[bytes] | None = None,
    hang_up: bool = False,
) -> Answer:
    """One request into an ASGI application. *parts* sends a body in pieces without a length; *hang_up* ends in between."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    pairs += [(b"authorization", f"Bearer {token}".encode())] if token else []
    pairs += [(b"content-type", kind.encode())] if kind and (content or parts) else []
    pairs += [] if parts else [(b"content-length", str(len(content)).encode())]
    raw_path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": pairs,
        "client": ("192.0.2.1", 40000),
        "server": ("127.0.0.1", 8420),
        "state": {},
    }
    pieces = list(parts) if parts else [content]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if hang_up:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1]["more_body"] = False
    return asyncio.run(_exchange(app, scope, messages))


async def _exchange(app: Any, scope: dict[str, Any], messages: list[dict[str, Any]]) -> Answer:
    waiting, received, sent = iter(messages), 0, []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        message = next(waiting, None)
        if message is None:
            await asyncio.sleep(3600)
        return message

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0] if sent else {"status": 0, "headers": []}
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    assert len(headers) == len(start["headers"]), "a header came twice"
    return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]), received)


def request_bytes(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    token: str | None = None,
    kind: str | None = JSON,
    headers: Iterable[str] = (),
    chunks: Iterable[bytes] | None = None,
) -> bytes:
    """The bytes of one HTTP/1.1 request; *chunks* sends the body chunked instead of with a length."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *headers]
    lines += [f"authorization: Bearer {token}"] if token else []
    lines += [f"content-type: {kind}"] if kind else []
    if chunks is None:
        return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return "\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode() + framed + b"0\r\n\r\n"


class Wire:
    """A connection to a server, spoken byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), SOCKET_SECONDS)
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def read(self) -> Answer:
        """The next answer on this connection."""
        status = self._reader.readline()
        assert status.startswith(b"HTTP/1.1 "), status
        headers: dict[str, str] = {}
        while (line := self._reader.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            assert name.lower() not in headers, f"the header {name} came twice"
            headers[name.lower()] = value.strip()
        return Answer(int(status.split()[1]), headers, self._body(headers))

    def ask(self, *args: Any, **options: Any) -> Answer:
        """Send what `request_bytes` makes of the arguments and read the answer."""
        self.send(request_bytes(*args, **options))
        return self.read()

    def ended(self) -> bool:
        """Whether the server has closed the connection, with nothing more to read."""
        return self._reader.read(1) == b""

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self._reader.readline(), 16):
                parts.append(self._reader.read(size))
                self._reader.readline()
            self._reader.readline()
            return b"".join(parts)
        return self._reader.read(int(headers.get("content-length", "0")))
