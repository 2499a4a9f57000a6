"""The numbers of a range index: integers or dates between two bounds, in steps.

Law: the bounds and the step are part of the definition; a change of them needs new tokens for all rows. A step joins
neighbours, so that a range finds some rows beside it, which whoever opens them drops; it is what shortens a token is to
the other kinds. Dates are ISO 8601 calendar dates (YYYY-MM-DD) of the proleptic Gregorian calendar. No I/O.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from guard.errors import InvalidRequest
from guard.vault.dyadic import levels_of

KINDS: Final = ("integer", "date")
MAX_NUMBERS: Final = 1 << 40
"""More steps than that are more than rows; 80 tokens for a query is enough."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Domain:
    """Whole numbers from `low` to `high`, both included; of a date its ordinal (0001-01-01 is 1)."""

    of: str
    low: int
    high: int
    step: int = 1

    @property
    def steps(self) -> int:
        """How many steps there are, the last one perhaps a part."""
        return (self.high - self.low) // self.step + 1

    @property
    def levels(self) -> int:
        """How many tokens a row carries."""
        return levels_of(self.steps)

    def number(self, value: str) -> int:
        """The number that a text stands for.

        Raises:
            InvalidRequest: it is none of this kind.
        """
        found = parse(self.of, value.strip())
        if found is None:
            form = "a date as YYYY-MM-DD" if self.of == "date" else "a whole number of at most 19 digits"
            raise InvalidRequest(f"Expected {form} for a range index, got another text; correct it.")
        return found

    def place(self, value: str) -> int:
        """The step that a value stands in.

        Raises:
            InvalidRequest: it is none, or lies outside.
        """
        number = self.number(value)
        if not self.low <= number <= self.high:
            raise InvalidRequest(
                "Expected a value between the bounds that the index declares, got one outside; see plan."
            )
        return (number - self.low) // self.step

    def clip(self, low: str, high: str) -> tuple[int, int] | None:
        """The steps from *low* to *high* that lie inside; "" is open, None: there are none.

        Raises:
            InvalidRequest: a bound is no number, or they are the wrong way round.
        """
        first = self.number(low) if low else self.low
        last = self.number(high) if high else self.high
        if low and high and first > last:
            raise InvalidRequest("Expected low to be at most high, got them the other way round; swap them.")
        if last < self.low or first > self.high:
            return None
        return (max(first, self.low) - self.low) // self.step, (min(last, self.high) - self.low) // self.step


def parse(of: str, text: str) -> int | None:
    """The number of a text, or None where it is none of this kind."""
    if of == "integer":
        return int(text) if _INTEGER.fullmatch(text) else None
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:
        return None
