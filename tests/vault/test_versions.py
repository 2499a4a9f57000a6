"""The state machine of key versions, walked over every pair of states."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import KeyStateConflict
from guard.vault import versions
from guard.vault.versions import LEGAL, State

ARROWS = {
    ("pre_active", "active"),
    ("active", "decrypt_only"),
    ("decrypt_only", "retired"),
    ("retired", "decrypt_only"),
    ("retired", "destroy_pending"),
    ("destroy_pending", "retired"),
    ("destroy_pending", "destroyed"),
}
ENCRYPT = {"active"}
DECRYPT = {"active", "decrypt_only"}

every_pair = pytest.mark.parametrize(
    ("state", "to"), list(itertools.product(State, State)), ids=lambda state: state.value
)


@every_pair
def test_every_pair_of_states(state, to):
    if (state.value, to.value) in ARROWS:
        assert versions.move(state, to) is to
        return
    with pytest.raises(KeyStateConflict) as caught:
        versions.move(state, to)
    assert caught.value.extra == {"state": state.value, "wanted": to.value}
    assert f"is {state.value} cannot become {to.value}" in caught.value.detail


def test_a_refusal_names_what_is_possible():
    with pytest.raises(KeyStateConflict, match="can become decrypt_only, destroy_pending"):
        versions.move(State.RETIRED, State.ACTIVE)
    with pytest.raises(KeyStateConflict, match="nothing, it is final"):
        versions.move(State.DESTROYED, State.RETIRED)


def test_every_state_stands_in_the_table():
    assert set(LEGAL) == set(State)
    assert {(one.value, to.value) for one, follow in LEGAL.items() for to in follow} == ARROWS


def reachable(start):
    found, waiting = {start}, [start]
    while waiting:
        for to in LEGAL[waiting.pop()] - found:
            found.add(to)
            waiting.append(to)
    return found


def test_every_state_is_reached_and_the_end_is_reached_from_everywhere():
    assert reachable(State.PRE_ACTIVE) == set(State)
    assert all(State.DESTROYED in reachable(state) for state in State)
    assert reachable(State.DESTROYED) == {State.DESTROYED}


def test_nothing_encrypts_again_once_it_stopped():
    assert State.ACTIVE not in set().union(*(reachable(state) for state in LEGAL[State.ACTIVE]))


def test_destruction_can_be_called_back_until_it_happens():
    assert State.DECRYPT_ONLY in reachable(State.DESTROY_PENDING)
    assert State.ACTIVE not in reachable(State.DESTROY_PENDING)


@pytest.mark.parametrize("state", State)
def test_what_each_state_allows(state):
    assert versions.may_encrypt(state) == (state.value in ENCRYPT)
    assert versions.may_decrypt(state) == (state.value in DECRYPT)


@pytest.mark.parametrize("state", State)
def test_what_a_compromised_version_allows(state):
    assert not versions.may_encrypt(state, compromised=True)
    assert not versions.may_decrypt(state, compromised=True)
    assert versions.may_decrypt(state, compromised=True, granted=True) == (state.value in DECRYPT)


@pytest.mark.parametrize("state", State)
def test_a_grant_adds_nothing_to_a_sound_version(state):
    assert versions.may_decrypt(state, granted=True) == versions.may_decrypt(state)


@pytest.mark.parametrize("state", [state for state in State if state is not State.DESTROYED])
def test_every_living_version_can_be_marked_compromised(state):
    versions.check_compromise(state)


def test_a_destroyed_version_cannot_be_marked_compromised():
    with pytest.raises(KeyStateConflict, match="destroyed"):
        versions.check_compromise(State.DESTROYED)


@given(st.lists(st.sampled_from(State), max_size=30))
def test_walks_only_ever_stand_on_legal_states(wishes):
    state, encrypted_after_stop, stopped = State.PRE_ACTIVE, False, False
    for wish in wishes:
        try:
            state = versions.move(state, wish)
        except KeyStateConflict:
            continue
        stopped |= state is State.DECRYPT_ONLY
        encrypted_after_stop |= stopped and versions.may_encrypt(state)
    assert not encrypted_after_stop
