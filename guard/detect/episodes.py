"""Events of one rule and key in time order, and the episodes in which the rule's condition holds.

Law: W(t) is all events with t - span <= ts <= t, closed at both ends, and is looked at once for every distinct event
time t, with all events of that time, in whatever order they arrived: SQL's RANGE BETWEEN span PRECEDING AND CURRENT
ROW. An episode is a maximal run of true times whose neighbours are at most the span apart. No I/O, no clock.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
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

    def knows(self, value: str | None) -> bool:
        """Whether the value, or its absence, occurred at this time already."""
        return value is None or (self.values is not None and value in self.values)

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
    """How often each value occurs among the cells that have entered and not left."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, value: str) -> bool:
        return value in self._values

    def enter(self, value: str, count: int = 1) -> None:
        """A value occurs `count` times more."""
        self._values[value] = self._values.get(value, 0) + count

    def enter_cell(self, cell: Cell) -> None:
        """The values of a time come in."""
        if cell.values:
            for value, count in cell.values.items():
                self.enter(value, count)

    def leave_cell(self, cell: Cell) -> list[str]:
        """The values of a time go out; those that do not occur any more."""
        gone = []
        for value, count in (cell.values or {}).items():
            left = self._values[value] - count
            if left:
                self._values[value] = left
            else:
                del self._values[value]
                gone.append(value)
        return gone


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

    __slots__ = ("_counts", "_distinct", "_events", "_latest", "_values", "cells", "inexact_until", "times")

    def __init__(self, *, distinct: bool) -> None:
        self.times: list[int] = []
        self.cells: list[Cell] = []
        self.inexact_until: int | None = None
        self._distinct = distinct
        self._counts: list[int] = []
        self._events = 0
        self._values = Tally()
        self._latest: dict[str, int] = {}

    @property
    def count(self) -> int:
        """Distinct values, or events, of all times; no window counts more."""
        return len(self._values) if self._distinct else self._events

    def knows(self, value: str) -> bool:
        """Whether the value occurs."""
        return value in self._values

    def add(self, ts: int, value: str | None, eid: bytes) -> bool:
        """Put one event in its place; whether it could change which values, or times, there are."""
        self._events += 1
        if value is not None:
            self._values.enter(value)
            self._latest[value] = max(ts, self._latest.get(value, ts))
        times = self.times
        at = bisect_left(times, ts) if times and ts <= times[-1] else len(times)
        if at == len(times) or times[at] != ts:
            times.insert(at, ts)
            self._counts.insert(at, 1)
            self.cells.insert(at, Cell(value, eid))
            return True
        known = self.cells[at].knows(value)
        self._counts[at] += 1
        self.cells[at].add(value, eid)
        return not known

    def drop_before(self, ts: int) -> None:
        """Forget the events before `ts`."""
        gone = bisect_left(self.times, ts)
        if not gone:
            return
        self._events -= sum(self._counts[:gone])
        for cell in self.cells[:gone]:
            for value in self._values.leave_cell(cell):
                del self._latest[value]
        del self.times[:gone], self.cells[:gone], self._counts[:gone]

    def windows(self, first: int, after: int, question: Question) -> Iterator[tuple[int, int, int]]:
        """For each index from `first` up to `after`: the index, that of its window's first cell, and the count."""
        if first >= after:
            return iter(())
        low = bisect_left(self.times, self.times[first] - question.span_us)
        return (self._distinct_windows if question.distinct else self._event_windows)(
            first, after, low, question.span_us
        )

    def _event_windows(self, first: int, after: int, low: int, span_us: int) -> Iterator[tuple[int, int, int]]:
        base, times = low, self.times
        sums = [0, *accumulate(self._counts[base:after])]
        for at in range(first, after):
            since = times[at] - span_us
            while times[low] < since:
                low += 1
            yield at, low, sums[at + 1 - base] - sums[low - base]

    def _distinct_windows(self, first: int, after: int, low: int, span_us: int) -> Iterator[tuple[int, int, int]]:
        tally, entered, times = Tally(), low, self.times
        for at in range(first, after):
            for cell in self.cells[entered : at + 1]:
                tally.enter_cell(cell)
            entered = at + 1
            while times[low] < times[at] - span_us:
                tally.leave_cell(self.cells[low])
                low += 1
            yield at, low, len(tally)

    def true_near(self, ts: int, question: Question) -> list[int]:
        """The times at which a monotone condition is true and whose window holds an event at `ts`.

        They are at most a span apart, so they belong to one episode.
        """
        if self._most_near(ts, question.span_us) < question.threshold:
            return []
        first = bisect_left(self.times, ts)
        after = bisect_right(self.times, ts + question.span_us)
        least = question.threshold
        return [self.times[at] for at, _, count in self.windows(first, after, question) if count >= least]

    def _most_near(self, ts: int, span_us: int) -> int:
        """No window with `ts` in it counts more. Quick, since every event of a busy client asks it."""
        since = ts - span_us
        if self._distinct:
            return sum(latest >= since for latest in self._latest.values())
        return sum(self._counts[bisect_left(self.times, since) : bisect_right(self.times, ts + span_us)])

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
