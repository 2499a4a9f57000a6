"""The eight lines of the demo, in order. Each checks what it prints, and a check that fails ends the demo."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from guard.cli.demo import data, night
from guard.cli.demo.stage import Failed, Stage
from guard.cli.session import Session, inert
from guard.errors import GuardError

STEPS: tuple[tuple[str, Callable[[Stage], str]], ...] = (
    ("start: root key before the first write, no default password", data.start),
    ("encrypt e-mail, phone and identity number of 1,000 customers", data.encrypt),
    ("read one back: masked, clear, refused", data.read_back),
    ("find by e-mail; move a ciphertext to another row", data.search),
    ("rotate the field key while reading; re-encrypt; census", data.rotate),
    ("replay an access log: parse, detect, decide", night.detect),
    ("incident: the runbook walks, the process is killed twice", night.respond),
    ("audit log: proofs verify offline; one changed byte is found", night.prove),
)


def tell(session: Session, *, log: Path | None, keep: bool, stay: bool) -> bool:
    """Run the demo; True if every check held. With *stay* it then serves until Ctrl-C."""
    stage = Stage(keep=keep)
    stage.log = log
    began, passed = time.monotonic(), False
    try:
        for ending in (signal.SIGTERM, signal.SIGHUP):  # end as Ctrl-C does, or the server and the data would stay
            signal.signal(ending, signal.default_int_handler)
        for number, (title, step) in enumerate(STEPS, 1):
            if not _one(number, title, step, stage):
                return False
        passed = True
        print(f"demo passed: {len(STEPS)} of {len(STEPS)} in {time.monotonic() - began:.1f} s")
        if stay:
            _stay(session, stage)
    except KeyboardInterrupt:
        session.say("\nguard demo: ended." if keep else "\nguard demo: ended; its data is removed.")
        if not passed:
            raise
    finally:
        if keep:
            session.say(f"data kept in {stage.folder}")
        stage.close()
    return True


def _one(number: int, title: str, step: Callable[[Stage], str], stage: Stage) -> bool:
    began = time.monotonic()
    try:
        told = step(stage)
    except (Failed, GuardError) as error:
        reason = error.detail if isinstance(error, GuardError) else str(error)
        print(f" [{number}/{len(STEPS)}] {title}\n       FAILED: expected {reason}", flush=True)
        stage.keep = True
        print(f"       the demo's data is kept in {stage.folder}", flush=True)
        return False
    print(f" [{number}/{len(STEPS)}] {title}  ({time.monotonic() - began:.1f} s)", flush=True)
    for line in told.splitlines():
        print(f"       {inert(line)}", flush=True)  # a line of the customer's own log can hold anything
    return True


def _stay(session: Session, stage: Stage) -> None:
    minted = stage.admin().call("tokens.create", subject="user:local|admin", kind="one", expires_in_seconds=600)
    print(f"\nguard serves {stage.url} (OpenAPI at {stage.url}/openapi.json); Ctrl-C ends it and removes the data.")
    print("One-time administrator token, valid for 10 minutes; turn it into a personal one with:")
    print(f"  GUARD_URL={stage.url} GUARD_TOKEN={minted['token']} .venv/bin/guard access exchange")
    print(f"or use the tokens in {stage.home}: .venv/bin/guard keys list --home {stage.home}", flush=True)
    stage.wait()
    session.say("the server has ended.")
