"""Forgets a person in a process of its own and dies at a named call of the key store, as if the power went.

python -m tests.vault.forgetting_child HOME METHOD before|after NUMBER
"""

import os
import sys
from pathlib import Path

from guard.vault.key_store import KeyStore
from tests.vault.clinic import clinic

DEAD = 9


def die_at(method: str, when: str, number: int) -> None:
    """Make the *number*-th call of a method of the key store the last thing that this process does."""
    original, calls = getattr(KeyStore, method), [0]

    def last(*given: object) -> object:
        calls[0] += 1
        if calls[0] == number and when == "before":
            os._exit(DEAD)
        answer = original(*given)
        if calls[0] == number:
            os._exit(DEAD)
        return answer

    setattr(KeyStore, method, last)


def main(home: str, method: str, when: str, number: str) -> None:
    """Forget, rotate, and let the backups expire."""
    with clinic(Path(home)) as one:
        die_at(method, when, int(number))
        one.forget_now("ana")
        for days in (1.1, 31, 31):
            one.after(days)


if __name__ == "__main__":
    main(*sys.argv[1:])
