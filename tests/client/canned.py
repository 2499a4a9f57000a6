"""A small real HTTP server that gives prepared answers, one after the other, and remembers what it was asked."""

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from guard.client import Address, Client


@dataclass(frozen=True)
class Reply:
    """What the server says to one request; a *cut* one ends in the middle, a *silent* one never comes."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    line: str
    headers: Mapping[str, str]
    body: bytes


def problem(code: str, status: int, **members: Any) -> Reply:
    """A refusal as guard words it."""
    shape = {"type": f"urn:guard:error:{code}", "title": "Refused", "status": status, "detail": "So.", "code": code}
    headers = {"content-type": "application/problem+json"}
    return Reply(status, json.dumps(shape | {"request_id": "req_1"} | members).encode(), headers)


class Canned:
    """The server; the last reply is given to every further request."""

    def __init__(self, *replies: Reply) -> None:
        self.asked: list[Asked] = []
        self._replies = list(replies)
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> Client:
        return Client(Address(self.url, "grd_svc_canary"), **options)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while head := await _head(reader):
            line, headers = head
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append(Asked(line, headers, body))
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
            if reply.silent:
                await self._done.wait()
                return
            fields = {"content-length": str(len(reply.body)), **reply.headers}
            text = f"HTTP/1.1 {reply.status} X\r\n" + "".join(f"{name}: {one}\r\n" for name, one in fields.items())
            content = text.encode() + b"\r\n" + reply.body
            writer.write(content[: len(content) // 2] if reply.cut else content)
            await writer.drain()
            if reply.cut:
                break
        writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    pairs = (line.partition(":") for line in lines[1:] if line)
    return lines[0], {name.lower(): value.strip() for name, _, value in pairs}
