"""Episodes: the runs of times at which a rule's condition holds. No I/O, no clock.

Law: the condition is looked at once for every distinct event time, with all events of that time. An episode is a
maximal run of true times whose neighbours are at most the span apart.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from guard.detect.timeline import Cell, Timeline

MAX_ENTITIES: Final = 1_000
"""Values listed per episode; a list that nobody reads to its end proves no more."""

OPERATORS: Final = {"lt": lt, "lte": le, "gt": gt, "gte": ge, "eq": eq, "neq": ne}


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
        return all(OPERATORS[op](count, bound) for op, bound in self.conditions)


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


def episodes_of(
    timeline: Timeline, since: int, until: int, question: Question, going: Episode | None
) -> tuple[list[Episode], Episode | None]:
    """The episodes of the times in [since, until): those that ended, and the last one, `going` on from before."""
    ended: list[Episode] = []
    first, after = bisect_left(timeline.times, since), bisect_left(timeline.times, until)
    told = bisect_right(timeline.times, going.t1) if going else first
    for at, low, count in timeline.windows(first, after, question.span_us):
        if not question.holds(count):
            continue
        now = timeline.times[at]
        if going and now - going.t1 > question.span_us:
            ended.append(going)
            going = None
        if going is None:
            going = Episode(now, now, count, _evidence(timeline, low, at, question), _is_exact(timeline, now))
            told = low
        going.t1, going.peak = now, max(going.peak, count)
        going.absorb(timeline.cells[told : at + 1])
        told = at + 1
    return ended, going


def _is_exact(timeline: Timeline, now: int) -> bool:
    return timeline.inexact_until is None or now > timeline.inexact_until


def _evidence(timeline: Timeline, low: int, at: int, question: Question) -> tuple[bytes, ...]:
    """The first and the last ids of the window, half of the wanted number each."""
    wanted = question.evidence_lines
    half = (wanted + 1) // 2
    window = timeline.cells[low : at + 1]
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
