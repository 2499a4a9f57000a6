"""Durations are fixed lengths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.runbook.duration import SECOND_US, duration_us


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT1S", 1),
        ("PT15M", 900),
        ("PT1H30M", 5400),
        ("P1D", 86400),
        ("P1DT12H", 129600),
        ("P366D", 366 * 86400),
        ("PT90M", 5400),
        ("P", None),
        ("PT", None),
        ("P1DT", None),
        ("PT0S", None),
        ("P367D", None),
        ("P1Y", None),
        ("P1M", None),
        ("P1W", None),
        ("PT1.5H", None),
        ("-PT1H", None),
        ("15M", None),
        ("PT1M1H", None),
        ("pt1h", None),
        ("PT1H ", None),
        ("", None),
        ("PT99999999999S", None),
        ("PT١S", None),
    ],
)
def test_named_durations(text, seconds):
    assert duration_us(text) == (seconds * SECOND_US if seconds else None)


@given(st.integers(0, 300), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_parts_add_up(days, hours, minutes, seconds):
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds
    assert duration_us(f"P{days}DT{hours}H{minutes}M{seconds}S") == (total * SECOND_US or None)
