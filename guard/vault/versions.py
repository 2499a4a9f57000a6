"""The life of a key version: which state may follow which, and what each state still allows.

After NIST SP 800-57 part 1 revision 5, section 7, with one state split off: a version that waits for its destruction
can still be called back. Law: every arrow is in `LEGAL` and is one audited operation; destruction is final; no version
is retired while a value needs it (the census decides that, not this file). No I/O, no clock.
"""

from enum import Enum
from typing import Final

from guard.errors import KeyStateConflict


class State(Enum):
    """States of a key version, in the order of a life without detours."""

    PRE_ACTIVE = "pre_active"
    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    RETIRED = "retired"
    DESTROY_PENDING = "destroy_pending"
    DESTROYED = "destroyed"


LEGAL: Final[dict[State, frozenset[State]]] = {
    State.PRE_ACTIVE: frozenset({State.ACTIVE}),
    State.ACTIVE: frozenset({State.DECRYPT_ONLY}),
    State.DECRYPT_ONLY: frozenset({State.RETIRED}),
    State.RETIRED: frozenset({State.DECRYPT_ONLY, State.DESTROY_PENDING}),
    State.DESTROY_PENDING: frozenset({State.RETIRED, State.DESTROYED}),
    State.DESTROYED: frozenset(),
}
"""The whole state machine. What else an arrow needs (census, dual control, a wait) is its operation's matter."""


def move(state: State, to: State) -> State:
    """The state after a legal step.

    Raises:
        KeyStateConflict: no arrow leads from `state` to `to`; a step to the same state is none either.
    """
    if to not in LEGAL[state]:
        allowed = ", ".join(sorted(one.value for one in LEGAL[state])) or "nothing, it is final"
        raise KeyStateConflict(
            f"A key version that is {state.value} cannot become {to.value}; from there it can become {allowed}.",
            state=state.value,
            wanted=to.value,
        )
    return to


def may_encrypt(state: State, *, compromised: bool = False) -> bool:
    """Whether new values may be sealed. Of several active versions only the newest is used; the keyring sees to it."""
    return state is State.ACTIVE and not compromised


def may_decrypt(state: State, *, compromised: bool = False, granted: bool = False) -> bool:
    """Whether values may be opened; under a compromised version only with a grant for exactly that."""
    return state in {State.ACTIVE, State.DECRYPT_ONLY} and (granted or not compromised)


def check_compromise(state: State) -> None:
    """Check that a version in this state can be marked compromised: every state but the final one.

    Raises:
        KeyStateConflict: the version is destroyed, so nothing is left that could be misused.
    """
    if state is State.DESTROYED:
        raise KeyStateConflict(
            "A destroyed key version cannot be marked compromised; there is nothing left to protect."
        )
