"""An fsync that fails once under a server: the process ends with status 70, and after a restart the disk decides.

The failure may hit a COMMIT, whose outcome is then unknown and is never tried again, or a checkpoint of the WAL, whose
pages are written anew by the next one; either way nothing that was acknowledged may be missing afterwards.
"""

import subprocess
import tempfile
from pathlib import Path

from tests.faults.kills import crowd
from tests.faults.ledger import compare
from tests.faults.processes import make_home, serve
from tests.faults.syscalls import traced
from tests.faults.tally import Tally

OUTCOME_UNKNOWN = 70  # the status with which a process ends whose COMMIT has no known outcome
FIRST, STEP = 2, 7  # the sync that fails in the first round, and how many later in each further one
ROUNDS = 10  # at most
PATIENCE_SECONDS = 60


def failing_fsync(rounds: int) -> Tally:
    """So many lives of one home, each ended by a sync that failed once."""
    tally = Tally("fsync fails once under a server")
    ends: list[int | None] = []
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place:
        home, folder = make_home(Path(place)), Path(place)
        for turn in range(1, min(rounds, ROUNDS) + 1):
            number = FIRST + STEP * (turn - 1)
            with serve(home) as server:
                inject = f"fdatasync:error=EIO:when={number}"
                with traced(server.process.pid, folder / "trace", inject, ("fdatasync",)):
                    people = crowd(server, folder, f"s{turn}")
                    try:
                        server.process.wait(PATIENCE_SECONDS)
                    except subprocess.TimeoutExpired:
                        tally.faults.append(f"round {turn}: sync {number} failed and the process lives")
                    people.end()
                ends.append(server.process.poll())
            if ends[-1] != OUTCOME_UNKNOWN:
                tally.faults.append(f"round {turn}: ended with {ends[-1]}, not {OUTCOME_UNKNOWN}")
            tally.faults += [f"round {turn}: {type(error).__name__} {error}" for error in people.errors]
            tally.add(compare(home, folder, export=True).verdict, f"round {turn}")
    tally.note = f"each ended with {OUTCOME_UNKNOWN}"
    return tally
