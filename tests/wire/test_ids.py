"""Identifiers are UUIDs of version 7 (RFC 9562 section 5.7), ordered by the millisecond of their making."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.wire.ids import prefixed, uuid7

RFC_MILLISECONDS = 0x017F22E279B0  # RFC 9562 appendix A.6: 2022-02-22 19:22:22 UTC
LATEST_US = ((1 << 48) - 1) * 1000

times = st.integers(0, LATEST_US)
draws = st.binary(min_size=10, max_size=10)


@given(times, draws)
def test_it_is_a_version_7_uuid_of_rfc_9562(now_us, random):
    text = uuid7(now_us, random)
    found = uuid.UUID(text)
    assert str(found) == text
    assert found.version == 7
    assert found.variant == uuid.RFC_4122
    assert found.int >> 80 == now_us // 1000


@given(draws)
def test_all_of_the_other_bits_come_from_chance(random):
    low, high = uuid.UUID(uuid7(0, bytes(10))).int, uuid.UUID(uuid7(0, b"\xff" * 10)).int
    assert (low ^ high).bit_count() == 74
    assert uuid.UUID(uuid7(0, random)).int & ~(low ^ high) == low


def test_the_rfc_s_own_example():
    random = bytes.fromhex("cc3" + "1" + "8c4" + "0" + "dc0c0c07398f")
    assert uuid7(RFC_MILLISECONDS * 1000, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(times, times, draws, draws)
def test_texts_are_ordered_by_time(first_us, second_us, first, second):
    if first_us // 1000 < second_us // 1000:
        assert uuid7(first_us, first) < uuid7(second_us, second)


def test_each_bit_of_chance_that_has_a_place_is_used_by_itself():
    """74 of the 80 bits fill what version and variant leave; no two of them meet."""
    none = uuid7(RFC_MILLISECONDS * 1000, bytes(10))
    texts = [uuid7(RFC_MILLISECONDS * 1000, (1 << bit).to_bytes(10, "big")) for bit in range(80)]
    used = [text for text in texts if text != none]
    assert len(used) == len(set(used)) == 74


@given(times, st.binary(min_size=11, max_size=40))
def test_more_chance_than_needed_is_left_alone(now_us, random):
    assert uuid7(now_us, random) == uuid7(now_us, random[:10])


@pytest.mark.parametrize("prefix", ["grt", "run", "dec"])
def test_a_prefix_stands_before_it(prefix):
    made = prefixed(prefix, 1_790_000_000_000_000, bytes(10))
    assert re.fullmatch(r"[a-z]{3}_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made)
    assert made == f"{prefix}_{uuid7(1_790_000_000_000_000, bytes(10))}"
