"""Time-stamps of RFC 3161 in an evidence bundle, checked by the program openssl where it is installed.

Law: what was stamped is the exact bytes of a checkpoint of this log; a stamp over anything else says nothing about it.
Where openssl or a root certificate is missing the report says that the stamp was not checked, never that it is good. A
root that lies in the bundle is worth what the bundle is worth; one from elsewhere (`--tsa-ca`) is trusted alone. The
chain is checked as of the time that the token states, since certificates of authorities expire before evidence does.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path

from .notes import Head
from .reading import Reading

STAMP = re.compile(r"tsa/(0|[1-9][0-9]{0,18})\.tsr").fullmatch
TIMEOUT_SECONDS = 60
_TIMES = re.compile(r"(?m)^Time stamp: ([^\n]+)").findall


def check_stamps(reading: Reading, heads: AbstractSet[Head]) -> None:
    """Check each `tsa/<size>.tsr` over `tsa/<size>.checkpoint`, under the certificates that lie in `tsa/*.pem`."""
    inside = b"\n".join(
        reading.files.read(name) or b"" for name in reading.files.below("tsa/") if name.endswith(".pem")
    )
    for name in reading.files.below("tsa/"):
        if found := STAMP(name):
            stamped = f"tsa/{found[1]}.checkpoint"
            head = reading.read(stamped, lambda at, text: reading.open(at, text).head)
            token, data = reading.files.read(name), reading.files.read(stamped)
            if head and token is not None and data is not None:
                _tied(reading, stamped, int(found[1]), head, heads)
                _check(reading, name, data, token, inside)


def _tied(reading: Reading, name: str, size: int, head: Head, heads: AbstractSet[Head]) -> None:
    if head.size != size:
        reading.add(name, f"it is the checkpoint of size {head.size}, not the one of its name")
    if any(other.size == head.size and other != head for other in heads):
        reading.add(name, f"signs another root for the size {size} than a proof does: the log has two histories")
    elif head not in heads:
        told = f"{name}: no record here is proved under it, so it says nothing of their time"
        reading.report.unchecked.append(told)


def _check(reading: Reading, name: str, data: bytes, token: bytes, inside: bytes) -> None:
    program = shutil.which("openssl")
    if program is None:
        reading.report.unchecked.append(f"{name}: the program openssl is not installed")
        return
    roots = reading.tsa_ca or inside
    if not roots.strip():
        told = f"{name}: no certificate of a time-stamp authority is here, pass one with --tsa-ca"
        reading.report.unchecked.append(told)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for part, content in (("data", data), ("token", token), ("roots", roots), ("chain", inside or roots)):
            (folder / part).write_bytes(content)
        _, shown = _openssl(program, folder, ["-reply", "-in", "token", "-text"])
        time = (_TIMES(shown) or [""])[-1]  # what stands before the signed part is the sender's own text
        verify = ["-verify", "-data", "data", "-in", "token", "-CAfile", "roots", "-untrusted", "chain"]
        good, told = _openssl(program, folder, verify + _at(time))
        if not good:
            reading.add(name, f"openssl ts does not accept it: {told}")
            return
    whose = "the given certificate" if reading.tsa_ca else "a certificate that lies in the bundle: pass --tsa-ca"
    reading.report.stamps.append(f"{name}: {time or 'time unknown'}, under {whose}")
    reading.report.counts["stamps"] += 1


def _at(time: str) -> list[str]:
    """The option that checks certificates as of the time that a token states."""
    try:
        made = datetime.strptime(re.sub(r"\.[0-9]+", "", time), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    except ValueError:
        return []
    return ["-attime", str(int(made.timestamp()))]


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
