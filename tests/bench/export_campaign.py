"""`make export-campaign COUNT=1000000`: a large log is exported while writers write; memory, speed and disturbance.

The log is made by the real pipeline, the export by the worker's own loop in the same process, as in the service. Peak
memory is the kernel's, reset after the log was made. What was exported is checked by the manifest, the signatures, the
hash of each part, and the root over all leaf hashes.
"""

import argparse
import json
import logging
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from guard.audit.entry import body
from guard.audit.export import leaf_tiles
from guard.audit.export_job import PART_RECORDS
from guard.db.entry import Entry
from guard.db.unit import Unit
from guard.wire.ids import uuid7
from tests.audit.building import record
from tests.audit.exporting import auditor, check, exports_of, unzip
from tests.world import START_US, world

UNIT_RECORDS = 64  # of one request, as a batch of fields makes them


@dataclass
class Figures:
    """What a run showed; times in milliseconds."""

    records: int
    format: str
    built_per_second: int
    exported_per_second: int
    exported_bytes: int
    parts: int
    written_meanwhile: int
    p50_before: float
    p99_before: float
    p50_during: float
    p99_during: float
    longest_during: float
    memory_before_mb: int
    memory_peak_mb: int
    longest_read_ms: float


def memory_mb(name):
    """`VmRSS` or `VmHWM` of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) >> 10


def fill(made, count):
    """*count* records through the pipeline; how many a second."""
    began, pipeline, waiting = time.monotonic(), made.guard.pipeline, []
    for first in range(made.guard.log.size, count, UNIT_RECORDS):
        entries = []
        for number in range(first, min(first + UNIT_RECORDS, count)):
            at = START_US + number
            tenant = ("acme", "globex")[number % 2]
            name = uuid7(at, number.to_bytes(10, "big"))
            data = {"columns": 1, "values": number % 7, "sealed": [f"{number * 7919 % 2**61:016x}"]}
            one = record(number, id=name, tenant=tenant, time_us=at, data=data)
            entries.append(
                Entry(body(one), name, tenant, at, "event", None, "svc:billing", one.action, "", True, "ok", None)
            )
        unit = Unit(entries)
        waiting.append(unit)
        if len(waiting) == 32:
            settle(pipeline, waiting)
    settle(pipeline, waiting)
    return int(count / (time.monotonic() - began))


def settle(pipeline, units):
    waiters = [Future() for _ in units]
    for unit, waiter in zip(units, waiters, strict=True):
        unit.waiter = waiter
        pipeline.submit(unit)
    for waiter in waiters:
        waiter.result()
    units.clear()


class Writers(threading.Thread):
    """One caller after the other, each waiting for its durable record; how long each waited."""

    def __init__(self, made, actor):
        super().__init__(daemon=True)
        self.made, self.actor = made, actor
        self.waits, self.ended = [], False

    def run(self):
        while not self.ended:
            began = time.perf_counter()
            self.made.call("actors.whoami", self.actor)
            self.waits.append(time.perf_counter() - began)
            time.sleep(0.002)

    def end(self):
        self.ended = True
        self.join()
        return sorted(self.waits)


def quantile(waits, share):
    return round(waits[min(int(len(waits) * share), len(waits) - 1)] * 1000, 2)


def measured(made, actor, seconds=None, until=None):
    """The waits of writers while something lasts."""
    writers = [Writers(made, actor) for _ in range(2)]
    for one in writers:
        one.start()
    if seconds:
        time.sleep(seconds)
    else:
        until()
    return sorted(wait for one in writers for wait in one.end())


def timed_reads(made):
    """The longest read transaction of an export: pages hold the WAL no longer than this."""
    store, longest = made.guard.store, [0.0]
    read = store.read

    @contextmanager
    def watched():
        began = time.perf_counter()
        with read() as tx:
            yield tx
        longest[0] = max(longest[0], time.perf_counter() - began)

    exports_of(made)._store = type("Watched", (), {"read": staticmethod(watched)})()
    return longest


def campaign(home, count, name="jsonl", part_records=PART_RECORDS):
    """Build, export while writers write, verify; the figures."""
    with world(home, requests_per_minute=10_000_000) as made:
        exports = exports_of(made)
        exports.part_records = part_records
        eve = auditor(made)
        ana = made.hire("acme", "user:local|ana", "role:support")
        built = fill(made, count)
        made.call("checkpoints.reread")
        made.call("checkpoints.publish")
        made.guard.worker.start()  # its other loops belong to the service with and without an export
        before = measured(made, ana, seconds=4)
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on (proc(5))
        memory_before, longest = memory_mb("VmRSS"), timed_reads(made)
        began = time.monotonic()
        view = made.call("exports.create", eve, format=name)

        def done():
            while made.call("exports.read", eve, export=view.id).state in {"frozen", "running"}:
                time.sleep(0.1)

        size_before = made.guard.log.size
        during = measured(made, ana, until=done)
        seconds = time.monotonic() - began
        memory_peak = memory_mb("VmHWM")
        ready = made.call("exports.read", eve, export=view.id)
        assert ready.state == "ready", ready
        written = made.guard.log.size - size_before
        folder = gather(made, eve, ready, home / "out")
        found = check(folder, made.guard.log.verifier.encode())
        assert found["matched"] == found["size"] == ready.size >= count
        return Figures(
            records=ready.size,
            format=name,
            built_per_second=built,
            exported_per_second=int(ready.size / seconds),
            exported_bytes=sum(part["bytes"] for part in found["parts"]),
            parts=ready.parts,
            written_meanwhile=written,
            p50_before=quantile(before, 0.5),
            p99_before=quantile(before, 0.99),
            p50_during=quantile(during, 0.5),
            p99_during=quantile(during, 0.99),
            longest_during=quantile(during, 1),
            memory_before_mb=memory_before,
            memory_peak_mb=memory_peak,
            longest_read_ms=round(longest[0] * 1000, 1),
        )


def gather(made, eve, view, folder):
    """The directory of an export, its parts linked instead of copied."""
    shelf = exports_of(made).shelf
    (folder / "parts").mkdir(parents=True)
    for n in range(view.parts):
        part = Path(made.call("exports.part", eve, export=view.id, n=n).path)
        (folder / "parts" / part.name).hardlink_to(part)
        hashes = shelf.read(f"{view.id}/hashes/{n:05d}")
        for path, tile in leaf_tiles(n * exports_of(made).part_records, hashes):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(tile)
    unzip(shelf.read(f"{view.id}/frame.zip"), folder)
    return folder


def main(argv):
    parser = argparse.ArgumentParser(prog="export-campaign", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--format", default="jsonl")
    options = parser.parse_args(argv)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # as the service does: a busy loop is no news
    with tempfile.TemporaryDirectory(prefix="guard-export-") as folder:
        figures = campaign(Path(folder) / "home", options.count, options.format)
    print(json.dumps(asdict(figures), indent=2))
    within = figures.memory_peak_mb < 300
    print(
        f"peak memory {figures.memory_peak_mb} MB, {'below' if within else 'NOT below'} 300 MB; the manifest verifies"
    )
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
