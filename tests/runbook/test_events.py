"""Events as JSON and as a hash chain."""

import json
from dataclasses import fields, replace

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import StoreDamaged, VerificationFailed
from guard.runbook import events as ev
from guard.runbook.events import GENESIS, AnyEvent, chain, from_json, row, verify_chain

ENVELOPE = {"seq": 1, "at_us": 1_800_000_000_000_000, "actor": "user:ana", "command_id": "c1"}


def event(seq=1, reason="x"):
    return ev.RunPaused(**(ENVELOPE | {"seq": seq}), reason=reason, path="")


def rows(count=6):
    made, head = [], GENESIS
    for seq in range(1, count + 1):
        made.append(row("run_1", f"ev_{seq}", event(seq), 1_800_000_000_000_009, head))
        head = made[-1].hash
    return made


members = {
    "int": st.integers(0, 10**15),
    "str": st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    "bool": st.booleans(),
    "timers": st.lists(st.tuples(st.integers(0, 9), st.just("rung:1"), st.just("role:x")), max_size=3).map(tuple),
    "mapping": st.dictionaries(
        st.sampled_from("abc"), st.integers(0, 9) | st.lists(st.booleans(), max_size=2), max_size=3
    ),
}


def strategy(item):
    if item.name == "timers":
        return members["timers"]
    if item.type in {int, str, bool}:
        return members[item.type.__name__]
    return members["mapping"]


@pytest.mark.parametrize("cls", AnyEvent.__args__, ids=lambda cls: cls.type)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_event_comes_back_from_json(cls, data):
    made = cls(**{item.name: data.draw(strategy(item)) for item in fields(cls)})
    assert from_json(json.loads(json.dumps(made.to_json()))) == made


def test_types_are_named_once():
    names = [cls.type for cls in AnyEvent.__args__]
    assert len(set(names)) == len(names) == 23
    assert all(names)


GOOD = event().to_json()


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        GOOD | {"type": "run_exploded"},
        GOOD | {"type": None},
        GOOD | {"payload": None},
        GOOD | {"payload": {"reason": "x"}},
        GOOD | {"payload": {"reason": "x", "path": "", "more": 1}},
    ],
)
def test_a_damaged_event_is_refused(damaged):
    with pytest.raises(StoreDamaged):
        from_json(damaged)


def test_the_hash_covers_these_members_and_no_others():
    (first,) = rows(1)
    body = {
        "run_id": "run_1",
        "seq": 1,
        "event_id": "ev_1",
        "type": "run_paused",
        "actor": "user:ana",
        "at": 1_800_000_000_000_000,
        "recorded_at": 1_800_000_000_000_009,
        "command_id": "c1",
        "payload": {"reason": "x", "path": ""},
        "prev_hash": "0" * 64,
    }
    import hashlib

    assert first.hash == hashlib.sha256(rfc8785.dumps(body)).hexdigest()
    assert first.event() == event()


def test_a_chain_holds():
    made = rows()
    assert verify_chain(made) == made[-1].hash
    assert verify_chain([]) == GENESIS
    assert verify_chain(made[3:], made[2].hash, 4) == made[-1].hash


CHANGES = {
    "seq": 99,
    "event_id": "ev_x",
    "type": "run_resumed",
    "actor": "user:mallory",
    "at_us": 1,
    "recorded_at_us": 1,
    "command_id": "c9",
    "payload": {"reason": "y", "path": ""},
    "prev_hash": "1" * 64,
    "hash": "1" * 64,
    "run_id": "run_2",
}


@pytest.mark.parametrize("member", CHANGES)
@pytest.mark.parametrize("place", range(6))
def test_a_changed_row_is_named(member, place):
    made = rows()
    made[place] = replace(made[place], **{member: CHANGES[member]})
    with pytest.raises(VerificationFailed) as caught:
        verify_chain(made)
    assert caught.value.extra["seq"] == place + 1


def test_a_row_rewritten_with_its_hash_breaks_the_next():
    made = rows()
    forged = replace(made[2], payload={"reason": "y", "path": ""})
    made[2] = replace(forged, hash=chain(forged.prev_hash, forged))
    with pytest.raises(VerificationFailed) as caught:
        verify_chain(made)
    assert caught.value.extra["seq"] == 4


@pytest.mark.parametrize(("edit", "seq"), [("drop", 3), ("double", 4), ("swap", 3), ("first", 1)])
def test_a_lost_doubled_or_moved_row_is_named(edit, seq):
    made = rows()
    if edit == "drop":
        del made[2]
    elif edit == "double":
        made.insert(2, made[2])
    elif edit == "swap":
        made[2], made[3] = made[3], made[2]
    else:
        del made[0]
    with pytest.raises(VerificationFailed) as caught:
        verify_chain(made)
    assert caught.value.extra["seq"] == seq


def test_rows_cut_off_at_the_end_show_only_in_the_head():
    made = rows()
    assert verify_chain(made[:4]) == made[3].hash != made[-1].hash


def test_a_rightly_chained_row_of_another_run_is_named():
    made = rows(2)
    made.append(row("run_2", "ev_3", event(3), 1_800_000_000_000_009, made[-1].hash))
    with pytest.raises(VerificationFailed, match="another run") as caught:
        verify_chain(made)
    assert caught.value.extra["seq"] == 3
