"""`guard logs ...`."""

import base64
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress

from guard.cli.session import Session, verb
from guard.errors import InvalidInput

group = typer.Typer()
FormatOption = Annotated[str, typer.Option("--format", help="the log's format")]
PIECE_LINES = 10_000
PIECE_BYTES = 2_000_000
FINGERPRINT_BYTES = 256
MAX_LINE_BYTES = 1 << 20  # a line without an end is no log
COUNTS = ("lines", "strict", "lenient", "rejected", "matched", "repeated", "alerts", "decisions", "spared", "incidents")


@verb(group, "try")
def try_log(session: Session, file: Path, log_format: FormatOption = "combined") -> Any:
    """Say how a log would be read, with the first lines that do not parse. Needs no server and keeps nothing.

    Example: guard logs try /var/log/nginx/access.log
    """
    del session
    from guard.detect import intake  # the server's parser, only here
    from guard.detect.store import beginning
    from guard.plugins import load

    parse = load("detect/formats", log_format).parse
    totals = {"lines": 0, "strict": 0, "lenient": 0, "rejected": 0}
    reasons: dict[str, int] = {}
    samples: list[dict[str, Any]] = []
    for _, piece in pieces(file):
        found = intake.read(piece, parse)
        for number, _, reason, line in found.rejects:
            reasons[reason] = reasons.get(reason, 0) + 1
            if len(samples) < 3:  # noqa: PLR2004 - enough to see what is wrong
                samples.append({"line": totals["lines"] + number, "reason": reason, "beginning": beginning(line)})
        for name, count in zip(totals, (found.lines, found.strict, found.lenient, len(found.rejects)), strict=True):
            totals[name] += count
    return {"file": str(file), **totals, "reasons": reasons, "samples": samples}


@verb(group, "replay")
def replay(
    session: Session,
    file: Path,
    stream: Annotated[str, typer.Option(help="name of the stream")] = "replay",
    log_format: FormatOption = "combined",
) -> Any:
    """Read a whole log: parse, detect, decide. Reading it again changes nothing.

    Example: guard logs replay access.log --stream shop
    """
    totals = dict.fromkeys(COUNTS, 0)
    size = file.stat().st_size if file.is_file() else None
    console = Console(stderr=True)
    with session.client() as client, Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=size if file.suffix != ".gz" else None)
        fingerprint = fingerprint_of(file)
        offset = 0
        members = {"stream": stream, "format": log_format, "fingerprint": fingerprint}
        for offset, piece in pieces(file):
            answer = client.call("events.push", **members, offset=offset, data=base64.b64encode(piece).decode())
            add(totals, answer)
            bar.update(task, completed=offset + len(piece))
        add(totals, client.call("events.push", **members, offset=offset, data="", end=True))
    return totals


@verb(group, "streams")
def streams(session: Session) -> Any:
    """List log streams with their counts.

    Example: guard logs streams
    """
    return session.call("events.streams")


@verb(group, "rejects")
def rejects(session: Session, stream: str, limit: int = 20) -> Any:
    """Show kept lines that did not parse.

    Example: guard logs rejects shop
    """
    return session.call("events.rejects", stream=stream, limit=limit)


@verb(group, "alerts", columns=("rule", "level", "key", "t0_us", "peak", "phase", "outcome"))
def alerts(session: Session, limit: int = 100) -> Any:
    """List alerts, newest first.

    Example: guard logs alerts
    """
    return session.call("alerts.list", limit=limit)


@verb(group, "decisions", columns=("id", "value", "type", "until_us", "state"))
def decisions(session: Session, active: bool = False, limit: int = 100) -> Any:
    """List bans and other decisions, newest first.

    Example: guard logs decisions --active
    """
    return session.call("decisions.list", active=str(active).lower(), limit=limit)


@verb(group, "ban")
def ban(session: Session, address: str, seconds: int = 3600, reason: str = "") -> Any:
    """Ban an address or a network by hand.

    Example: guard logs ban 192.0.2.7 --seconds 3600 --reason "seen this morning"
    """
    scope = "Range" if "/" in address else "Ip"
    return session.call("decisions.create", value=address, scope=scope, seconds=seconds, reason=reason)


@verb(group, "unban")
def unban(session: Session, decision: str, reason: str = "") -> Any:
    """Lift a decision.

    Example: guard logs unban dec_0198 --reason "our own health check"
    """
    session.call("decisions.revoke", decision=decision, reason=reason)
    return {"revoked": decision}


@verb(group, "check")
def check(session: Session, value: str) -> Any:
    """Say whether anything is in force against an address or account.

    Example: guard logs check 192.0.2.7
    """
    return session.call("decisions.check", value=value)


@verb(group, "rules", columns=("name", "level", "action", "shadow", "runbook"))
def rules(session: Session) -> Any:
    """List the detection rules.

    Example: guard logs rules
    """
    return session.call("rules.list")


def add(totals: dict[str, int], answer: dict[str, int]) -> None:
    """Add the counts of one piece."""
    for name in COUNTS:
        totals[name] += answer[name]


def pieces(file: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, whole lines) of a log, plain or gzip; a last line without its end gets one.

    Raises:
        InvalidInput: the file cannot be read, or has a line of more than 1 MiB.
    """
    with _open(file) as source:
        offset, piece, length, count = 0, [], 0, 0
        while line := _line(source, file):
            piece.append(line if line.endswith(b"\n") else line + b"\n")
            length += len(piece[-1])
            count += 1
            if count >= PIECE_LINES or length >= PIECE_BYTES:
                yield offset, b"".join(piece)
                offset, piece, length, count = offset + length, [], 0, 0
        if piece:
            yield offset, b"".join(piece)


def fingerprint_of(file: Path) -> str:
    """A hash of the file's beginning, by which a log is known again under another name or compressed."""
    with _open(file) as source:
        return hashlib.sha256(_read(source, file, FINGERPRINT_BYTES)).hexdigest()


def _open(file: Path) -> BinaryIO:
    try:
        return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]  # same methods
    except OSError as error:
        raise InvalidInput(f"Expected a log file at {file}, got: {error.strerror}; check the path.") from None


def _line(source: BinaryIO, file: Path) -> bytes:
    try:
        line = source.readline(MAX_LINE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"Expected to read {file} to its end, got: {error}; it may be cut off.") from None
    if len(line) > MAX_LINE_BYTES:
        raise InvalidInput(f"Expected lines of at most {MAX_LINE_BYTES} bytes in {file}, got a longer one.")
    return line


def _read(source: BinaryIO, file: Path, size: int) -> bytes:
    try:
        return source.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"Expected to read {file}, got: {error}; it may be cut off.") from None
