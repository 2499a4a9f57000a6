"""The live engine: events in, news of alerts out; the same events again change nothing.

Law: an event counts once, by its id, as long as it is not older than the watermark; what is older has been settled and
is counted as late, not looked at. The watermark is the least, over all open streams, of the newest time less `late_us`,
and never goes back. A time more than five minutes ahead of the clock is put aside: one line from 2099 must not blind
the engine. News stays pending until it is acknowledged, so a commit that fails loses nothing. No I/O, no clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final

from guard.detect.alert import Alert, AlertChange, Stage, alert_id
from guard.detect.event import Event
from guard.detect.formats import Reason
from guard.detect.rules import Rule
from guard.detect.runtime import Matcher, Runtime
from guard.detect.windows import Firing
from guard.errors import Overloaded

DEFAULT_LATE_US: Final = 60_000_000
"""Web servers log at the end of a request with the time of its start."""

FUTURE_US: Final = 300_000_000
"""How far a log may be ahead of the clock: hosts differ by seconds, never by more than this."""

MAX_PENDING: Final = 20_000
"""Unacknowledged news; with more the caller's store has failed for long, and reading must wait for it."""

_GENERATION_US: Final = 10_000_000
_ADVANCE_US: Final = 10_000_000
_BEGINNING: Final = -(1 << 62)

Source = tuple[str, str]


@dataclass(slots=True)
class SourceCounts:
    """Lines of one stream by what became of them; together they are all lines that were fed."""

    matched: int = 0
    irrelevant: int = 0
    duplicate: int = 0
    late: int = 0
    future: int = 0
    malformed: dict[Reason, int] = field(default_factory=dict)


