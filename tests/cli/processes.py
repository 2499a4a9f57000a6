"""guard as people run it: the command in a process of its own, and a server process with a home of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

COMMAND = [sys.executable, "-m", "guard"]
ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 60
START_SECONDS = 60
STOP_SECONDS = 15


def environment(**more: str) -> dict[str, str]:
    """A clean environment: nothing of guard's own and no locale but what is given."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), **more}


def guard(
    *arguments: str,
    stdin: bytes = b"",
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
    seconds: float = RUN_SECONDS,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=environment(**(variables or {})),
        timeout=seconds,
        check=False,
    )


def told(process: subprocess.CompletedProcess[bytes]) -> str:
    """What a refusal said: the detail of its JSON, or the plain line."""
    text = process.stderr.decode().strip()
    return json.loads(text)["detail"] if text.startswith("{") else text


class Server:
    """`guard dev` or `guard serve` in a process, until `stop`. What it says is kept in `said`; *typed* are its arguments."""

    def __init__(
        self,
        home: Path,
        verb: str = "dev",
        *,
        typed: Sequence[str] | None = None,
        cwd: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        usual = ["--home", str(home), *([] if verb == "worker" else ["--port", "0"])]
        self.process = subprocess.Popen(
            [*COMMAND, verb, *(usual if typed is None else typed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment(**(variables or {})),
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.await_line("guard runs" if verb == "worker" else "guard serves")
        except AssertionError:
            self.process.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def said(self) -> str:
        return "".join(self._lines)

    @property
    def url(self) -> str:
        return self.said.split("guard serves ", 1)[1].split()[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def token(self, profile: str = "client") -> str:
        """The token in a discovery file."""
        return json.loads((self.home / f"{profile}.json").read_text())["token"]

    def await_line(self, beginning: str) -> str:
        """The first line that begins so; fails where the process ends without it."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            found = next((line for line in self._lines if line.startswith(beginning)), None)
            if found is not None:
                return found
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}: {self.said}"
            time.sleep(0.02)
        raise AssertionError(f"the server did not say {beginning!r}: {self.said}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the process to end; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        if self.process.poll() is None:
            self.process.kill()
            raise AssertionError(f"the server did not end within {STOP_SECONDS} s of the signal")
        self._reader.join(STOP_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode

    def kill(self) -> None:
        """End the process as a power cut does."""
        self.process.kill()
        self.stop()

    def _read(self) -> None:
        stream: Any = self.process.stdout
        for line in stream:
            self._lines.append(line.decode())
