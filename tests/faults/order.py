"""No answer before the disk: in a trace of the server, each answer follows the fdatasync after its last WAL write.

Negative control: with libeatmydata preloaded no sync reaches the kernel, and the trace must show it.
"""

import re
import tempfile
from pathlib import Path

from tests.faults.ledger import Client
from tests.faults.processes import make_home, serve
from tests.faults.programs import find, library
from tests.faults.syscalls import traced
from tests.faults.tally import Tally

CALLS = ("pwrite64", "fdatasync", "fsync", "write", "writev", "sendto", "sendmsg")
LINE = re.compile(r"^(?P<thread>\d+)\s+(?P<call>\w+)\((?P<fd>\d+<[^(]*?>)?")
RESUMED = re.compile(r"^(?P<thread>\d+)\s+<\.\.\. (?P<call>\w+) resumed>")
SECONDS = 3600  # between beats, so that no loop writes while a request is answered: its write would look like ours


def early(trace: str) -> tuple[int, int, int]:
    """(answers, answers before their records were synced, syncs of the WAL) in a trace of one client's requests.

    A WAL write makes the log dirty when it begins; an fdatasync cleans what was written before it began, and only once
    it returned 0.
    """
    written = synced = answers = wrong = syncs = 0
    begun: dict[str, int] = {}
    for line in trace.splitlines():
        if found := RESUMED.match(line):
            if found["call"] in {"fdatasync", "fsync"} and found["thread"] in begun and line.endswith("= 0"):
                synced, syncs = max(synced, begun.pop(found["thread"])), syncs + 1
            continue
        if not (found := LINE.match(line)):
            continue
        target = found["fd"] or ""
        if found["call"] == "pwrite64" and "-wal>" in target:
            written += 1
        elif found["call"] in {"fdatasync", "fsync"} and "-wal>" in target:
            if "unfinished" in line:
                begun[found["thread"]] = written
            elif line.endswith("= 0"):
                synced, syncs = written, syncs + 1
        elif "HTTP/1.1 " in line and "TCP" in target:
            answers += 1
            wrong += synced < written
    return answers, wrong, syncs


def watch(rounds: int, variables: dict[str, str] | None = None) -> tuple[int, int, int]:
    """Trace a server while one client asks, one request after another."""
    find("strace")
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place:
        folder = Path(place)
        home = make_home(folder, heartbeat_milliseconds=1000 * SECONDS)
        with serve(home, variables) as server:
            client = Client(folder, "order", server.url, server.token())
            client.step()
            with traced(server.process.pid, folder / "trace", "", CALLS, "-yy", "-s", "16"):
                for _ in range(rounds):
                    client.step()
            client.close()
        return early((folder / "trace").read_text(errors="replace"))


def before_the_disk(rounds: int) -> Tally:
    """Each answer after its sync."""
    answers, wrong, syncs = watch(5 * rounds)
    tally = Tally("answers before their fdatasync", runs=answers, lost=wrong, note=f"{syncs} syncs of the WAL")
    if wrong or not syncs:
        tally.faults.append(f"{wrong} of {answers} answers left before the disk had their records")
    return tally


def unsynced(rounds: int) -> Tally:
    """The negative control."""
    preload = {"LD_PRELOAD": str(library("libeatmydata.so"))}
    answers, wrong, syncs = watch(5 * min(rounds, 10), preload)
    return Tally("answers under eatmydata", control=True, runs=answers, lost=wrong, note=f"{syncs} syncs of the WAL")
