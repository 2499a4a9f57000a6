"""Rate limits by the generic cell rate algorithm, in whole numbers, over a bounded number of keys. No I/O, no clock.

Law: with emission interval T = per / count and tolerance tau = T * (burst - 1), a request at `now` passes if and only
if now >= TAT - tau; then TAT = max(TAT, now) + T. Times are held in units of 1/count ns, so that T is exact and no
request gets in by rounding. A refused request burns nothing, neither here nor in the other limits that it was under.
ITU-T I.371 annex A (GCRA).
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from guard.errors import InvalidInput

DEFAULT_MAX_KEYS: Final = 100_000
EVICTION_SCAN: Final = 64
"""Least recently used keys looked at when there is no room; the one nearest to idle goes."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`count` requests per `per_ns` nanoseconds, of which `burst` may come at once."""

    count: int
    per_ns: int
    burst: int

    def __post_init__(self) -> None:
        if self.count < 1 or self.per_ns < 1 or self.burst < 1:
            raise InvalidInput("A limit has a count, a period and a burst of at least 1 each.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a request may pass, how many more could now, when one more may, and when the key is idle again.

    `retry_after_ns` is 0 if it passed, and None if the request costs more than the burst and never can.
    """

    allowed: bool
    remaining: int
    retry_after_ns: int | None
    reset_after_ns: int


class Limiter:
    """One limit over many keys. `now_ns` comes from a clock that does not step back."""

    def __init__(self, limit: Limit, max_keys: int = DEFAULT_MAX_KEYS) -> None:
        self.limit = limit
        self.evicted_in_debt = 0
        self._max_keys = max_keys
        self._arrivals: OrderedDict[Hashable, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrivals)

    def peek(self, key: Hashable, now_ns: int, cost: int = 1) -> Outcome:
        """What `take` would say; changes nothing."""
        return self._outcome(self._arrivals.get(key), now_ns * self.limit.count, cost)[0]

    def take(self, key: Hashable, now_ns: int, cost: int = 1) -> Outcome:
        """Let a request of this cost pass or not."""
        now = now_ns * self.limit.count
        outcome, arrival = self._outcome(self._arrivals.get(key), now, cost)
        if outcome.allowed and cost:
            if key not in self._arrivals and len(self._arrivals) >= self._max_keys:
                self._make_room(now)
            self._arrivals[key] = arrival
            self._arrivals.move_to_end(key)
        return outcome

    def admit(self, key: Hashable, now_ns: int) -> bool:
        """As `take` for one request whose caller asks for nothing but yes or no; False is to be followed by `peek`."""
        now = now_ns * self.limit.count
        arrival = self._arrivals.get(key)
        if arrival is None or arrival < now:
            if arrival is None:
                return self.take(key, now_ns).allowed
            arrival = now
        wanted = arrival + self.limit.per_ns
        if wanted > now + self.limit.per_ns * self.limit.burst:
            return False
        self._arrivals[key] = wanted
        return True

    def _outcome(self, arrival: int | None, now: int, cost: int) -> tuple[Outcome, int]:
        """`arrival` (TAT) and `now` in 1/count ns."""
        interval, scale = self.limit.per_ns, self.limit.count
        held = max(arrival or now, now)
        wanted = held + interval * cost
        room = now + interval * self.limit.burst
        if wanted > room:
            wait = None if cost > self.limit.burst else -((room - wanted) // scale)
            return Outcome(False, (room - held) // interval, wait, -((now - held) // scale)), held
        return Outcome(True, (room - wanted) // interval, 0, -((now - wanted) // scale)), wanted

    def _make_room(self, now: int) -> None:
        """Drop idle keys, which lose nothing by it; failing that, the one of the cold ones with the least debt."""
        cold = list(islice(self._arrivals.items(), EVICTION_SCAN))
        idle = [key for key, arrival in cold if arrival <= now]
        for key in idle:
            del self._arrivals[key]
        if not idle:
            del self._arrivals[min(cold, key=lambda pair: pair[1])[0]]
            self.evicted_in_debt += 1


def take_all(checks: Sequence[tuple[Limiter, Hashable]], now_ns: int, cost: int = 1) -> list[Outcome]:
    """Let a request pass only if every limit does; if one refuses, none is burnt. Outcomes in the order of `checks`."""
    outcomes = [limiter.peek(key, now_ns, cost) for limiter, key in checks]
    if all(outcome.allowed for outcome in outcomes):
        return [limiter.take(key, now_ns, cost) for limiter, key in checks]
    return outcomes
