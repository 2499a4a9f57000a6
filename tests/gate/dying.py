"""A process that dies by SIGKILL inside an external operation: `python dying.py HOME [after]`.

With `after` it dies when the call is made and its outcome is about to be written; without, in the middle of the call.
"""

import os
import signal
import sys
from pathlib import Path

from tests.gate.building import stage


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def send(ctx, _request):
    if "after" in sys.argv:
        ctx.at_outcome(die)
    else:
        die()


with stage(Path(sys.argv[1])) as made:
    ana = made.hire("acme", "user:local|ana", "role:tester")
    made.script["a"] = send
    made.call("notes.send", ana)
