"""Rules ready to run: how an event is keyed and counted, and which rules wait for it. No I/O.

Law: what is skipped by a pre-filter or remembered from an equal request is what the predicate would have said.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from guard.detect.address import canonical, ip_key
from guard.detect.episodes import question_of
from guard.detect.event import Event, value_getter
from guard.detect.predicate import Test, compile_predicate, fields_of, statuses_of
from guard.detect.rules import Rule, canonical_json
from guard.detect.translate import Pred
from guard.detect.windows import Key, Windows

MAX_REMEMBERED: Final = 32_768
MAX_REMEMBERED_CHARS: Final = 512
"""Answers kept for requests that repeat, about 10 MB; without them eight rules cost as much as parsing."""

# What status, method and target decide: predicates on nothing else have one answer for equal requests.
_OF_REQUEST: Final = frozenset(
    {"sc-status", "cs-method", "cs-uri", "c-uri", "cs-uri-stem", "c-uri-stem", "cs-uri-query", "c-uri-query"}
    | {"c-uri-extension", "cs-host"}
)


class Runtime:
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
class Watch:
    """One predicate and the rules that wait for its events."""

    test: Test
    statuses: frozenset[int] | None
    of_request: bool
    runtimes: tuple[Runtime, ...]


_Asked = tuple[int | None, str | None, str | None]
_ByRequest = tuple[tuple[Watch, ...], tuple[Watch, ...]]


class Matcher:
    """Which rules wait for an event, each distinct predicate tested once."""

    def __init__(self, runtimes: Iterable[Runtime]) -> None:
        self.watches = _watches(runtimes)
        self._by_status: dict[int | None, _ByRequest] = {}
        self._answers: dict[_Asked, tuple[Runtime, ...]] = {}

    def waiting_for(self, event: Event) -> tuple[Runtime, ...]:
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
        able = [watch for watch in self.watches if watch.statuses is None or status in watch.statuses]
        found = (
            tuple(watch for watch in able if watch.of_request),
            tuple(watch for watch in able if not watch.of_request),
        )
        self._by_status[status] = found
        return found


def _holding(watches: tuple[Watch, ...], event: Event) -> tuple[Runtime, ...]:
    found: tuple[Runtime, ...] = ()
    for watch in watches:
        if watch.test(event):
            found += watch.runtimes
    return found


def _watches(runtimes: Iterable[Runtime]) -> list[Watch]:
    """One watch per distinct predicate, so that rules on the same events test them once."""
    sharing: dict[bytes, list[Runtime]] = {}
    for runtime in runtimes:
        sharing.setdefault(canonical_json(runtime.pred), []).append(runtime)
    return [
        Watch(
            test=compile_predicate(group[0].pred),
            statuses=statuses_of(group[0].pred),
            of_request=fields_of(group[0].pred) <= _OF_REQUEST,
            runtimes=tuple(group),
        )
        for group in sharing.values()
    ]
