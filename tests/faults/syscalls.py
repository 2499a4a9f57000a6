"""Every system call that changes the disk, failed at its n-th time in each thread: EIO, ENOSPC from then on, SIGKILL.

A first play under strace counts the calls; then the play is repeated with one fault each. After each: a plain restart,
the whole log verified, and the ledger compared. strace counts per thread, and guard has one writer, so ordinals are
stable. The home starts just below a full tile of 256 records and crosses it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from tests.cli.processes import environment
from tests.faults.ledger import compare, read
from tests.faults.programs import find
from tests.faults.tally import Tally
from tests.vault.shop import bare

CALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "mkdir")
FAULTS = {"EIO": "error=EIO:when={}", "ENOSPC": "error=ENOSPC:when={}+", "KILL": "signal=KILL:when={}"}
NAMED_ENDS = {0, -9, 69, 70}  # in order, killed, a start refused by name, a COMMIT of unknown outcome
PATIENCE_SECONDS = 60
NEARLY_A_TILE = 235
RUNS_PER_ROUND = 3
FULL = 100


class Theatre:
    """The forking parent of all plays, and the homes that they begin with."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ledgers = place / "ledgers"
        settings = "".join(f'{name} = "{path}"\n' for name, path in bare(place).items())
        self.said = (place / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.scene", settings],
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True,
        )  # fmt: skip
        self.empty = place / "empty"
        self.empty.mkdir(0o700)
        (self.empty / "guard.toml").write_text(settings)
        self.grown = place / "grown"
        self.ended = ""

    def prepare(self) -> None:
        """Play once without faults: the home that the plays begin with, just below a full tile."""
        self.status, _ = self.play(self.empty, bulk=NEARLY_A_TILE)
        shutil.copytree(self.home, self.grown)
        shutil.copytree(self.ledgers, self.place / "earlier")

    @property
    def home(self) -> Path:
        return self.place / "home"

    def play(self, template: Path, bulk: int, inject: str = "") -> tuple[int, str]:
        """One play on a copy of *template*, traced and with a fault if one is given; exit status and trace."""
        for folder, source in ((self.home, template), (self.ledgers, self.place / "earlier")):
            shutil.rmtree(folder, ignore_errors=True)
            if (source.is_dir() and template != self.empty) or folder == self.home:
                shutil.copytree(source, folder)
            else:
                folder.mkdir()
        ledger = self.ledgers / f"play{time.monotonic_ns()}.ledger"
        asked = {"home": str(self.home), "ledger": str(ledger), "bulk": bulk}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        with traced(pid, self.place / "trace", inject):
            Path(f"{ledger}.go").touch()
            status = int(self.process.stdout.readline())
        return status, (self.place / "trace").read_text(errors="replace")

    def told(self) -> str:
        """The last line on stderr."""
        self.said.seek(0)
        return (self.said.read().splitlines() or [""])[-1][:300]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE_SECONDS)
        self.process.stdout.close()
        self.said.close()


@contextmanager
def traced(pid: int, log: Path, inject: str = "", calls: tuple[str, ...] = CALLS, *more: str) -> Iterator[None]:
    """strace on *pid* and all its threads until the block ends and the process has, or the tracer is told to let go."""
    command = [str(find("strace")), "-f", "-p", str(pid), "-o", str(log), "-e", f"trace={','.join(calls)}", *more]
    command += ["-e", f"inject={inject}"] if inject else []
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, f"strace cannot trace here: {said}"
        yield
    finally:
        tracer.terminate()
        tracer.communicate(timeout=PATIENCE_SECONDS)


@contextmanager
def theatre() -> Iterator[Theatre]:
    """A prepared theatre, closed at the end."""
    find("strace")
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place:
        made = Theatre(Path(place))
        try:
            made.prepare()
            yield made
        finally:
            made.close()


def counted(trace: str) -> Counter[str]:
    """How often each call occurs in the thread that makes it most often."""
    threads: Counter[tuple[str, str]] = Counter()
    for line in trace.splitlines():
        thread, _, rest = line.partition(" ")
        name = rest.strip().partition("(")[0]
        if name in CALLS:
            threads[thread, name] += 1
    most: Counter[str] = Counter()
    for (_, name), count in threads.items():
        most[name] = max(most[name], count)
    return most


def spread(count: int, wanted: int) -> list[int]:
    """At most *wanted* of the ordinals 1 to *count*, evenly, with the first and the last."""
    if wanted >= count:
        return list(range(1, count + 1))
    return sorted({1 + round(index * (count - 1) / max(1, wanted - 1)) for index in range(wanted)})


def plan(counts: Counter[str], runs: int) -> list[tuple[str, str, int]]:
    """(call, fault, ordinal) for about so many runs, shared fairly between all calls and faults."""
    pairs = sorted(product(sorted(counts), FAULTS))
    each, rest = divmod(runs, len(pairs))
    if not each:  # few runs: one ordinal in the middle for every n-th pair
        chosen = [pairs[index * len(pairs) // rest] for index in range(rest)]
        return [(call, fault, (counts[call] + 1) // 2) for call, fault in chosen]
    return [(call, fault, ordinal) for call, fault in pairs for ordinal in spread(counts[call], each)]


def matrix(rounds: int) -> Tally:
    """The matrix over an existing home, and a third as many plays over one that does not exist yet."""
    tally = Tally("system calls that fail (EIO, ENOSPC, SIGKILL)")
    ends: Counter[Any] = Counter()
    bulk = 300 if rounds >= FULL else 40
    with theatre() as stage:
        for template, runs in ((stage.grown, RUNS_PER_ROUND * rounds), (stage.empty, RUNS_PER_ROUND * rounds // 3)):
            status, trace = stage.play(template, bulk)
            tally.add(compare(stage.home, stage.ledgers, export=True).verdict, "no fault")
            tally.faults += [] if status == 0 else [f"without a fault the play ended with {status}"]
            for call, fault, ordinal in plan(counted(trace), runs):
                inject = f"{call}:{FAULTS[fault].format(ordinal)}"
                where = f"{template.name} {inject}"
                status, _ = stage.play(template, bulk, inject)
                ends[status] += 1
                judge(tally, stage, where)
                if status not in NAMED_ENDS:
                    tally.faults.append(f"{where}: ended with {status}, which names nothing: {stage.told()}")
    tally.note = "ended with " + ", ".join(f"{status}: {count}" for status, count in sorted(ends.items()))
    return tally


def judge(tally: Tally, stage: Theatre, where: str) -> None:
    """A plain restart and the checks. A home that was never acknowledged may refuse to open, if it names itself."""
    books = compare(stage.home, stage.ledgers, export=True)
    started = any(line[0] in {"START", "ACK"} for line in read(stage.ledgers))
    if not started and books.unopened:
        books.verdict.faults.clear()
        tally.named += 1
    tally.add(books.verdict, where)
