"""The verifier as a function and as a command: `PATH [--vkey VKEY] [--policy FILE] [--since CHECKPOINT] [--json]`.

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
from .lineage import compare
from .notes import parse_vkey
from .policy import parse_policy, parse_ranges
from .promises import judge, want
from .reading import Reading
from .report import COUNTED, Progress, Report, Unusable, printable
from .run import Run
from .trust import Trust

KINDS = {"log": "log", "export": "export of the log", "evidence": "evidence from the log"}


def verify(
    path: Path,
    *,
    vkeys: Sequence[str] = (),
    since: bytes = b"",
    policy: str = "",
    ranges: str = "",
    min_index: int = 0,
    replaces: Path | None = None,
    receipts: Sequence[str] = (),
    tsa_ca: bytes = b"",
    progress: Progress | None = None,
) -> Report:
    """Check a log directory, an export or an evidence bundle, or a zip of one.

    `vkeys`, `policy` and `ranges` are known from elsewhere; without any, the keys and the quorum inside are taken at
    their word. Entries before `since`, a checkpoint that was verified earlier, are not read again. Those before
    `min_index`, as it is known from elsewhere, may be missing: they were pruned.
    `replaces` is a copy of the log that this one replaced after a fork; it is verified as well.
    `receipts` are judged by the log, or by the one that it replaced if that one gave them.
    `tsa_ca` are the only roots, in PEM, that time-stamps may have.

    Raises:
        Unusable: there is nothing at the path, or a key, policy or range is malformed.
    """
    known = (vkeys, policy, ranges)
    reading = _opened(path, *known)
    reading.given_min_index, reading.tsa_ca = min_index, tsa_ca
    want(reading, receipts)
    Run(reading).run(since, progress or (lambda *_: None))
    old = None if replaces is None else _opened(replaces, *known)
    if old is not None:
        want(old, receipts)
        old.promised = reading.watch.replaced
        Run(old).run(b"", progress or (lambda *_: None))
        compare(reading.report, old.report, reading.watch.replaced, old.led_to)
    judge(reading, receipts, old)
    return reading.report


def _opened(path: Path, vkeys: Sequence[str], policy: str, ranges: str) -> Reading:
    report = Report(str(path))
    try:
        given, files = dict(map(parse_vkey, vkeys)), Files(path, report)
        own = parse_policy(policy) if policy else None
        trust = Trust(given, own, parse_ranges(ranges) if ranges else None)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        came = error if path.exists() else "there is nothing"
        raise Unusable(f"Expected a log directory or a zip of one at {path}, and well-formed keys: {came}.") from None
    return Reading(files, report, trust)


def main(argv: Sequence[str]) -> int:
    """The command; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        since = (options.since.read_bytes() or b"?") if options.since else b""
        policy, ranges = (path.read_text("utf-8") if path else "" for path in (options.policy, options.ranges))
        shown = _progress if sys.stderr.isatty() else None
        given = {"vkeys": options.vkey, "since": since, "policy": policy, "ranges": ranges}
        given["receipts"] = [receipt for text in options.receipt for receipt in _receipts(text)]
        given["tsa_ca"] = options.tsa_ca.read_bytes() + b"\n" if options.tsa_ca else b""
        given |= {"min_index": options.min_index, "replaces": options.replaces}
        report = verify(options.path, progress=shown, **given)
    except Unusable as error:
        return _unusable(str(error))
    except OSError as error:
        return _unusable(
            f"Expected to read {error.filename or options.path}, got: {error.strerror}; name another file."
        )
    except UnicodeDecodeError:
        return _unusable("Expected UTF-8 in the files of --policy, --ranges and --receipt, got other bytes.")
    members = {"ok": not report.faults, **asdict(report), "faults": [fault._asdict() for fault in report.faults]}
    known = bool(options.vkey or options.policy)
    sys.stdout.write((json.dumps(members, indent=2) if options.json else _summary(report, known=known)) + "\n")
    return 7 if report.faults else 0


def _unusable(why: str) -> int:
    sys.stderr.write(f"verify: {why}\n")
    return 2


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected the index of a record, 0 or more, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="verify", description="Verify a guard audit log offline.")
    parser.add_argument("path", type=Path, help="log directory, export or evidence bundle, or a zip of one")
    parser.add_argument("--vkey", action="append", default=[], help="verifier key of the log, known from elsewhere")
    parser.add_argument("--policy", type=Path, help="keys, witnesses and quorum, known from elsewhere (tlog-policy)")
    parser.add_argument("--ranges", type=Path, help="which key may sign which sizes, known from elsewhere")
    parser.add_argument("--since", type=Path, help="checkpoint verified earlier; what lies before it is not read again")
    parser.add_argument("--min-index", type=_index, default=0, help="where the pruned log begins, known from elsewhere")
    parser.add_argument("--replaces", type=Path, help="copy of the log that this one replaced after a fork")
    parser.add_argument("--receipt", action="append", default=[], help="receipt to judge, or @FILE with some of them")
    parser.add_argument("--tsa-ca", type=Path, help="root certificates of the time-stamp authority, in PEM")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    return parser


def _receipts(text: str) -> list[str]:
    """The receipts of one argument."""
    return Path(text[1:]).read_text("utf-8").split() if text.startswith("@") else [text]


def _progress(done: int, size: int) -> None:
    sys.stderr.write("\r\x1b[K" if done == size else f"\r{done:,} of {size:,} entries" if done % (1 << 16) == 0 else "")


def _summary(report: Report, *, known: bool) -> str:
    trust = "the given key" if known else "the key in policy.txt: compare it with the one you hold, or pass --vkey"
    counts = {name: count for name, count in report.counts.items() if count or name in COUNTED}
    lines = [f"FAULT {fault}" for fault in report.faults]
    if report.origin:
        lines += [f"{KINDS[report.kind]} {report.origin}, size {report.size}, root {report.root}"]
        lines += [", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in counts.items())]
        lines += [f"signed by {', '.join(report.signers)}, known by {trust}"]
        lines += [f"cosigned by {', '.join(report.cosigners)}"] if report.cosigners else []
    for one in report.replaced:
        lines += [printable(f"record 0 says: it replaced {one['origin']}, size {one['size']}, root {one['root']}")]
    lines += [printable(f"{report.follows} is the log that it replaced")] if report.follows else []
    if report.min_index:
        lines += [_pruned(report)]
    lines += [printable(f"{one['receipt']}: {one['verdict']}: {one['detail']}") for one in report.receipts]
    lines += [f"time-stamped {printable(stamp)}" for stamp in report.stamps]
    lines += [f"not checked: {printable(told)}" for told in report.unchecked]
    if not report.counts["manifest"]:
        lines += ["no manifest.json: a removed proof, signature or earlier checkpoint would not be noticed"]
    return "\n".join([*lines, f"NOT VERIFIED: {len(report.faults)} faults" if report.faults else "verified"])


def _pruned(report: Report) -> str:
    gone = report.counts["pruned"] if report.kind == "log" else report.min_index
    whose = " and ".join(report.vouched) or "nobody"
    hashes = "their entries are gone and were not checked, their hashes were"
    return f"pruned {gone:,} records below min_index {report.min_index}: {hashes}; vouched for by {whose}"
