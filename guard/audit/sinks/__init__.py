"""Sinks: where the log is copied to as it grows. One file per kind, found by its name in `[[sinks]]` of `guard.toml`.

Contract of a sink module: `ACKNOWLEDGED` says in plain words what its acknowledgement means; `TAKES` names the options
that it needs and `MAY_TAKE` those it may have; `connect(plan, index)` opens a connection on which records from *index*
on will be sent. A connection's `send(rows)` returns how many records were acknowledged, which is all of them, or raises
SinkUnavailable; it ends within `plan.total_seconds`. `doubtful` is the first index of which the acknowledgement may
have been empty once the connection has failed; records from there on are sent again. `close` may be called by another
thread and ends a `send` that is under way. A module keeps no state between connections. No I/O.
"""

from collections.abc import Sequence
from typing import Protocol

from guard.audit.row import Row
from guard.errors import SinkUnavailable

CONNECT_SECONDS = 5  # a host that answers at all does so within two retries of a SYN (1 s, then 3 s)


class Connection(Protocol):
    """An open way to a receiver."""

    def send(self, rows: Sequence[Row]) -> int:
        """Deliver *rows*, which are the next ones in order; how many the receiver acknowledged.

        Raises:
            SinkUnavailable: it did not take all of them in time; the connection is then of no more use.
        """
        ...

    @property
    def doubtful(self) -> int | None:
        """From which index on records must be sent again when this connection has failed; None for none."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


def lost(error: BaseException | str) -> SinkUnavailable:
    """The failure of a sink by the kind of its error only: a receiver's own text may hold anything."""
    cause = error if isinstance(error, str) else type(error).__name__
    return SinkUnavailable(
        f"Expected the sink to take the records, but it did not ({cause}); guard tries again.", cause=cause
    )
