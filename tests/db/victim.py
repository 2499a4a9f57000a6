"""A guard that writes from several threads until it is killed: `python victim.py HOME LEDGER`.

For each line on stdin one child is forked, which opens the home, prints its pid, and works. Whatever the gate has
acknowledged is appended to the ledger: one line of `<kind> <request id> <handle or ->`, each by one write.
"""

import itertools
import os
import sys
import threading
from pathlib import Path

from guard.app import build
from guard.catalogue import Actor
from guard.settings import Settings

THREADS = 4
ANA = Actor("user:local|ana", "acme", "pat", "0123456789AB")


def work(gate, ledger, name):
    """Alternate a write, a computation and a refusal, and note each when it is acknowledged."""
    for number in itertools.count():
        request_id = f"{name}-{number}"
        minted = gate.call_named("tokens.create", {"subject": f"svc:s{number}"}, ANA, f"{request_id}-w")
        os.write(ledger, f"write {request_id}-w {minted.handle}\n".encode())
        check = {"subject": "svc:s1", "action": "keys.rotate", "resource": "keys/customers.email"}
        gate.call_named("checks.evaluate", check, ANA, f"{request_id}-c")
        os.write(ledger, f"check {request_id}-c -\n".encode())


def live(home, ledger_path, turn):
    """Open the home and work until the end comes."""
    guard = build(Settings(home=home))
    ledger = os.open(ledger_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    threads = [
        threading.Thread(target=work, args=(guard.gate, ledger, f"t{turn}.{number}"), daemon=True)
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    print(os.getpid(), flush=True)
    for thread in threads:
        thread.join()


def main(home, ledger):
    """Fork a child for each line of stdin, and say so when it is dead."""
    for turn, _ in enumerate(sys.stdin):
        child = os.fork()
        if child == 0:
            live(Path(home), Path(ledger), turn)
            os._exit(1)
        os.waitpid(child, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
