"""Lengths of time as plans write them: ISO 8601 durations of days, hours, minutes and seconds.

Law: a duration here is a fixed number of microseconds. Years and months are refused, because their length depends on
the date they start from, and weeks, because P1W and P7D would be two spellings of one fact. Pure.
"""

import re
from typing import Final

MAX_DAYS: Final = 366
"""A step that waits longer is forgotten by everybody; plan a new run instead."""

SECOND_US: Final = 1_000_000
_DAY_US: Final = 86_400 * SECOND_US
_FORM: Final = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,3})D)?(?:T(?=[0-9])(?:([0-9]{1,4})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,8})S)?)?", re.ASCII
)


def duration_us(text: str) -> int | None:
    """Microseconds of *text* (`PT15M`, `P1DT12H`), or None if it is no duration between one second and 366 days."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * SECOND_US
    return total if 0 < total <= MAX_DAYS * _DAY_US else None
