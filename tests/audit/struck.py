"""A guard that is killed at a chosen moment of archiving: `python struck.py`, one line `HOME MOMENT` for each child.

A moment is the number of a call to the file system, or `before` or `after` for the COMMIT in which the rows leave.
"""

import os
import signal
import sys
from pathlib import Path

from sqlalchemy import event

from guard.app import build
from guard.audit.disk import Disk, Folder
from guard.audit.files import Files
from guard.catalogue import PLATFORM, Actor
from guard.settings import Settings

WORKER = Actor("system:worker", PLATFORM, "system")


def strike():
    os.kill(os.getpid(), signal.SIGKILL)


class Struck(Folder):
    """A directory whose process dies at the n-th call."""

    def __init__(self, root, moment):
        super().__init__(root)
        self.left = moment

    def __getattribute__(self, name):
        if name in {"create", "rename", "sync", "make", "read", "remove"}:
            self.left -= 1
            if self.left == 0:
                strike()
        return super().__getattribute__(name)


def live(home, moment):
    guard = build(Settings(home=home))
    if moment.isdecimal():
        guard.log.files = Files(Disk(Struck(home / "log" / "1", int(moment))))
    elif moment == "before":
        event.listen(guard.store.writer_engine, "commit", lambda _connection: strike())
    else:
        guard.log.archived = lambda _size: strike()
    for _ in range(2):
        guard.gate.call_named("log.archive", {}, WORKER, "archive")
    os._exit(0)


def main():
    for line in sys.stdin:
        home, moment = line.split()
        child = os.fork()
        if child == 0:
            live(Path(home), moment)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else "finished", flush=True)


if __name__ == "__main__":
    main()
