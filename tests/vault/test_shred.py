"""The ledger of destroyed keys, buckets and receipts, without a store."""

import json
from dataclasses import asdict, replace

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import KeyStoreRolledBack
from guard.vault.shred import (
    BUCKETS,
    LedgerEntry,
    Point,
    Terms,
    bounds_of,
    bucket_of,
    check_chain,
    decode,
    receipt_text,
    unrecoverable_us,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
entries = st.builds(
    LedgerEntry,
    seq=st.integers(1, 2**53 - 1),
    prev=texts,
    time_us=st.integers(0, 2**53 - 1),
    tenant=texts,
    dek_id=texts,
    bucket=st.integers(0, BUCKETS - 1),
    bucket_version=st.integers(1, 2**32 - 1),
    request=texts,
)


def chain(length: int) -> list[LedgerEntry]:
    found, head = [], Point()
    for number in range(1, length + 1):
        entry = LedgerEntry(number, head.hash, 1000 + number, "acme", f"{number:016x}", 0, 1, f"fgt_{number}")
        found.append(entry)
        head = Point(number, entry.hash)
    return found


@given(entries)
def test_an_entry_is_canonical_json_and_comes_back(entry):
    assert entry.encode() == rfc8785.dumps(asdict(entry))
    assert decode(entry.encode()) == entry


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b'{"seq":1}', b"\xff", b" " + chain(1)[0].encode()])
def test_other_bytes_are_no_entry(raw):
    with pytest.raises(KeyStoreRolledBack):
        decode(raw)


class TestChain:
    def test_a_whole_one_ends_at_its_head_wherever_the_database_stands(self):
        whole = chain(5)
        for seq in range(6):
            applied = Point(seq, whole[seq - 1].hash) if seq else Point()
            assert check_chain(whole, applied) == Point(5, whole[-1].hash)

    def test_one_that_is_shorter_than_what_was_applied_is_refused_with_both_numbers(self):
        whole = chain(5)
        with pytest.raises(KeyStoreRolledBack) as caught:
            check_chain(whole[:3], Point(5, whole[4].hash))
        assert caught.value.extra == {"applied": 5, "found": 3}

    def test_another_one_of_the_same_length_is_refused(self):
        whole = chain(5)
        with pytest.raises(KeyStoreRolledBack):
            check_chain(whole, Point(5, "f" * 64))

    @given(st.integers(0, 4), st.sampled_from(["drop", "swap", "change", "double"]))
    def test_whatever_is_changed_in_it_is_found(self, at, how):
        whole = chain(5)
        applied = Point(5, whole[4].hash)
        altered = list(whole)
        if how == "drop":
            altered.pop(at)
        elif how == "swap":
            other = (at + 1) % 5
            altered[at], altered[other] = altered[other], altered[at]
        elif how == "change":
            altered[at] = replace(altered[at], dek_id="0" * 16)
        else:
            altered.insert(at, altered[at])
        with pytest.raises(KeyStoreRolledBack):
            check_chain(altered, applied)


@given(st.binary(min_size=8, max_size=8))
def test_a_key_lies_in_the_bounds_of_its_bucket_and_no_other(dek_id):
    bucket = bucket_of(dek_id)
    assert bucket == int(dek_id.hex()[:3], 16)
    first, last = bounds_of(bucket)
    assert first <= dek_id <= last
    other = bounds_of((bucket + 1) % BUCKETS)
    assert not other[0] <= dek_id <= other[1]


def test_the_day_of_noise_is_both_retentions_after_the_rotation():
    terms = Terms.of(7, 24, 30, 20)
    assert unrecoverable_us(5, terms) - 5 == 50 * 86_400_000_000
    assert (terms.grace_us, terms.cycle_us) == (7 * 86_400_000_000, 24 * 3_600_000_000)


def test_a_receipt_is_three_lines_of_which_the_last_is_canonical():
    title, origin, facts = receipt_text("guard.local/log", {"b": 1, "a": ["x"]}).splitlines()
    assert (title, origin, facts) == ("guard/shred-receipt/v1", "guard.local/log", '{"a":["x"],"b":1}')
    assert json.loads(facts) == {"a": ["x"], "b": 1}
