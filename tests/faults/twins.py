"""Two processes on one store: the second is refused by name, and the first does not notice."""

import tempfile
from pathlib import Path

from tests.cli.processes import guard, told
from tests.faults.kills import crowd
from tests.faults.ledger import SLOW_SECONDS, compare
from tests.faults.processes import make_home, serve
from tests.faults.tally import Tally

VERBS = (("dev", "--port", "0"), ("serve", "--port", "0"), ("worker",))
ROUNDS = 3  # at most
CLIENTS = 2


def second_process(rounds: int) -> Tally:
    """Each verb that owns a home, beside a server with clients."""
    tally = Tally("second process on one store")
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place:
        home, folder = make_home(Path(place)), Path(place)
        for turn in range(1, min(rounds, ROUNDS) + 1):
            with serve(home) as server:
                people = crowd(server, folder, f"p{turn}", CLIENTS)
                for verb, *options in VERBS:
                    second = guard(verb, "--home", str(home), *options)
                    if second.returncode == 0 or f"process {server.process.pid} is using it" not in told(second):
                        tally.faults.append(f"{verb} was not refused by name: {second.returncode} {told(second)}")
                before = sum(people.answers.values())
                people.until(before + 20)
                if sum(people.answers.values()) < before + 20 or people.errors:
                    tally.faults.append(f"the first was disturbed: {dict(people.answers)} {people.errors}")
                people.end()
                if any(status >= 500 for status in people.answers) or people.slowest > 2 * SLOW_SECONDS:
                    tally.faults.append(f"the first was disturbed: {dict(people.answers)}, {people.slowest:.1f} s")
                if server.stop() != 0:
                    tally.faults.append("the first did not end in order")
            tally.add(compare(home, folder, export=True).verdict, f"round {turn}")
    return tally
