"""Which re-encryption jobs have their turn: one per table, those of the highest priority first, each at its own pace.

Law: the queue is a view of the store that can be built anew at any time; a job that is named once too often finds
nothing to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from guard.wire.vault import ReencryptionView

ROWS = 500  # of a batch: some 15 ms of the table's writer lock
BATCHES = 8  # per turn, each a transaction of its own, so that other writers come in between
SECOND_US = 1_000_000
BEATS_PER_SECOND = 4


@dataclass(frozen=True, slots=True)
class _Turn:
    tenant: str
    job: str
    source: str
    order: tuple[int, int, str]
    rows_per_second: int
    not_before_us: int = 0


class Queue:
    """Jobs that run or wait. The writer and the worker change it, each by one assignment."""

    def __init__(self) -> None:
        self._turns: Mapping[str, _Turn] = {}

    def put(self, tenant: str, view: ReencryptionView) -> None:
        """A job runs or waits from now on, on these terms."""
        before = self._turns.get(view.job)
        order = (-view.priority, view.created_us, view.job)
        wait = before.not_before_us if before else 0
        turn = _Turn(tenant, view.job, view.source, order, view.rows_per_second, wait)
        self._turns = {**self._turns, view.job: turn}

    def drop(self, job: str) -> None:
        """A job has no turn any more."""
        self._turns = {name: turn for name, turn in self._turns.items() if name != job}

    def postpone(self, job: str, until_us: int) -> None:
        """A job waits until then: its source refused, or it has done its share of this moment."""
        if turn := self._turns.get(job):
            self._turns = {**self._turns, job: replace(turn, not_before_us=until_us)}

    def due(self, now_us: int) -> list[tuple[str, Mapping[str, object]]]:
        """(tenant, request) of the first job of each table, where it need not wait."""
        first: dict[tuple[str, str], _Turn] = {}
        for turn in sorted(self._turns.values(), key=lambda one: one.order):
            first.setdefault((turn.tenant, turn.source), turn)
        return [(turn.tenant, _request(turn)) for turn in first.values() if turn.not_before_us <= now_us]


def _request(turn: _Turn) -> Mapping[str, object]:
    if not turn.rows_per_second:
        return {"job": turn.job, "rows": ROWS, "batches": BATCHES}
    # Small enough that a slow job works evenly, and never in bursts of what a whole second allows.
    return {"job": turn.job, "rows": max(1, min(ROWS, turn.rows_per_second // BEATS_PER_SECOND)), "batches": 1}


def pause_us(rows: int, rows_per_second: int) -> int:
    """How long a job rests after so many rows."""
    return rows * SECOND_US // rows_per_second if rows_per_second else 0
