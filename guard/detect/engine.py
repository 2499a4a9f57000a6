"""The live engine: events in, news of alerts out; the same events again change nothing.

Law: an event counts once, by its id, as long as it is not older than the watermark; what is older has been settled and
is counted as late, not looked at. The watermark is the least, over all open streams, of the newest time less `late_us`,
and never goes back. A time more than five minutes ahead of the clock is put aside: one line from 2099 must not blind
the engine. News stays pending until it is acknowledged, so a commit that fails loses nothing. No I/O, no clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import Any, Final

from guard.detect.address import canonical, ip_key
from guard.detect.alert import Alert, AlertChange, Stage, alert_id
from guard.detect.episodes import question_of
from guard.detect.event import Event, value_getter
from guard.detect.formats import Reason
from guard.detect.predicate import Test, compile_predicate, fields_of, statuses_of
from guard.detect.rules import Rule, canonical_json
from guard.detect.translate import Pred
from guard.detect.windows import Firing, Key, Windows
from guard.errors import Overloaded

DEFAULT_LATE_US: Final = 60_000_000
"""Web servers log at the end of a request with the time of its start."""

FUTURE_US: Final = 300_000_000
"""How far a log may be ahead of the clock: hosts differ by seconds, never by more than this."""

MAX_PENDING: Final = 20_000
"""Unacknowledged news; with more the caller's store has failed for long, and reading must wait for it."""

MAX_REMEMBERED: Final = 32_768
MAX_REMEMBERED_CHARS: Final = 512
"""Answers kept for requests that repeat, about 10 MB; without them eight rules cost as much as parsing."""

# What status, method and target decide: predicates on nothing else have one answer for equal requests.
_OF_REQUEST: Final = frozenset(
    {"sc-status", "cs-method", "cs-uri", "c-uri", "cs-uri-stem", "c-uri-stem", "cs-uri-query", "c-uri-query"}
    | {"c-uri-extension", "cs-host"}
)
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


class _Runtime:
    """A rule with its windows, ready to run."""

    __slots__ = ("key_of", "pred", "rule", "value_of", "windows")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        caps, counted = rule.ir["caps"], rule.ir["agg"]["field"]
        inputs = [each["pred"] for each in rule.ir["inputs"]]
        # An event that matches two inputs is one event.
        self.pred: Pred = inputs[0] if len(inputs) == 1 else {"or": inputs}
        self.windows = Windows(question_of(rule.ir, rule.evidence_lines), caps["max_groups"], caps["max_distinct"])
        self.key_of = _key_function([_value_function(name, rule.ir["ipv6_prefix"]) for name in rule.ir["key"]])
        self.value_of = _value_function(counted, rule.ir["ipv6_prefix"]) if counted else _nothing


def _nothing(_event: Event) -> str | None:
    return None


def _value_function(name: str, ipv6_prefix: int) -> Callable[[Event], str | None]:
    """The text by which a field groups or counts; None if the event lacks it."""
    if name == "c-ip" and ipv6_prefix != 64:  # noqa: PLR2004 - the prefix that the parser has worked out already
        return lambda event: _network_key(event.ip, ipv6_prefix)
    get = value_getter(name)
    if name.startswith("sc-"):
        return lambda event: None if (value := get(event)) is None else str(value)
    return get


@lru_cache(maxsize=65_536)
def _network_key(ip: str, ipv6_prefix: int) -> str:
    return ip_key(canonical(ip), ipv6_prefix)


def _key_function(getters: list[Callable[[Event], str | None]]) -> Callable[[Event], Key | None]:
    """Tenant and group-by values; None if one is missing, since an unknown client is not one client."""
    if len(getters) == 1:
        only = getters[0]
        return lambda event: None if (value := only(event)) is None else (event.tenant, value)

    def key_of(event: Event) -> Key | None:
        values = [value for get in getters if (value := get(event)) is not None]
        return (event.tenant, *values) if len(values) == len(getters) else None

    return key_of


@dataclass(frozen=True, slots=True)
class _Watch:
    """One predicate and the rules that wait for its events."""

    test: Test
    statuses: frozenset[int] | None
    of_request: bool
    runtimes: tuple[_Runtime, ...]


