"""What the faults need of the machine: programs and root, with a plain reason where they are missing."""

import os
import shutil
from pathlib import Path

from tests.conftest import SYSTEM_PATH
from tests.faults.tally import Unfit


def find(program: str) -> Path:
    """The path of *program*.

    Raises:
        Unfit: it is not installed.
    """
    found = shutil.which(program, path=SYSTEM_PATH)
    if found is None:
        raise Unfit(f"this fault needs the program {program}, which is not installed")
    return Path(found)


def library(name: str) -> Path:
    """The path of a Debian library that is preloaded, wherever the architecture puts it.

    Raises:
        Unfit: it is not installed.
    """
    for place in ("/usr/lib", "/usr/lib64"):
        for found in sorted(Path(place).glob(f"**/{name}")):
            return found
    raise Unfit(f"this fault needs the library {name}, which is not installed")


def need_root() -> None:
    """Mounting is root's.

    Raises:
        Unfit: this process is somebody else.
    """
    if os.geteuid() != 0:
        raise Unfit("this fault mounts a small tmpfs, which only root may do")
