"""kill -9 of a server under load, round after round on one home, with the ledgers of its clients as the truth.

A killed process keeps its page cache, so this proves atomicity, recovery and restart; what a power cut leaves is
`power`'s to say.
"""

import random
import tempfile
import time
from pathlib import Path

from tests.cli.processes import Server
from tests.faults.ledger import Client, Crowd, Witness, compare
from tests.faults.tally import Tally

CLIENTS = 4
MOMENTS = (5, 160)  # answers after which the kill comes, at the earliest and at the latest
EXPORTED = 10  # every so many rounds the whole log is exported and verified
SECOND = 1.2  # now and then a round lives long enough for checkpoints to be signed under load


def crowd(server: Server, folder: Path, name: str, clients: int = CLIENTS) -> Crowd:
    """Clients of a running server, and one who keeps its checkpoints."""
    made = [Client(folder, f"{name}-c{number}", server.url, server.token()) for number in range(clients)]
    return Crowd([*made, Witness(folder, f"{name}-w", server.url, server.token("admin"))])


def kill_rounds(rounds: int) -> Tally:
    """So many lives of one home, each ended by SIGKILL at no particular moment."""
    tally = Tally("kill -9 under load")
    chance, answers, records = random.Random(9), 0, 0
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place:
        home, folder = Path(place) / "home", Path(place) / "ledgers"
        folder.mkdir()
        for turn in range(1, rounds + 1):
            server = Server(home)
            people = crowd(server, folder, f"r{turn}")
            if turn % 3 == 0:
                time.sleep(SECOND)
            people.until(sum(people.answers.values()) + chance.randrange(*MOMENTS))
            server.kill()
            people.end()
            books = compare(home, folder, export=turn == rounds or turn % EXPORTED == 0)
            tally.faults += [f"round {turn}: {type(error).__name__} {error}" for error in people.errors]
            tally.add(books.verdict, f"round {turn}")
            answers, records = answers + sum(people.answers.values()), books.size
    tally.note = f"{answers} answers, {records} records"
    return tally