class Engine:
    """Evaluates rules on events of any number of streams. One caller at a time; all state is in memory."""

    def __init__(self, rules: Sequence[Rule], late_us: int = DEFAULT_LATE_US) -> None:
        """`late_us`: how much older than the newest event of its stream an event may be; a batch passes its span."""
        self._late_us = late_us
        self._watermark = _BEGINNING
        self._advanced = _BEGINNING
        self._latest = _BEGINNING
        self._newest: dict[Source, int] = {}
        self._counts: dict[Source, SourceCounts] = {}
        self._seen: dict[int, set[bytes]] = {}
        self._pending: dict[int, AlertChange] = {}
        self._serials = count(1)
        self._runtimes: dict[bytes, Runtime] = {}
        self._matcher = Matcher(())
        self.replace_rules(rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return tuple(runtime.rule for runtime in self._runtimes.values())

    @property
    def watermark_us(self) -> int | None:
        """Times before this are settled; None before the first event."""
        return None if self._watermark == _BEGINNING else self._watermark

    @property
    def pending(self) -> tuple[AlertChange, ...]:
        """All news that has not been acknowledged, oldest first."""
        return tuple(self._pending.values())

    @property
    def counts(self) -> Mapping[Source, SourceCounts]:
        """A copy of the counters by (tenant, stream)."""
        return {source: replace(each, malformed=dict(each.malformed)) for source, each in self._counts.items()}

    @property
    def losses(self) -> Mapping[str, int]:
        """Keys evicted or refused at a rule's cap, by rule name; rules without losses are left out."""
        lost = {each.rule.name: each.windows.evicted + each.windows.refused for each in self._runtimes.values()}
        return {name: number for name, number in lost.items() if number}

    def acknowledge(self, serials: Iterable[int]) -> None:
        """Forget news that the caller has committed; unknown serials are ignored."""
        for serial in serials:
            self._pending.pop(serial, None)

    def replace_rules(self, rules: Sequence[Rule]) -> list[AlertChange]:
        """Put other rules in force. What means the same keeps its state; what is gone closes its episodes now."""
        before, news = self._runtimes, []
        self._runtimes = {rule.rule_hash: before.get(rule.rule_hash) or Runtime(rule) for rule in rules}
        for rule in rules:
            self._runtimes[rule.rule_hash].rule = rule
        for rule_hash, runtime in before.items():
            if rule_hash not in self._runtimes:
                news += self._tell(runtime, runtime.windows.finish())
        self._matcher = Matcher(self._runtimes.values())
        return news

    def open_stream(self, tenant: str, stream: str) -> None:
        """Expect a stream, so that no watermark passes before it has spoken."""
        self._newest.setdefault((tenant, stream), _BEGINNING)

    def close_stream(self, tenant: str, stream: str) -> list[AlertChange]:
        """A stream that is over or silent holds nothing up any more."""
        self._newest.pop((tenant, stream), None)
        return self._move_watermark() + self._advance()

    def heartbeat(self, tenant: str, stream: str, newest_us: int) -> list[AlertChange]:
        """A stream is alive and has nothing newer than `newest_us` to tell; moves the watermark as an event would."""
        if newest_us > self._newest.get((tenant, stream), _BEGINNING):
            self._newest[tenant, stream] = newest_us
        return self._move_watermark() + self._advance()

    def count_malformed(self, tenant: str, stream: str, reason: Reason) -> None:
        """Count a line that is no event."""
        malformed = self._count((tenant, stream)).malformed
        malformed[reason] = malformed.get(reason, 0) + 1

    def feed(self, events: Iterable[Event], now_us: int) -> list[AlertChange]:
        """Take events in any order; the news that they made, which is also in `pending`.

        Raises:
            Overloaded: `MAX_PENDING` news wait for acknowledgement; nothing was taken.
        """
        if len(self._pending) >= MAX_PENDING:
            raise Overloaded(
                f"{len(self._pending)} alerts wait to be stored; nothing more is read until they are.",
                retry_after_seconds=1,
            )
        news: list[AlertChange] = []
        latest = now_us + FUTURE_US
        source, counts = None, SourceCounts()
        for event in events:
            if (event.tenant, event.stream) != source:
                source = event.tenant, event.stream
                counts = self._count(source)
            if event.ts > latest:
                counts.future += 1
            elif event.ts < self._watermark:
                counts.late += 1
            elif self._is_new(event):
                news += self._take(event, counts)
            else:
                counts.duplicate += 1
        return news + self._advance()

    def flush(self) -> list[AlertChange]:
        """End a replay: settle everything as if no event could come any more. Afterwards all fed times are late."""
        news = [told for each in self._runtimes.values() for told in self._tell(each, each.windows.finish())]
        self._watermark = max(self._watermark, self._latest + 1)
        self._seen.clear()
        return news

    def _count(self, source: Source) -> SourceCounts:
        counts = self._counts.get(source)
        if counts is None:
            counts = self._counts[source] = SourceCounts()
        return counts

    def _is_new(self, event: Event) -> bool:
        """Whether the id comes for the first time. Equal ids have equal times, so one generation is searched."""
        generation = event.ts // _GENERATION_US
        seen = self._seen.get(generation)
        if seen is None:
            seen = self._seen[generation] = set()
        if event.eid in seen:
            return False
        seen.add(event.eid)
        return True

    def _take(self, event: Event, counts: SourceCounts) -> list[AlertChange]:
        news: list[AlertChange] = []
        runtimes = self._matcher.waiting_for(event)
        if runtimes:
            counts.matched += 1
        else:
            counts.irrelevant += 1
        for runtime in runtimes:
            key = runtime.key_of(event)
            if key is not None:
                value = runtime.value_of(event)
                fired = runtime.windows.insert(key, event.ts, value, event.eid, self._watermark)
                if fired:
                    news += self._tell(runtime, fired)
        self._latest = max(self._latest, event.ts)
        source = event.tenant, event.stream
        if event.ts > self._newest.get(source, _BEGINNING):
            self._newest[source] = event.ts
            news += self._move_watermark()
        return news

    def _move_watermark(self) -> list[AlertChange]:
        watermark = min(self._newest.values(), default=_BEGINNING) - self._late_us
        if watermark <= self._watermark:
            return []
        self._watermark = watermark
        return self._advance() if watermark - self._advanced >= _ADVANCE_US else []

    def _advance(self) -> list[AlertChange]:
        """Settle silent keys, and forget the ids of times that are late by now."""
        if self._watermark <= self._advanced:
            return []
        self._advanced = self._watermark
        for generation in [each for each in self._seen if (each + 1) * _GENERATION_US <= self._watermark]:
            del self._seen[generation]
        return [
            told for each in self._runtimes.values() for told in self._tell(each, each.windows.advance(self._watermark))
        ]

    def _tell(self, runtime: Runtime, fired: list[Firing]) -> list[AlertChange]:
        news = [_change(next(self._serials), runtime.rule, firing) for firing in fired]
        self._pending.update((change.serial, change) for change in news)
        return news


def _change(serial: int, rule: Rule, firing: Firing) -> AlertChange:
    tenant, *values = firing.key
    key = tuple(zip(rule.ir["key"], values, strict=True))
    episode = firing.episode
    identity = alert_id(tenant, rule.rule_hash, key, episode.t0)
    alert = Alert(
        id=identity,
        tenant=tenant,
        rule=rule.name,
        rule_hash=rule.rule_hash,
        key=key,
        t0_us=episode.t0,
        t1_us=episode.t1,
        peak=episode.peak,
        entities=tuple(episode.entities),
        evidence=episode.evidence,
        exact=episode.exact,
    )
    announced: Any = (alert_id(tenant, rule.rule_hash, key, t0) for t0 in firing.announced)
    others = tuple(each for each in announced if each != identity)
    return AlertChange(serial, Stage.FINAL if firing.is_final else Stage.PROVISIONAL, alert, others)
