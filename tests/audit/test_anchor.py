"""Whether a log is the one that an anchor saw: a table of named cases, and notes that are none of this log's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.audit.anchor import Anchored, incarnation, judge, largest, named, opened, replaced_of
from guard.audit.checkpoint import Checkpoint
from guard.audit.entry import body, entry
from guard.audit.standing import Reason
from guard.audit.tree import root_of
from guard.errors import InvalidInput, VerificationFailed
from tests.audit.building import KEY, ORIGIN, STRANGER, VKEY, naive_root, record, signed

LEAVES = [bytes([number]) * 32 for number in range(9)]
NEXT = f"{ORIGIN}.2"


def head(size, origin=ORIGIN, leaves=LEAVES):
    return Checkpoint(origin, size, naive_root(leaves[:size]))


def held(size, origin=ORIGIN, leaves=LEAVES):
    return Anchored("file /mnt/anchor", "note", head(size, origin, leaves))


def judged(own, anchored, replaced=()):
    return judge(own, ORIGIN, lambda size: root_of(LEAVES[:size]), anchored, replaced)


OTHER = [b"x" * 32, *LEAVES[1:]]
CASES = {
    "the same": (head(5), held(5), (), None),
    "behind the log": (head(9), held(5), (), None),
    "of nothing": (head(9), held(0), (), None),
    "ahead of the log": (head(5), held(6), (), Reason.ROLLBACK_DETECTED),
    "of an emptied log": (head(0), held(1), (), Reason.ROLLBACK_DETECTED),
    "another root at the same size": (head(5), held(5, leaves=OTHER), (), Reason.FORK_DETECTED),
    "another root below": (head(9), held(5, leaves=OTHER), (), Reason.FORK_DETECTED),
    "a later incarnation": (head(9), held(1, NEXT), (), Reason.ROLLBACK_DETECTED),
    "an earlier one that is named": (
        head(1, NEXT),
        held(9),
        [(ORIGIN, 9, naive_root(LEAVES))],
        None,
    ),
    "an earlier one that is not named": (
        head(1, NEXT),
        held(9),
        [(ORIGIN, 8, naive_root(LEAVES[:8]))],
        Reason.FORK_DETECTED,
    ),
    "an earlier one with another root": (
        head(1, NEXT),
        held(9, leaves=OTHER),
        [(ORIGIN, 9, naive_root(LEAVES))],
        Reason.FORK_DETECTED,
    ),
}


@pytest.mark.parametrize(("own", "anchored", "replaced", "reason"), CASES.values(), ids=CASES.keys())
def test_an_anchor(own, anchored, replaced, reason):
    found = judged(own, anchored, replaced)
    assert (found.reason if found else None) is reason
    if found:
        assert f"size {anchored.head.size} of {anchored.head.origin}" in found.detail
        assert f"size {own.size} of {own.origin}" in found.detail
        assert "file /mnt/anchor" in found.detail


@given(st.integers(0, 9), st.integers(0, 9))
def test_of_one_history_only_a_smaller_log_is_accused(own, seen):
    found = judged(head(own), held(seen))
    assert (found is not None) == (seen > own)


@pytest.mark.parametrize(
    ("origin", "number"),
    [
        (ORIGIN, 1),
        (NEXT, 2),
        (f"{ORIGIN}.17", 17),
        (f"{ORIGIN}.1", 0),
        (f"{ORIGIN}.02", 0),
        (f"{ORIGIN}.x", 0),
        ("other", 0),
        (f"{ORIGIN}.2.3", 0),
        (f"{ORIGIN}.", 0),
    ],
)
def test_incarnations_have_one_spelling(origin, number):
    assert incarnation(origin, ORIGIN) == number
    if number:
        assert named(ORIGIN, number) == origin


def test_only_a_note_of_this_log_opens():
    note = signed(ORIGIN, 5, naive_root(LEAVES[:5])).decode()
    assert opened("here", note, ORIGIN, [VKEY.public]).head == head(5)
    later = signed(NEXT, 5, naive_root(LEAVES[:5]), key=KEY).decode()
    assert opened("here", later, ORIGIN, [VKEY.public]).head.origin == NEXT
    for text, kind in (
        (signed("other/log", 5, bytes(32)).decode(), VerificationFailed),
        (signed(ORIGIN, 5, bytes(32), key=STRANGER).decode(), VerificationFailed),
        (note.replace("\n5\n", "\n6\n"), VerificationFailed),
        ("", InvalidInput),
        ("nonsense\n", InvalidInput),
    ):
        with pytest.raises(kind):
            opened("here", text, ORIGIN, [VKEY.public])


def test_the_largest_is_of_the_latest_incarnation():
    assert largest([held(9), held(1, NEXT), held(5)], ORIGIN) == held(1, NEXT)
    assert largest([], ORIGIN) is None


def test_a_first_record_says_what_it_follows():
    left = {"origin": ORIGIN, "size": 9, "root": "AAAA"}
    assert replaced_of(entry(body(record(0, action="log.created", data={"replaced": [left]})), 0)) == [
        (ORIGIN, 9, b"\0\0\0")
    ]
    assert replaced_of(entry(body(record(0, action="log.created")), 0)) == []
    assert replaced_of(entry(body(record(0, data={"replaced": [left]})), 0)) == []
