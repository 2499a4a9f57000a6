"""The events of one key in time order, and the counts of all sliding windows over them. No I/O.

Law: the window of a time t is all events with t - span <= ts <= t, closed at both ends, in whatever order they
arrived: SQL's RANGE BETWEEN span PRECEDING AND CURRENT ROW.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

MAX_CELL_IDS: Final = 20
"""Event ids kept per time: evidence never shows more, and the smallest ones do not depend on the order of arrival."""


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

    def windows(self, first: int, after: int, span_us: int) -> Iterator[tuple[int, int, int]]:
        """For each index from `first` up to `after`: the index, that of its window's first cell, and the count."""
        if first >= after:
            return iter(())
        low = bisect_left(self.times, self.times[first] - span_us)
        return (self._distinct_windows if self._distinct else self._event_windows)(first, after, low, span_us)

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

    def true_near(self, ts: int, span_us: int, threshold: int) -> list[int]:
        """The times whose window holds an event at `ts` and counts `threshold` or more.

        They are at most a span apart, so they belong to one episode.
        """
        if self._most_near(ts, span_us) < threshold:
            return []
        first, after = bisect_left(self.times, ts), bisect_right(self.times, ts + span_us)
        return [self.times[at] for at, _, count in self.windows(first, after, span_us) if count >= threshold]

    def _most_near(self, ts: int, span_us: int) -> int:
        """No window with `ts` in it counts more. Quick, since every event of a busy client asks it."""
        since = ts - span_us
        if self._distinct:
            return sum(latest >= since for latest in self._latest.values())
        return sum(self._counts[bisect_left(self.times, since) : bisect_right(self.times, ts + span_us)])
