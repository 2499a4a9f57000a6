"""Durations as people write them in rules: `90s`, `15m`, `1h`, `7d`. No I/O.

Only whole numbers with one unit: `1h30m` and `1.5h` are refused, since two spellings of one rule would be two rules.
"""

import re
from typing import Final

from guard.errors import InvalidInput

UNITS_US: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
MAX_DURATION_US: Final = 10 * 365 * UNITS_US["d"]
"""Ten years; longer is `permanent`, and has to be said so."""

_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)")


def parse_duration_us(text: object) -> int:
    """Microseconds of a duration such as `15m`; more than 0, at most ten years.

    Raises:
        InvalidInput: another form, zero, or too long.
    """
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    duration_us = int(found[1]) * UNITS_US[found[2]] if found else 0
    if not 0 < duration_us <= MAX_DURATION_US:
        raise InvalidInput(
            "Expected a duration as a whole number and one of ms, s, m, h, d, w, such as 15m, up to ten years."
        )
    return duration_us
