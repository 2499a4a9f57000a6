"""The windows of one rule over all its keys: provisional alerts on arrival, final ones behind the watermark.

Law: a final episode is computed in time order from complete times only (those before the watermark), so it does not
depend on the order of arrival. Only monotone conditions fire provisionally. State is bounded: at `max_groups` keys the
coldest one without an open episode goes, never the newest; alerts that this may have changed say `exact: false`.
No I/O.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from guard.detect.episodes import Episode, Question, episodes_of
from guard.detect.timeline import Timeline

MAX_TIMES: Final = 65_536
"""Distinct event times per key, about 20 MB. Logs with whole seconds have fewer in any window up to 18 hours."""

EVICTION_SCAN: Final = 64
"""Cold keys looked at to find one without an open episode before a new key is refused."""

MIN_STRIDE_US: Final = 1_000_000
"""Finals of a busy key are computed at most once per second of log time."""

END_US: Final = 1 << 62
"""A watermark behind every time."""

Key = tuple[str, ...]


@dataclass(slots=True)
class Announced:
    """A provisional alert that went out.

    `t0`: its first time, which is its identity; `t1`: the last time it spoke of; `reach`: the last known to be true.
    """

    t0: int
    t1: int
    reach: int


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule is true for a key. `announced`: first times of the provisional alerts that this final one settles."""

    key: Key
    is_final: bool
    episode: Episode
    announced: tuple[int, ...] = ()


@dataclass(slots=True)
class _Group:
    """The state of one key."""

    key: Key
    timeline: Timeline
    settled: int
    open: Episode | None = None
    announced: list[Announced] = field(default_factory=list)


