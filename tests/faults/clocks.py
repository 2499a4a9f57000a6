"""A clock that is set: an hour back, a year ahead and back again, inside one process and between two.

Law: index order holds whatever the clock says; no checkpoint is signed until time has passed the last one; requests go
on. Monotonic time is not touched, as a person who sets a clock does not touch it either.
"""

import tempfile
from contextlib import closing
from pathlib import Path

from guard.app import build
from guard.errors import Conflict
from guard.settings import load
from tests.faults.books import examine
from tests.faults.ledger import DEVELOPER, WORKER, Client, compare, verify_export
from tests.faults.processes import make_home, serve
from tests.faults.programs import library
from tests.faults.tally import Tally, Verdict
from tests.world import Clock

HOUR, YEAR = 3600, 365 * 86400
ROLES = ["role:storing-service", "role:tenant-admin"]
JUMPS = {  # seconds by which the clock is set, one after another, and whether a checkpoint may be signed there
    "an hour back": [(-HOUR, False), (HOUR + 1, True)],
    "a year ahead and back": [(YEAR, True), (-YEAR, False), (YEAR + 1, True)],
    "a second back": [(-1, False), (2, True)],
    "back before a restart": [(-HOUR, False), (0, False), (HOUR + 1, True)],
}


def jumping(rounds: int) -> Tally:
    """In one process, by the clock that it was given."""
    del rounds  # nothing here is left to chance
    tally = Tally("clock set back and ahead")
    for name, jumps in JUMPS.items():
        with tempfile.TemporaryDirectory(prefix="guard-faults-") as place:
            tally.add(jump(make_home(Path(place)), jumps, restart="restart" in name), name)
    return tally


def jump(home: Path, jumps: list[tuple[int, bool]], *, restart: bool) -> Verdict:
    """Work before and after each jump; what did not hold."""
    clock, faults = Clock(), []
    guard = build(load(home, environment={}), clock=clock)
    hire = {"tenant": "dev", "subject": DEVELOPER.subject, "roles": ROLES}
    guard.gate.call_named("principals.bootstrap", hire, WORKER, "hire")
    done = 0
    for seconds, signs in [(0, True), *jumps]:
        clock.advance(seconds)
        if restart:
            guard.close()
            guard = build(load(home, environment={}), clock=clock)
        before = guard.log.size
        for number in range(5):
            request = {"subject": f"svc:c{number}", "action": "keys.list", "resource": "keys/x"}
            guard.gate.call_named("checks.evaluate", request, DEVELOPER, f"clock-{done}-{number}")
        done += 1
        if guard.log.size != before + 5:
            faults.append(f"after {seconds} s the log grew by {guard.log.size - before} records of 5")
        if published(guard) != signs:
            faults.append(f"after {seconds} s a checkpoint was {'not ' if signs else ''}signed")
    with closing(guard):
        books = examine(guard.store, guard.log)
        found = [body["request"]["id"] for body in books.records if body["action"] == "checks.evaluate"]
        asked = [f"clock-{turn}-{number}" for turn in range(done) for number in range(5)]
        books.verdict.lost += sorted(set(asked) - set(found))
        books.verdict.expect(found == asked, "the order of the records is not the order of the requests")
        verify_export(books, guard)
    books.verdict.faults += faults
    return books.verdict


def published(guard) -> bool:
    """Whether a checkpoint over everything so far was signed now."""
    size = guard.log.size
    try:
        view = guard.gate.call_named("checkpoints.publish", {}, WORKER, "publish")
    except Conflict:
        return False
    return view.size == size


def faked(rounds: int) -> Tally:
    """Between processes, by libfaketime: the second life of a home is an hour before the first."""
    tally = Tally("clock of a process an hour back")
    # All clocks are moved by the same hour: told to leave the monotonic one alone, libfaketime 0.9.10 breaks sleeping.
    preload = {"LD_PRELOAD": str(library("libfaketime.so.1"))}
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place:
        home, folder = make_home(Path(place)), Path(place)
        for turn, fake in enumerate(({}, preload | {"FAKETIME": "-1h"}, {}) * min(1 + rounds // 50, 2), 1):
            with serve(home, fake) as server:
                client = Client(folder, f"t{turn}", server.url, server.token())
                for _ in range(14):
                    client.step()
                client.close()
                if any(status >= 500 for status in client.statuses):
                    tally.faults.append(f"life {turn}: requests were refused: {dict(client.statuses)}")
                if (status := server.stop()) != 0:
                    tally.faults.append(f"life {turn}: ended with {status}")
            tally.add(compare(home, folder, export=not fake).verdict, f"life {turn}")
    return tally
