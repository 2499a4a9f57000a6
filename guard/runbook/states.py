"""The legal transitions of steps and runs, in one table each; whatever is not listed is refused.

Law: no code sets a state but through these tables, so a run cannot reach a state that no reviewer has seen. Pure.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from guard.errors import Conflict


class StepState(StrEnum):
    """Where one attempt of one step stands."""

    PENDING = "pending"
    READY = "ready"
    WAITING_HUMAN = "waiting_human"
    WAITING_APPROVAL = "waiting_approval"
    WAITING_TIMER = "waiting_timer"
    WAITING_EVENT = "waiting_event"
    INTENDED = "intended"
    DISPATCHED = "dispatched"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    COMPENSATED = "compensated"


class RunStatus(StrEnum):
    """Where a run stands."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


_S = StepState
_SETTLED_BY_WAITING: Final = frozenset({_S.SUCCEEDED, _S.FAILED, _S.TIMED_OUT, _S.SKIPPED})
STEP_TRANSITIONS: Final[Mapping[StepState, frozenset[StepState]]] = {
    _S.PENDING: frozenset({_S.READY, _S.SKIPPED}),
    _S.READY: frozenset({_S.WAITING_HUMAN, _S.WAITING_APPROVAL, _S.WAITING_TIMER, _S.WAITING_EVENT, _S.INTENDED}),
    _S.WAITING_HUMAN: _SETTLED_BY_WAITING,
    _S.WAITING_APPROVAL: _SETTLED_BY_WAITING,
    _S.WAITING_TIMER: _SETTLED_BY_WAITING,
    _S.WAITING_EVENT: _SETTLED_BY_WAITING,
    _S.INTENDED: frozenset({_S.DISPATCHED, _S.SKIPPED}),
    _S.DISPATCHED: frozenset({_S.SUCCEEDED, _S.FAILED, _S.TIMED_OUT, _S.UNKNOWN}),
    _S.UNKNOWN: frozenset({_S.SUCCEEDED, _S.FAILED, _S.READY}),
    _S.FAILED: frozenset({_S.READY}),
    _S.TIMED_OUT: frozenset({_S.READY}),
    _S.SUCCEEDED: frozenset({_S.COMPENSATED}),
    _S.SKIPPED: frozenset(),
    _S.COMPENSATED: frozenset(),
}

_R = RunStatus
ENDED: Final = frozenset({_R.COMPLETED, _R.FAILED, _R.ABORTED, _R.SUPERSEDED})
"""A run in one of these takes no further step; results of effects that were under way are still recorded."""
RUN_TRANSITIONS: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    _R.DRAFT: frozenset({_R.RUNNING}),
    _R.RUNNING: ENDED | {_R.PAUSED},
    _R.PAUSED: ENDED | {_R.RUNNING},
    **dict.fromkeys(ENDED, frozenset()),
}

WAITING: Final = frozenset({_S.WAITING_HUMAN, _S.WAITING_APPROVAL, _S.WAITING_TIMER, _S.WAITING_EVENT})
UNDER_WAY: Final = WAITING | {_S.READY, _S.INTENDED, _S.DISPATCHED, _S.UNKNOWN}
"""States of a step that somebody or something still has to settle."""


def step_moves(path: str, old: StepState, new: StepState) -> StepState:
    """*new* if a step may go there from *old*.

    Raises:
        Conflict: the table has no such transition.
    """
    if new not in STEP_TRANSITIONS[old]:
        raise Conflict(f"The step '{path}' is {old.value} and cannot become {new.value}.", path=path, state=old.value)
    return new


def run_moves(old: RunStatus, new: RunStatus) -> RunStatus:
    """*new* if a run may go there from *old*.

    Raises:
        Conflict: the table has no such transition.
    """
    if new not in RUN_TRANSITIONS[old]:
        raise Conflict(f"The run is {old.value} and cannot become {new.value}.", status=old.value)
    return new