class Windows:
    """Exact sliding windows of one rule."""

    def __init__(self, question: Question, max_groups: int, max_distinct: int) -> None:
        self.question = question
        self.evicted = 0
        self.refused = 0
        self._max_groups = max_groups
        self._max_distinct = max_distinct
        self._stride_us = max(question.span_us // 4, MIN_STRIDE_US)
        self._threshold = question.threshold if question.is_monotone else 0
        self._groups: OrderedDict[Key, _Group] = OrderedDict()
        self._last_loss: int | None = None

    def __len__(self) -> int:
        return len(self._groups)

    def insert(self, key: Key, ts: int, value: str | None, eid: bytes, watermark: int) -> list[Firing]:
        """One event, no duplicate and not older than the watermark; what became true or final by it."""
        group = self._groups.get(key)
        if group is None:
            group = self._admit(key, ts, watermark)
            if group is None:
                return []
        else:
            self._groups.move_to_end(key)
        is_news = self._add(group.timeline, ts, value, eid)
        fired = self._settle(group, watermark) if watermark - group.settled >= self._stride_us else []
        if is_news and self._threshold and group.timeline.count >= self._threshold:
            fired += self._announce(group, ts)
        return fired

    def _add(self, timeline: Timeline, ts: int, value: str | None, eid: bytes) -> bool:
        """Keep the event within the caps; False if no window counts more by it, so that testing can be saved.

        Without that, one client that repeats a few values a thousand times a second, just below a threshold, would
        cost a walk through its window each time.
        """
        if value is not None and timeline.count >= self._max_distinct and not timeline.knows(value):
            value = None
            timeline.inexact_until = ts + self.question.span_us
        is_news = timeline.add(ts, value, eid)
        if len(timeline.times) > MAX_TIMES:
            timeline.drop_before(timeline.times[1])
            timeline.inexact_until = ts + self.question.span_us
        return is_news or not self.question.distinct

    def _admit(self, key: Key, ts: int, watermark: int) -> _Group | None:
        if len(self._groups) >= self._max_groups and not self._evict(ts):
            self.refused += 1
            self._last_loss = ts
            return None
        group = _Group(key, Timeline(distinct=self.question.distinct), watermark)
        if self._last_loss is not None and ts - self._last_loss <= self.question.span_us:
            group.timeline.inexact_until = ts + self.question.span_us
        self._groups[key] = group
        return group

    def _evict(self, ts: int) -> bool:
        for cold in list(islice(self._groups.values(), EVICTION_SCAN)):
            if cold.open is None and not cold.announced:
                del self._groups[cold.key]
                self.evicted += 1
                self._last_loss = ts
                return True
            self._groups.move_to_end(cold.key)
        return False

    def _announce(self, group: _Group, ts: int) -> list[Firing]:
        """Tell a new provisional episode at once, and a lasting one again after every span.

        What can only belong to a told episode is not worked out: otherwise a flood would cost a walk through all its
        events with every event.
        """
        span, newest = self.question.span_us, group.timeline.times[-1]
        for told in group.announced:
            if told.t0 - span <= ts and (ts <= told.reach or ts == newest <= told.t1 + span):
                return []
        near = group.timeline.true_near(ts, span, self._threshold)
        if not near:
            return []
        told_of = next((one for one in group.announced if _meet(one, near[0], near[-1], span)), None)
        if told_of:
            told_of.reach = max(told_of.reach, near[-1])
            if told_of.reach <= told_of.t1 + span:
                return []
        return self._tell(group, self._preview(group, near[-1]))

    def _tell(self, group: _Group, episode: Episode) -> list[Firing]:
        span = self.question.span_us
        told = next((one for one in group.announced if _meet(one, episode.t0, episode.t1, span)), None)
        if told is None:
            group.announced.append(Announced(episode.t0, episode.t1, episode.t1))
            return [Firing(group.key, is_final=False, episode=episode)]
        told.reach = max(told.reach, episode.t1)
        if episode.t1 <= told.t1 + span:
            return []
        told.t1, episode.t0 = episode.t1, told.t0
        return [Firing(group.key, is_final=False, episode=episode)]

    def _preview(self, group: _Group, moment: int) -> Episode:
        """The episode of a true time, by the events so far."""
        going = group.open.copy() if group.open else None
        ended, last = episodes_of(group.timeline, group.settled, END_US, self.question, going)
        return next(one for one in [*ended, last] if one and one.t0 <= moment <= one.t1)

    def _settle(self, group: _Group, watermark: int, *, at_end: bool = False) -> list[Firing]:
        """Decide all times before the watermark, close what cannot go on, and drop what no window needs any more."""
        span = self.question.span_us
        ended: list[Episode] = []
        if group.timeline.count >= self._threshold:
            ended, group.open = episodes_of(group.timeline, group.settled, watermark, self.question, group.open)
        group.settled = watermark
        if group.open and (at_end or group.open.t1 + span < watermark):
            ended.append(group.open)
            group.open = None
        group.timeline.drop_before(watermark - span)
        return [self._final(group, episode) for episode in ended]

    def _final(self, group: _Group, episode: Episode) -> Firing:
        span = self.question.span_us
        settled = [told for told in group.announced if _meet(told, episode.t0, episode.t1, span)]
        group.announced = [told for told in group.announced if told not in settled]
        return Firing(group.key, is_final=True, episode=episode, announced=tuple(told.t0 for told in settled))

    def advance(self, watermark: int) -> list[Firing]:
        """Settle the keys that have been silent for a span, coldest first, and forget them."""
        fired: list[Firing] = []
        while self._groups:
            group = next(iter(self._groups.values()))
            times = group.timeline.times
            if (times[-1] if times else group.settled) + self.question.span_us >= watermark:
                break
            fired += self._settle(group, watermark)
            del self._groups[group.key]
        return fired

    def finish(self) -> list[Firing]:
        """Settle everything as if nothing more could come, in the order in which keys were last seen."""
        fired = [firing for group in self._groups.values() for firing in self._settle(group, END_US, at_end=True)]
        self._groups.clear()
        return fired


def _meet(told: Announced, first: int, last: int, span: int) -> bool:
    """Whether a provisional alert speaks of the episode of these true times; a late event may have moved its first."""
    return told.t0 <= last + span and told.reach >= first - span
