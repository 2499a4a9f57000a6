"""A receiver of the log that accepts and never reads: no request may wait for it, and none may be refused.

`KNOWN` says whether this release has sinks; where it has none there is nothing to run.
"""

import socket
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from guard.settings import Settings
from tests.faults.kills import crowd
from tests.faults.ledger import SLOW_SECONDS, compare
from tests.faults.processes import make_home, serve
from tests.faults.tally import Tally

KNOWN = "sinks" in {item.name for item in fields(Settings)}
BUFFER_BYTES = 4096  # the receiver's, so that it is full after a few records
ANSWERS = 300
ROUNDS = 3  # at most
CLIENTS = 2


@contextmanager
def black_hole() -> Iterator[int]:
    """The port of a listener whose connections nobody reads."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def stuck(rounds: int) -> Tally:
    """A server with clients, beside a server with the same clients and no sink."""
    tally = Tally("stuck SIEM")
    for turn in range(1, min(rounds, ROUNDS) + 1):
        medians = []
        for sink in (False, True):
            with tempfile.TemporaryDirectory(prefix="guard-faults-") as place, black_hole() as port:
                home, folder = make_home(Path(place)), Path(place)
                if sink:
                    with (home / "guard.toml").open("a") as file:
                        file.write(f'[[sinks]]\nname = "siem"\nplugin = "syslog"\naddress = "tcp://127.0.0.1:{port}"\n')
                with serve(home) as server:
                    people = crowd(server, folder, f"h{turn}", CLIENTS)
                    people.until(ANSWERS)
                    people.end()
                    ended = server.stop()
                medians.append(statistics.median(people.times))
                tally.faults += [f"round {turn}: {error!r}" for error in people.errors]
                if ended or people.slowest > SLOW_SECONDS or any(status >= 500 for status in people.answers):
                    tally.faults.append(
                        f"round {turn}: ended with {ended}, {people.slowest:.1f} s, {dict(people.answers)}"
                    )
                tally.add(compare(home, folder, export=True).verdict, f"round {turn}")
        tally.note = f"median latency {medians[1] / medians[0]:.2f} of that without a sink"
    return tally
