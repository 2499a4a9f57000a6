"""Keeps the memory of a process that holds keys out of core dumps, other processes and swap.

prctl(2) PR_SET_DUMPABLE 0: no core dump, no ptrace and no /proc/PID/mem for other processes of the same user.
setrlimit(2) RLIMIT_CORE 0: the same once more, for the kernel's dump to a file or pipe. mlockall(2) where the limit
allows it without bound. Law: what the kernel refuses is told and does not stop the service; root is beyond all of it.
"""

import ctypes
import os
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_CURRENT_FUTURE_ONFAULT: Final = 1 | 2 | 4


def harden() -> list[str]:
    """Do it for this process; what the kernel refused, in words."""
    refused = []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        refused.append(f"PR_SET_DUMPABLE: {os.strerror(ctypes.get_errno())}")
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        refused.append(f"RLIMIT_CORE: {error}")
    # With a bounded limit a later allocation would fail for want of lockable memory, which is worse than swap.
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY and libc.mlockall(
        _CURRENT_FUTURE_ONFAULT
    ):
        refused.append(f"mlockall: {os.strerror(ctypes.get_errno())}")
    return refused
