"""A process that dies by SIGKILL in the middle of an erasure: `python erasing.py HOME MOMENT`.

The moments are the boundaries between what an erasure does: before and after the commit of the approval, before and
after values are deleted, before and after the write-ahead log is emptied, and when the end is about to be recorded.
"""

import os
import signal
import sys
from pathlib import Path

from guard.audit import erasure_operations, erasure_store, sealed_store
from guard.db import scrub
from tests.audit.privacy import Office, office

VALUES = 9


def die(*_given, **_named):
    os.kill(os.getpid(), signal.SIGKILL)


def after(work):
    """Do it, then die."""

    def both(*given):
        work(*given)
        die()

    return both


def at_close(work):
    """Die when an erasure is about to be written as done."""

    def write(tx, view):
        if view.state == "done":
            die()
        work(tx, view)

    return write


def main(home, moment):
    erasure_operations.DELETE_LIMIT = 4
    with office(home.parent) as made:
        desk = Office(made)
        for _ in range(VALUES):
            desk.search()
        asked = desk.ask()
        if moment == "before the approval is durable":
            erasure_store.write = after(erasure_store.write)
        desk.call("counsel", "erasures.approve", erasure=asked.id)
        if moment == "after the approval":
            die()
        if moment == "before values are deleted":
            sealed_store.delete_some = die
        if moment == "before the deletion is durable":
            sealed_store.delete_some = after(sealed_store.delete_some)
        desk.step(asked.id)
        if moment == "after some values are deleted":
            die()
        if moment == "before the write-ahead log is emptied":
            scrub.empty_wal = die
        if moment == "after the write-ahead log was emptied":
            scrub.empty_wal = after(scrub.empty_wal)
        if moment == "after the search":
            scrub.count = after(scrub.count)
        if moment == "before the end is durable":
            erasure_store.write = at_close(erasure_store.write)
        desk.carry_on(asked.id)
        raise SystemExit("nobody died")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
