"""`guard audit` on what keeps the log honest: its clock, its keys, its witnesses."""

from typing import Annotated, Any

import typer

from guard.cli.session import Output, Session, verb

RequestOption = Annotated[str | None, typer.Option(help="id of another person's request that you accept")]
DaysOption = Annotated[int, typer.Option(help="for how many days the old keys sign too")]


def register(group: typer.Typer) -> None:
    """Add the verbs to *group*."""
    verb(group, "accept-clock")(accept_clock)
    verb(group, "rotate-log-key", columns=("from_size", "to_size", "until_us", "vkey"))(rotate_log_key)
    verb(group, "log-keys", columns=("from_size", "to_size", "until_us", "vkey"))(log_keys)
    verb(group, "witnesses", columns=("name", "size", "lag", "status", "cosigned_us"))(witnesses)


def accept_clock(session: Session, reason: str = "", request: RequestOption = None) -> Any:
    """Sign checkpoints on although the clock is behind the last one: one person asks, another accepts.

    Example: guard audit accept-clock --reason "the clock was a year ahead until today" --as admin
    """
    return session.call("checkpoints.accept_clock", reason=reason, request=request)


def rotate_log_key(session: Session, overlap_days: DaysOption = 30) -> Any:
    """Give the log new signing keys; the old ones sign beside them for some days.

    Example: guard audit rotate-log-key --overlap-days 30 --as admin
    """
    return session.call("log_keys.rotate", overlap_days=overlap_days)


def log_keys(session: Session) -> Any:
    """List the log's keys and the sizes of the checkpoints that each may sign.

    Example: guard audit log-keys --as admin
    """
    return session.call("log_keys.list")


def witnesses(session: Session) -> Any:
    """List the witnesses: what each cosigned last, how far it lags, what it last said.

    Example: guard audit witnesses --as admin
    """
    answer = session.call("witnesses.list")
    if session.output is Output.TABLE:
        session.say(f"{answer['quorum']} must cosign; they did up to size {answer['witnessed']}. {answer['remark']}")
    return answer
