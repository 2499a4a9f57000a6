"""`guard witness` in a process of its own, and a witness that lies: a server that answers what it is told to."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from guard.settings import Witness as Setting
from tests.cli.processes import START_SECONDS, Server


class WitnessProcess(Server):
    """A running `guard witness`; `vkeys` are what it printed."""

    def __init__(self, home: Path, *vkeys: str, port: int = 0, more: tuple[str, ...] = ()) -> None:
        typed = ["--home", str(home), "--port", str(port), "-o", "json", *more]
        super().__init__(home, "witness", typed=[*typed, *(part for vkey in vkeys for part in ("--log", vkey))])

    def await_line(self, beginning: str) -> str:
        del beginning
        return super().await_line("guard witness ")

    @property
    def told(self) -> dict:
        """What it printed as data."""
        return json.loads(self.said[: self.said.index("\n}\n") + 2])

    @property
    def url(self) -> str:
        return self.told["url"]

    @property
    def vkeys(self) -> list[str]:
        return self.told["vkeys"]

    def setting(self, name: str) -> Setting:
        """This witness in the settings of a guard."""
        return Setting(name, self.url, self.vkeys[0])

    def post(self, body: bytes) -> tuple[int, str, bytes]:
        return http(f"{self.url}/add-checkpoint", body)


def http(url: str, body: bytes | None = None, method: str | None = None) -> tuple[int, str, bytes]:
    """Status, media type and body of one request, whatever its status."""
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
            return answer.status, answer.headers["content-type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read()


class Liar:
    """A server on a free port; `answers(method, path, body)` gives status and body, or seconds to stay silent."""

    def __init__(self, answers: Callable[[str, str, bytes], tuple[int, bytes] | float]) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._answer("POST", self.rfile.read(int(self.headers["content-length"])))

            def do_GET(self) -> None:
                self._answer("GET", b"")

            def _answer(self, method: str, body: bytes) -> None:
                liar.asked.append((method, self.path, body))
                given = answers(method, self.path, body)
                if isinstance(given, float):
                    time.sleep(given)
                    return
                self.send_response(given[0])
                self.send_header("content-length", str(len(given[1])))
                self.end_headers()
                self.wfile.write(given[1])

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
