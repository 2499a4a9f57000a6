"""Events of one rule and key in time order, and the episodes in which the rule's condition holds.

Law: W(t) is all events with t - span <= ts <= t, closed at both ends, and is looked at once for every distinct event
time t, with all events of that time, in whatever order they arrived: SQL's RANGE BETWEEN span PRECEDING AND CURRENT
ROW. An episode is a maximal run of true times whose neighbours are at most the span apart. No I/O, no clock.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

MAX_CELL_IDS: Final = 20
"""Event ids kept per time: evidence never shows more, and the smallest ones do not depend on the order of arrival."""

MAX_ENTITIES: Final = 1_000
"""Values listed per episode; a list that nobody reads to its end proves no more."""

_OPERATORS: Final = {"lt": lt, "lte": le, "gt": gt, "gte": ge, "eq": eq, "neq": ne}


@dataclass(frozen=True, slots=True)
class Question:
    """What a rule asks of a window: span, count of events or of distinct values, and comparisons that all must hold."""

    span_us: int
    distinct: bool
    conditions: tuple[tuple[str, int], ...]
    evidence_lines: int

    @property
    def is_monotone(self) -> bool:
        """Whether one more event can only make it truer, so that it may fire before the window is complete."""
        return all(op in {"gt", "gte"} for op, _ in self.conditions)

    @property
    def threshold(self) -> int:
        """The least count for which a monotone condition holds."""
        return max(count + (op == "gt") for op, count in self.conditions)

    def holds(self, count: int) -> bool:
        """Whether the condition is true of a window with this count."""
        return all(_OPERATORS[op](count, bound) for op, bound in self.conditions)


class Cell:
    """All events of one time: how many, how many of each value (None if there are none), and the smallest ids."""

    __slots__ = ("count", "ids", "values")

    def __init__(self, value: str | None, eid: bytes) -> None:
        self.count = 1
        self.values: dict[str, int] | None = None if value is None else {value: 1}
        self.ids = [eid]

    def add(self, value: str | None, eid: bytes) -> None:
        """Count one more event; a missing value counts as an event and not as a value."""
        self.count += 1
        if value is not None:
            if self.values is None:
                self.values = {}
            self.values[value] = self.values.get(value, 0) + 1
        insort(self.ids, eid)
        del self.ids[MAX_CELL_IDS:]


class Tally:
    """The count of a window that cells enter and leave."""

    __slots__ = ("_distinct", "_events", "_values")

    def __init__(self, *, distinct: bool) -> None:
        self._distinct = distinct
        self._events = 0
        self._values: dict[str, int] = {}

    @property
    def count(self) -> int:
        """Distinct values, or events."""
        return len(self._values) if self._distinct else self._events

    def knows(self, value: str) -> bool:
        """Whether the value is in the window."""
        return value in self._values

    def enter(self, value: str | None) -> None:
        """One event comes in."""
        self._events += 1
        if value is not None:
            self._values[value] = self._values.get(value, 0) + 1

    def enter_cell(self, cell: Cell) -> None:
        """All events of a time come in."""
        self._events += cell.count
        if cell.values:
            for value, count in cell.values.items():
                self._values[value] = self._values.get(value, 0) + count

    def leave_cell(self, cell: Cell) -> None:
        """All events of a time go out."""
        self._events -= cell.count
        if cell.values:
            for value, count in cell.values.items():
                left = self._values[value] - count
                if left:
                    self._values[value] = left
                else:
                    del self._values[value]


@dataclass(slots=True)
class Episode:
    """A run of true times. `entities` keeps insertion order, which is time order, then the order of the values."""

    t0: int
    t1: int
    peak: int
    evidence: tuple[bytes, ...]
    exact: bool
    entities: dict[str, None] = field(default_factory=dict)

    def copy(self) -> "Episode":
        """One that can go on without this one."""
        return Episode(self.t0, self.t1, self.peak, self.evidence, self.exact, dict(self.entities))

    def absorb(self, cells: list[Cell]) -> None:
        """List the values of cells, in order, up to the cap."""
        for cell in cells:
            for value in sorted(cell.values or ()):
                if len(self.entities) >= MAX_ENTITIES:
                    return
                self.entities[value] = None


class Timeline:
    """The events of one key, by time; what is older than the last settled window has been dropped."""

    __slots__ = ("cells", "inexact_until", "times", "total")

    def __init__(self, *, distinct: bool) -> None:
        self.times: list[int] = []
        self.cells: list[Cell] = []
        self.total = Tally(distinct=distinct)
        self.inexact_until: int | None = None

    def add(self, ts: int, value: str | None, eid: bytes) -> None:
        """Put one event in its place."""
        self.total.enter(value)
        times = self.times
        if not times or ts > times[-1]:
            times.append(ts)
            self.cells.append(Cell(value, eid))
            return
        at = bisect_left(times, ts)
        if times[at] == ts:
            self.cells[at].add(value, eid)
        else:
            times.insert(at, ts)
            self.cells.insert(at, Cell(value, eid))

    def drop_before(self, ts: int) -> None:
        """Forget the events before `ts`."""
        gone = bisect_left(self.times, ts)
        for cell in self.cells[:gone]:
            self.total.leave_cell(cell)
        del self.times[:gone], self.cells[:gone]

    def windows(self, first: int, after: int, question: Question) -> Iterator[tuple[int, int, int]]:
        """For each index from `first` up to `after`: the index, that of its window's first cell, and the count."""
        if first >= after:
            return
        tally = Tally(distinct=question.distinct)
        low = entered = bisect_left(self.times, self.times[first] - question.span_us)
        for at in range(first, after):
            while entered <= at:
                tally.enter_cell(self.cells[entered])
                entered += 1
            while self.times[low] < self.times[at] - question.span_us:
                tally.leave_cell(self.cells[low])
                low += 1
            yield at, low, tally.count

    def is_true_near(self, ts: int, question: Question) -> bool:
        """Whether any window that an event at `ts` belongs to is true."""
        first = bisect_left(self.times, ts)
        after = bisect_right(self.times, ts + question.span_us)
        return any(question.holds(count) for _, _, count in self.windows(first, after, question))

    def run(
        self, since: int, until: int, question: Question, going: Episode | None
    ) -> tuple[list[Episode], Episode | None]:
        """The episodes of the times in [since, until): those that ended, and the last one, `going` on from before."""
        ended: list[Episode] = []
        first, after = bisect_left(self.times, since), bisect_left(self.times, until)
        told = bisect_right(self.times, going.t1) if going else first
        for at, low, count in self.windows(first, after, question):
            if not question.holds(count):
                continue
            now = self.times[at]
            if going and now - going.t1 > question.span_us:
                ended.append(going)
                going = None
            if going is None:
                going = Episode(now, now, count, self._evidence(low, at, question), self._is_exact(now))
                told = low
            going.t1, going.peak = now, max(going.peak, count)
            going.absorb(self.cells[told : at + 1])
            told = at + 1
        return ended, going

    def _is_exact(self, now: int) -> bool:
        return self.inexact_until is None or now > self.inexact_until

    def _evidence(self, low: int, at: int, question: Question) -> tuple[bytes, ...]:
        """The first and the last ids of the window, half of the wanted number each."""
        wanted = question.evidence_lines
        half = (wanted + 1) // 2
        window = self.cells[low : at + 1]
        # Each cell has an id, so the outermost cells hold all that can be wanted.
        head = [eid for cell in window[:wanted] for eid in cell.ids][:half]
        tail = [eid for cell in window[-wanted:] for eid in cell.ids][half - wanted :] if wanted > half else []
        return tuple(dict.fromkeys([*head, *tail]))


def question_of(ir: Any, evidence_lines: int) -> Question:
    """The question in a rule's IR."""
    return Question(
        span_us=ir["window"]["span_us"],
        distinct=ir["agg"]["fn"] == "value_count",
        conditions=tuple((op, count) for op, count in ir["cond"]),
        evidence_lines=evidence_lines,
    )
