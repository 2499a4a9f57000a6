"""A disk that is full: a small tmpfs under a server with clients, and under a unit inside its savepoint.

Expected: a named refusal within two seconds, health that answers, work that goes on by itself once there is room, and
nothing lost of what was acknowledged before, during and after.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx2

from guard.db.commit import Pipeline
from guard.db.engine import open_store, savepoint
from guard.db.unit import Unit
from guard.errors import AuditUnavailable
from tests.cli.processes import Server
from tests.faults.cuts import fresh, survived
from tests.faults.kills import crowd
from tests.faults.ledger import SLOW_SECONDS, Crowd, compare
from tests.faults.powerloss import GUARD_DB, Work, change, check, make_template, note, open_log, records, together
from tests.faults.processes import make_home, serve
from tests.faults.programs import find, need_root
from tests.faults.tally import Tally

SIZE = "32m"
FREE_BYTES = 1 << 16  # below this the service is READ_ONLY(DISK_LOW)
FULL = (503, 507)  # a write that met the full disk; from the next look at the disk on, everything is refused
LOOK_SECONDS = 1.5  # and then the disk was looked at
BIG_BYTES = 8_000_000  # more than SQLite keeps in memory, so that the statement itself meets the full disk
REFUSED = 20  # answers of 503 and of 507 before there is room again
RESUME_SECONDS = 5.0
PATIENCE_SECONDS = 30
ROUNDS = 6  # at most: the disk is as full the sixth time


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A tmpfs of a few megabytes."""
    need_root()
    disk = place / "disk"
    disk.mkdir()
    subprocess.run([find("mount"), "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run([find("umount"), "--lazy", disk], check=True)


def fill(disk: Path) -> Path:
    """Write until not a byte more fits; the file to delete."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast


def wait_for(people: Crowd, statuses: Collection[int], count: int, seconds: float = PATIENCE_SECONDS) -> float:
    """How long it took until so many more answers of these statuses came; infinite where they did not."""
    began, before = time.monotonic(), sum(people.answers[status] for status in statuses)
    while sum(people.answers[status] for status in statuses) < before + count:
        if time.monotonic() - began > seconds:
            return float("inf")
        time.sleep(0.01)
    return time.monotonic() - began


def healthy(server: Server) -> dict[str, int]:
    """What the health pages answer, each in time."""
    with httpx2.Client(base_url=server.url, timeout=SLOW_SECONDS, trust_env=False) as client:
        return {path: client.get(path).status_code for path in ("/livez", "/readyz")}


def full_disk(rounds: int) -> Tally:
    """Under a server: fill, be refused, make room, go on."""
    tally = Tally("disk full under a server")
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place, small_disk(Path(place)) as disk:
        home, folder = make_home(disk, minimum_free_bytes=FREE_BYTES), Path(place)
        for turn in range(1, min(rounds, ROUNDS) + 1):
            with serve(home) as server:
                people = crowd(server, folder, f"d{turn}")
                people.until(30)
                faults = fill_and_free(server, people, disk)
                people.end()
                faults += [f"{type(error).__name__} {error}" for error in people.errors]
                if server.stop() != 0:
                    faults.append(f"the server did not end in order: {server.said[-300:]}")
            tally.faults += [f"round {turn}: {fault}" for fault in faults]
            tally.add(compare(home, folder, export=True).verdict, f"round {turn}")
            tally.note = (
                f"slowest answer {people.slowest:.2f} s, {sum(people.answers[status] for status in FULL)} refused"
            )
            shutil.rmtree(home / "exports")
    return tally


def fill_and_free(server: Server, people: Crowd, disk: Path) -> list[str]:
    """One time; what did not hold."""
    faults = []
    ballast = fill(disk)
    if wait_for(people, FULL, REFUSED) == float("inf"):
        faults.append(f"nobody was refused on the full disk: {dict(people.answers)}")
    time.sleep(LOOK_SECONDS)
    if wait_for(people, (507,), REFUSED) == float("inf"):
        faults.append(f"nobody was told that the disk is low: {dict(people.answers)}")
    health = healthy(server)
    if health != {"/livez": 200, "/readyz": 507}:
        faults.append(f"health on the full disk: {health}")
    ballast.unlink()
    if (took := wait_for(people, (200,), 20)) > RESUME_SECONDS:
        faults.append(f"work went on {took} s after there was room")
    if healthy(server) != {"/livez": 200, "/readyz": 200}:
        faults.append("not ready although there is room")
    if people.slowest > SLOW_SECONDS:
        faults.append(f"an answer took {people.slowest:.1f} s")
    return faults


def big(work: Work) -> Unit:
    """A change that is larger than the disk, with a savepoint round it, in the middle of a group."""
    unit = change(work)
    inner = unit.work

    def carry_out(tx):
        with savepoint(tx):
            tx.exec_driver_sql(f"INSERT INTO secrets VALUES ('big', zeroblob({BIG_BYTES}), 0)")
        return inner(tx)

    unit.work = carry_out
    return unit


def full_savepoint(rounds: int) -> Tally:
    """Inside a savepoint SQLite ends the whole transaction: everybody in the group is refused, and nobody half."""
    tally = Tally("disk full inside a savepoint")
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place, small_disk(Path(place)) as disk:
        make_template(disk)
        work = Work()
        for turn in range(1, min(rounds, ROUNDS) + 1):
            with closing(open_store(disk / GUARD_DB)) as store:
                pipeline = Pipeline(store, open_log(store), limit=100, on_fatal=lambda: None)
                pipeline.start()
                tally.faults += [f"round {turn}: {fault}" for fault in group_by_group(pipeline, work, disk)]
                pipeline.stop()
            tally.add(check(survived(disk, fresh(Path(place) / "back")), work).verdict, f"round {turn}")
            with closing(open_store(disk / GUARD_DB)) as store, store.write() as tx:
                tx.exec_driver_sql("DELETE FROM secrets WHERE name = 'big'")
    return tally


def group_by_group(pipeline: Pipeline, work: Work, disk: Path) -> list[str]:
    """A group on the full disk, and the same once there is room; what did not hold."""
    faults = []
    for room in (False, True):
        ballast = disk / "ballast" if room else fill(disk)
        if room:
            ballast.unlink()
        begin = len(work.tried)
        units = [*records(work, 2), big(work), change(work), *records(work, 1)]
        answers = together(pipeline, units)
        note(work, list(work.tried)[begin:], answers)
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        named = all(isinstance(error, AuditUnavailable) and "full" in error.detail for error in failed)
        if len(failed) != (0 if room else len(units)) or not named:
            faults.append(f"with room {room}: {failed}")
    return faults
