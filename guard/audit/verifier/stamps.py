"""Time-stamps of RFC 3161 in an evidence bundle, checked by the program openssl where it is installed.

Law: what was stamped is the exact bytes of a checkpoint of this log; a stamp over anything else says nothing about it.
Where openssl is missing the report says that the stamp was not checked, and never that it is good.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Set as AbstractSet
from pathlib import Path

from .notes import Head
from .reading import Reading

STAMP = re.compile(r"tsa/(0|[1-9][0-9]{0,18})\.tsr").fullmatch
TIMEOUT_SECONDS = 60


def check_stamps(reading: Reading, heads: AbstractSet[Head]) -> None:
    """Check each `tsa/<size>.tsr` over `tsa/<size>.checkpoint`, under the certificates that lie in `tsa/*.pem`."""
    chain = b"\n".join(reading.files.read(name) or b"" for name in reading.files.below("tsa/") if name.endswith(".pem"))
    for name in reading.files.below("tsa/"):
        if found := STAMP(name):
            stamped = f"tsa/{found[1]}.checkpoint"
            head = reading.read(stamped, lambda at, text: reading.open(at, text).head)
            token, data = reading.files.read(name), reading.files.read(stamped)
            if head and token is not None and data is not None:
                _tied(reading, stamped, int(found[1]), head, heads)
                _check(reading, name, data, token, chain)


def _tied(reading: Reading, name: str, size: int, head: Head, heads: AbstractSet[Head]) -> None:
    if head.size != size:
        reading.add(name, f"it is the checkpoint of size {head.size}, not the one of its name")
    if any(other.size == head.size and other != head for other in heads):
        reading.add(name, f"signs another root for the size {size} than a proof does: the log has two histories")
    elif head not in heads:
        told = f"{name}: no record here is proved under it, so it says nothing of their time"
        reading.report.unchecked.append(told)


def _check(reading: Reading, name: str, data: bytes, token: bytes, chain: bytes) -> None:
    program = shutil.which("openssl")
    if program is None:
        reading.report.unchecked.append(f"{name}: the program openssl is not installed")
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for part, content in (("data", data), ("token", token), ("chain", chain)):
            (folder / part).write_bytes(content)
        verify = ["-verify", "-data", "data", "-in", "token", "-CAfile", "chain", "-untrusted", "chain"]
        good, told = _openssl(program, folder, verify)
        if not good:
            reading.add(name, f"openssl ts does not accept it: {told}")
            return
        _, shown = _openssl(program, folder, ["-reply", "-in", "token", "-text"])
    time = re.search(r"Time stamp: ([^\n]+)", shown)
    reading.report.stamps.append(f"{name}: {time[1] if time else 'time unknown'}")
    reading.report.counts["stamps"] += 1


def _openssl(program: str, folder: Path, arguments: list[str]) -> tuple[bool, str]:
    """Whether `openssl ts` ended well, and what it said."""
    command = [program, "ts", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, type(error).__name__
    said = (done.stdout + done.stderr).decode(errors="replace")
    reasons = re.findall(r"(?m)^(?:error|[0-9A-F]+:error).*?:([^:\n]+:[^:\n]*)$", said)
    return done.returncode == 0, said if done.returncode == 0 else "; ".join(reasons) or said[-200:]