_Asked = tuple[int | None, str | None, str | None]
_ByRequest = tuple[tuple[_Watch, ...], tuple[_Watch, ...]]


class Engine:
    """Evaluates rules on events of any number of streams. One caller at a time; all state is in memory."""

    def __init__(self, rules: Sequence[Rule], late_us: int = DEFAULT_LATE_US) -> None:
        """`late_us`: how much older than the newest event of its stream an event may be; a batch passes its span."""
        self._late_us = late_us
        self._watermark = _BEGINNING
        self._advanced = _BEGINNING
        self._newest: dict[Source, int] = {}
        self._counts: dict[Source, SourceCounts] = {}
        self._seen: dict[int, set[bytes]] = {}
        self._pending: dict[int, AlertChange] = {}
        self._serials = count(1)
        self._runtimes: dict[bytes, _Runtime] = {}
        self._watches: list[_Watch] = []
        self._by_status: dict[int | None, _ByRequest] = {}
        self._answers: dict[_Asked, tuple[_Runtime, ...]] = {}
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
        self._runtimes = {rule.rule_hash: before.get(rule.rule_hash) or _Runtime(rule) for rule in rules}
        for rule in rules:
            self._runtimes[rule.rule_hash].rule = rule
        for rule_hash, runtime in before.items():
            if rule_hash not in self._runtimes:
                news += self._tell(runtime, runtime.windows.finish())
        self._watches = _watches(self._runtimes.values())
        self._by_status.clear()
        self._answers.clear()
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
        self._watermark = max([self._watermark, *(newest + 1 for newest in self._newest.values())])
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
        runtimes = self._waiting_for(event)
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
        source = event.tenant, event.stream
        if event.ts > self._newest.get(source, _BEGINNING):
            self._newest[source] = event.ts
            news += self._move_watermark()
        return news

    def _waiting_for(self, event: Event) -> tuple[_Runtime, ...]:
        """The rules whose predicate holds for the event."""
        watches = self._by_status.get(event.status)
        if watches is None:
            watches = self._watches_for(event.status)
        of_request, others = watches
        target = event.target
        if target is not None and len(target) > MAX_REMEMBERED_CHARS:
            return _holding(of_request, event) + _holding(others, event)
        asked = event.status, event.method, target
        answer = self._answers.get(asked)
        if answer is None:
            if len(self._answers) >= MAX_REMEMBERED:
                self._answers.clear()
            answer = self._answers[asked] = _holding(of_request, event)
        return answer + _holding(others, event) if others else answer

    def _watches_for(self, status: int | None) -> _ByRequest:
        """The predicates that can hold with this status. There are at most a thousand: parsers read three digits."""
        able = [watch for watch in self._watches if watch.statuses is None or status in watch.statuses]
        found = (
            tuple(watch for watch in able if watch.of_request),
            tuple(watch for watch in able if not watch.of_request),
        )
        self._by_status[status] = found
        return found

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

    def _tell(self, runtime: _Runtime, fired: list[Firing]) -> list[AlertChange]:
        news = [_change(next(self._serials), runtime.rule, firing) for firing in fired]
        self._pending.update((change.serial, change) for change in news)
        return news


def _holding(watches: tuple[_Watch, ...], event: Event) -> tuple[_Runtime, ...]:
    found: tuple[_Runtime, ...] = ()
    for watch in watches:
        if watch.test(event):
            found += watch.runtimes
    return found


def _watches(runtimes: Iterable[_Runtime]) -> list[_Watch]:
    """One watch per distinct predicate, so that rules on the same events test them once."""
    sharing: dict[bytes, list[_Runtime]] = {}
    for runtime in runtimes:
        sharing.setdefault(canonical_json(runtime.pred), []).append(runtime)
    return [
        _Watch(
            test=compile_predicate(group[0].pred),
            statuses=statuses_of(group[0].pred),
            of_request=fields_of(group[0].pred) <= _OF_REQUEST,
            runtimes=tuple(group),
        )
        for group in sharing.values()
    ]


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
