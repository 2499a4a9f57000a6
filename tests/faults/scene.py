"""The process whose system calls fail: a guard that starts, does twenty things, signs, exports and stops.

`python -m tests.faults.scene` forks one actor for each line of stdin, `{"home": ..., "ledger": ..., "bulk": ...}`. The
actor says its pid once its ledger is open, the parent says its status when it has ended. The parent has played the scene once, so that an actor's system calls are guard's and no
import's. An actor waits for the file `<ledger>.go` before it begins, so that a tracer can be attached first.

The ledger is written by writev, which no fault of the matrix touches.
"""

import base64
import ctypes
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from guard.app import Guard, build
from guard.catalogue import PLATFORM, Actor
from guard.cli.serving import DEVELOPER, PLATFORM_ADMIN, quiet_logs
from guard.db.unit import Unit
from guard.errors import GuardError
from guard.settings import load
from tests.db.building import entry_of

PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)
WORKER = Actor("system:worker", PLATFORM, "system")
ANA = Actor("user:local|developer", "dev", "pat", "scene")
EVE = Actor("user:local|admin", PLATFORM, "pat", "scene")
FIELD, ROTATED = "customers.email", "customers.phone"
STATUSES = {"NotFound": 404, "InvalidInput": 422, "Denied": 403}  # refusals that leave a record


class Stage:
    """One play: the guard, and the ledger into which each act is written before and after."""

    def __init__(self, home: Path, ledger: Path) -> None:
        self.home = home
        self.name = ledger.stem
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._number = 0

    def say(self, *line: object) -> None:
        os.writev(self._ledger, [json.dumps(line).encode() + b"\n"])

    def act(self, guard: Guard, operation: str, actor: Actor, **request: object):
        """Call an operation; its answer, or None where it failed."""
        self._number += 1
        request_id = f"{self.name}.{self._number}"
        self.say("TRY", operation, request_id)
        try:
            answer = guard.gate.call_named(operation, request, actor, request_id)
        except GuardError as error:
            status = STATUSES.get(type(error).__name__, 503)
            self.say("ACK" if status < 500 else "NAK", operation, status, request_id, error.code)
            return None
        self.say("ACK", operation, 200, request_id, *facts(operation, request, answer))
        return answer

    def play(self, bulk: int) -> None:
        """Start, twenty operations, records by the hundred, every loop once, a checkpoint, an export, stop."""
        guard = build(load(self.home, environment={}))
        self.say("START")
        for tenant, subject, roles in (("dev", ANA.subject, DEVELOPER), (PLATFORM, EVE.subject, PLATFORM_ADMIN)):
            self.act(guard, "principals.bootstrap", WORKER, tenant=tenant, subject=subject, roles=list(roles))
        for number in range(3):
            self.sealing(guard, number)
            self.act(guard, "tokens.create", ANA, subject=f"svc:{self.name}-{number}")
            self.act(guard, "keys.read", ANA, key="none")
        self.act(guard, "keys.rotate", ANA, key=ROTATED)
        self.many(guard, bulk)
        for job in guard.worker._scheduler.get_jobs():
            guard.worker.beat(*job.args)
        self.publish(guard)
        self.act(guard, "exports.create", EVE, prove=[0])
        self.act(guard, "records.list", EVE, tenant="dev")
        guard.close()
        self.say("STOP")

    def sealing(self, guard: Guard, number: int) -> None:
        """Seal a value, open it, ask whether one may."""
        row, value = f"{self.name}-{number}", f"{number}@example.org"
        item = {"field": FIELD, "context": {"row": row}}
        plaintext = base64.b64encode(value.encode()).decode()
        sealed = self.act(guard, "fields.encrypt", ANA, items=[{**item, "plaintext": plaintext}])
        if sealed is not None:
            ciphertext = sealed["results"][0]["ciphertext"]
            self.act(guard, "fields.decrypt", ANA, purpose="billing", items=[{**item, "ciphertext": ciphertext}])
        request = {"subject": "svc:s1", "action": "keys.rotate", "resource": f"keys/{FIELD}"}
        self.act(guard, "checks.evaluate", ANA, **request)

    def publish(self, guard: Guard) -> None:
        """A checkpoint, which leaves no record but must be kept."""
        try:
            view = guard.gate.call_named("checkpoints.publish", {}, WORKER, f"{self.name}.publish")
        except GuardError as error:
            self.say("NAK", "checkpoints.publish", 503, "", error.code)
        else:
            self.say("ACK", "checkpoints.latest", 200, "", view.note)

    def many(self, guard: Guard, bulk: int) -> None:
        """Records by the hundred in one group, so that the tree grows over full tiles within one play."""
        first = int.from_bytes(os.urandom(4), "big")
        made = [entry_of(first + number, "bulk") for number in range(bulk)]
        self.say("TRY", "bulk", bulk)
        try:
            guard.pipeline.wait(Unit(made))
        except GuardError as error:
            self.say("NAK", "bulk", 503, "", error.code)
        else:
            self.say("ACK", "bulk", 200, "", [one.id for one in made])


def facts(operation: str, request: dict, answer) -> list:
    """What the checker is to find again."""
    if operation == "tokens.create":
        return [answer.handle]
    if operation == "keys.rotate":
        return [max(row.version for row in answer.versions)]
    if operation == "fields.encrypt":
        item = request["items"][0]
        value = base64.b64decode(item["plaintext"]).decode()
        return [item["context"]["row"], value, answer["results"][0]["ciphertext"]]
    return []


def enter(home: Path, ledger: Path, bulk: int) -> None:
    """The life of one actor, once the tracer is there."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY, 0, 0, 0)  # where only descendants may be traced
    stage = Stage(home, ledger)
    os.writev(1, [f"{os.getpid()}\n".encode()])  # not earlier: no fault of the matrix is to meet the ledger's own open
    while not Path(f"{ledger}.go").exists():
        time.sleep(0.002)
    stage.play(bulk)


def live(home: Path, ledger: Path, bulk: int) -> None:
    """One actor, to its exit: 0, 69 for an error that names itself, 1 for one that nobody foresaw."""
    status = 1
    try:
        enter(home, ledger, bulk)
        status = 0
    except GuardError as error:
        os.writev(2, [f"{error.code} {error.detail}\n".encode()])
        status = 69
    finally:  # whatever it was, the parent's stdin is not this one's to read on
        if status == 1:
            os.writev(2, [f"{sys.exc_info()[1]!r}\n".encode()])
        os._exit(status)


def main() -> None:
    """Fork an actor for each line of stdin."""
    quiet_logs()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place) / "home"
        home.mkdir(0o700)
        (home / "guard.toml").write_text(sys.argv[1])
        Stage(home, Path(place) / "warm.ledger").play(300)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            live(Path(asked["home"]), Path(asked["ledger"]), asked["bulk"])
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
