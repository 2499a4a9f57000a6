"""How often one principal may look values up in one index: per minute, hour and day. No I/O, no clock.

Whoever may search can try values one by one and so read a column of few values: the search is a dictionary. Law: a
look-up is counted before it is answered; a window never starts anew because the clock went back or the service was
started again. Who asks for more in a day than the day allows, whether it was answered or not, is frozen until a person
lifts it. Where a policy declares nothing, a day allows one value in a hundred, at least 50 and at most 5000.
"""

from dataclasses import dataclass, fields
from typing import Final

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
LEAST_A_DAY: Final = 50
MOST_A_DAY: Final = 5000
VALUES_PER_LOOK_UP: Final = 100


@dataclass(frozen=True, slots=True)
class Budget:
    """Look-ups of one principal in one index."""

    minute: int = 250
    hour: int = 1250
    day: int = MOST_A_DAY


STORING: Final = Budget(100_000, 2_000_000, 20_000_000)
"""Tokens of values that a service stores: as many as it may have rows, with an end for whoever walks all values."""


@dataclass(slots=True)
class Spent:
    """What a principal has used in each window, by the window's beginning. `asked` counts refused look-ups too."""

    minute_us: int = 0
    minute: int = 0
    hour_us: int = 0
    hour: int = 0
    day_us: int = 0
    day: int = 0
    asked: int = 0
    frozen_us: int = 0

    def numbers(self) -> dict[str, int]:
        """As it is stored."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a look-up was refused: which window is used up, its limit, and when it is over."""

    window: str
    limit: int
    again_us: int
    freezes: bool


WINDOWS: Final = (("day", DAY_US), ("hour", HOUR_US), ("minute", MINUTE_US))


def default(entropy_bits: int) -> Budget:
    """The budget of an index over so many bits of entropy, where the policy declares none."""
    day = min(MOST_A_DAY, max(LEAST_A_DAY, 2 ** min(entropy_bits, 63) // VALUES_PER_LOOK_UP))
    return Budget(max(10, day // 20), max(20, day // 4), day)


def take(spent: Spent, budget: Budget, cost: int, now_us: int) -> Refusal | None:
    """Count *cost* look-ups, or say why not; a refusal uses nothing up, but it was asked for."""
    for name, size_us in WINDOWS:
        begun = now_us - now_us % size_us
        if begun > getattr(spent, f"{name}_us"):  # never back: a clock that is set back gives nothing again
            setattr(spent, f"{name}_us", begun)
            setattr(spent, name, 0)
            if name == "day":
                spent.asked = 0
    spent.asked = min(spent.asked + cost, 1 << 53)
    freezes = spent.asked > budget.day
    for name, size_us in WINDOWS:
        limit = getattr(budget, name)
        if getattr(spent, name) + cost > limit:
            return Refusal(name, limit, getattr(spent, f"{name}_us") + size_us, freezes)
    for name, _ in WINDOWS:
        setattr(spent, name, getattr(spent, name) + cost)
    return None
