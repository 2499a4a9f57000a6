"""The states of the seal, and what may follow what. No I/O.

Law: uninitialised -> sealed -> unsealed -> sealed. Nothing leads back to uninitialised: a store has its seal secret for
good. While sealed no key is in memory, so nothing is answered that needs one, log-in included.
"""

from enum import Enum
from typing import Final

from guard.errors import InternalError


class SealState(Enum):
    """Whether the seal secret is in memory, at rest only, or not made yet."""

    UNINITIALISED = "uninitialised"
    SEALED = "sealed"
    UNSEALED = "unsealed"


NEXT: Final = {
    SealState.UNINITIALISED: frozenset({SealState.SEALED}),
    SealState.SEALED: frozenset({SealState.UNSEALED}),
    SealState.UNSEALED: frozenset({SealState.SEALED}),
}


def move(state: SealState, to: SealState) -> SealState:
    """The state after a step.

    Raises:
        InternalError: there is no such step.
    """
    if to not in NEXT[state]:
        raise InternalError(f"The seal goes from {state.value} not to {to.value}.")
    return to
