"""The verifier as a function and as a command: `PATH [--vkey VKEY] [--since CHECKPOINT] [--json]`.

Law: exit 0 means that all holds, 7 that something does not, 2 that there was nothing to verify.
"""

import argparse
import json
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .files import Files
from .notes import parse_vkey
from .report import Progress, Report, Unusable
from .run import Run


def verify(path: Path, *, vkeys: Sequence[str] = (), since: bytes = b"", progress: Progress | None = None) -> Report:
    """Check a log directory or a zip of one; raises Unusable if there is none, or a key is malformed.

    `vkeys` are keys known from elsewhere; without any, the keys of `policy.txt` inside are taken at their word. Entries
    before `since`, a checkpoint that was verified earlier, are not read again.
    """
    report = Report(str(path))
    try:
        given, files = dict(map(parse_vkey, vkeys)), Files(path, report)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        came = error if path.exists() else "there is nothing"
        raise Unusable(f"Expected a log directory or a zip of one at {path}, and well-formed keys: {came}.") from None
    Run(files, report, given).run(given, since, progress or (lambda *_: None))
    return report


def main(argv: Sequence[str]) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="verify", description="Verify a guard audit log offline.")
    parser.add_argument("path", type=Path, help="log directory, or a zip of one")
    parser.add_argument("--vkey", action="append", default=[], help="verifier key of the log, known from elsewhere")
    parser.add_argument("--since", type=Path, help="checkpoint verified earlier; what lies before it is not read again")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    options = parser.parse_args(argv)
    try:
        since = (options.since.read_bytes() or b"?") if options.since else b""
        shown = _progress if sys.stderr.isatty() else None
        report = verify(options.path, vkeys=options.vkey, since=since, progress=shown)
    except (Unusable, OSError) as error:
        sys.stderr.write(f"verify: {error}\n")
        return 2
    faults = [fault._asdict() for fault in report.faults]
    text = json.dumps({"ok": not faults, **asdict(report), "faults": faults}, indent=2)
    sys.stdout.write((text if options.json else _summary(report, given=bool(options.vkey))) + "\n")
    return 7 if faults else 0


def _progress(done: int, size: int) -> None:
    sys.stderr.write("\r\x1b[K" if done == size else f"\r{done:,} of {size:,} entries" if done % (1 << 16) == 0 else "")


def _summary(report: Report, *, given: bool) -> str:
    trust = "the given key" if given else "the key in policy.txt: compare it with the one you hold, or pass --vkey"
    counts = ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in report.counts.items())
    lines = [f"FAULT {fault}" for fault in report.faults]
    if report.origin:
        lines += [f"log {report.origin}, size {report.size}, root {report.root}", counts]
        lines += [f"signed by {', '.join(report.signers)}, known by {trust}"]
    if not report.counts["manifest"]:
        lines += ["no manifest.json: a removed proof, signature or earlier checkpoint would not be noticed"]
    return "\n".join([*lines, f"NOT VERIFIED: {len(report.faults)} faults" if report.faults else "verified"])
