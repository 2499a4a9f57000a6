"""What is to be looked for, and what is left of a rewrap: histories and counts at random, against plain rules."""

from hypothesis import given, settings
from hypothesis import strategies as st

from guard.catalogue import PLATFORM
from guard.vault.remains import MAX_MARKS, MIN_MARK_BYTES, RETRY_US, Remains
from guard.vault.rewraps import CURRENT, RETIRED, RETIRING, free, left

MARKS = st.lists(st.binary(max_size=12), max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("left"), MARKS),
        st.tuples(st.just("search"), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 2 * RETRY_US)),
    ),
    max_size=30,
)
COUNTS = st.lists(
    st.tuples(
        st.sampled_from(["keys", "index_keys", "subject_keys", "imported_keys", CURRENT, RETIRING, RETIRED]),
        st.integers(1, 4),
        st.integers(1, 9),
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, unsure=st.booleans())
def test_no_mark_is_lost_until_the_logs_were_emptied_after_it(steps, unsure):
    """The worker looks only when it is due, and may fail each time; what fails is looked for again, and nothing else."""
    remains, now, open_, due = Remains(unsure=unsure), 1, [], 0 if unsure else None
    for step, value in steps:
        if step == "wait":
            now += value
        elif step == "left":
            remains.left(*value)
            open_ += [mark for mark in value if len(mark) >= MIN_MARK_BYTES]
            due = 0
        elif remains.due(now):
            taken = remains.take()
            assert list(taken) == open_[-MAX_MARKS:]
            if value:
                open_, due = [], None
            else:
                remains.again(taken, now)
                due = now + RETRY_US
        expected = [(PLATFORM, {})] if due is not None and now >= due else []
        assert list(remains.due(now)) == expected


def test_a_retry_waits_its_time_to_the_microsecond_but_not_for_what_comes_anew():
    remains = Remains(unsure=False)
    remains.left(b"first-mark")
    remains.again(remains.take(), 7)
    assert not remains.due(7 + RETRY_US - 1)
    assert remains.due(7 + RETRY_US)
    remains.left(b"second-mark")
    assert remains.due(8)


def test_too_many_failed_marks_keep_the_newest():
    remains = Remains(unsure=False)
    old = tuple(b"old-%05d" % number for number in range(MAX_MARKS))
    remains.left(*old)
    taken = remains.take()
    remains.left(b"newest-mark")
    remains.again(taken, 1)
    kept = remains.take()
    assert len(kept) == MAX_MARKS
    assert (kept[0], kept[-1]) == (old[1], b"newest-mark")


@settings(max_examples=300, deadline=None)
@given(counts=COUNTS, newest=st.integers(1, 4))
def test_a_kek_is_free_only_when_nothing_in_either_store_is_under_it(counts, newest):
    versions = [1, 2, 3, 4]
    ended = free(counts, versions, newest)
    assert newest not in ended
    for version in versions:
        used = [one for one in counts if one[1] == version]
        assert (version in ended) == (not used and version != newest)


@settings(max_examples=300, deadline=None)
@given(counts=COUNTS, newest=st.integers(1, 4))
def test_nothing_is_left_exactly_when_only_backups_need_an_older_kek(counts, newest):
    waiting = [(what, version) for what, version, _ in counts if what != RETIRED]
    done = all(version == newest and what != RETIRING for what, version in waiting)
    assert (left(counts, newest) == 0) == done


@settings(max_examples=100, deadline=None)
@given(counts=COUNTS, newest=st.integers(1, 4), at=st.integers(0, 7))
def test_each_wrap_that_moves_leaves_fewer(counts, newest, at):
    """So a rewrap that moves something in each step comes to an end."""
    before = left(counts, newest)
    moving = [one for one in counts if one[0] not in {RETIRED, RETIRING} and one[1] != newest]
    if moving:
        one = moving[at % len(moving)]
        rest = list(counts)
        rest.remove(one)
        assert left([*rest, (one[0], newest, one[2])], newest) == before - one[2]
