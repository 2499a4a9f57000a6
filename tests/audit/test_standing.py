"""States and what each lets through: the first finding holds, a full disk mends itself, halting comes over all."""

import pytest

from guard.audit.standing import ERRORS, NEXT, Phase, Reason, Standing
from guard.errors import DiskLow, Halted, Kind, RollbackDetected


@pytest.fixture
def standing():
    made = Standing()
    made.move(Phase.SERVING)
    return made


def test_a_start_has_three_phases_and_takes_everything():
    made = Standing()
    for phase in Phase:
        made.move(phase)
        assert made.name == phase.value
        assert made.serving is (phase is Phase.SERVING)
        made.admit(vital=False)


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_an_error_that_names_the_state_and_the_next_command(standing, reason):
    standing.trip(reason, "size 9 there, size 5 here.")
    with pytest.raises(ERRORS[reason]) as raised:
        standing.admit()
    error = raised.value
    assert error.detail == f"{standing.name}: size 9 there, size 5 here."
    assert reason.name in error.detail
    assert error.hint == NEXT[reason]
    assert error.extra["state"] == standing.name
    assert not standing.serving


def test_codes_are_one_each():
    assert len({kind.code for kind in ERRORS.values()}) == len(Reason)


def test_the_first_finding_holds(standing):
    assert standing.trip(Reason.ROLLBACK_DETECTED, "first")
    assert not standing.trip(Reason.ANCHOR_MISSING, "second")
    assert not standing.trip(Reason.FORK_DETECTED, "third")
    with pytest.raises(RollbackDetected, match="first"):
        standing.admit(vital=True)


def test_halting_comes_over_another_finding(standing):
    standing.trip(Reason.FILE_LOST, "gone")
    assert standing.trip(Reason.IO_UNKNOWN, "unknown")
    assert standing.name == "HALTED(IO_UNKNOWN)"
    with pytest.raises(Halted):
        standing.admit(vital=True)


def test_a_low_disk_lets_through_what_signs_and_closes_and_counts_the_rest(standing):
    assert standing.trip(Reason.DISK_LOW, "10 bytes")
    assert not standing.trip(Reason.DISK_LOW, "9 bytes")
    assert standing.sound
    assert standing.low
    for _ in range(3):
        with pytest.raises(DiskLow, match="9 bytes") as raised:
            standing.admit(vital=False)
    assert raised.value.kind is Kind.FULL
    assert raised.value.extra["retry_after_seconds"] > 0
    standing.admit(vital=True)
    assert standing.relieve() == 3
    assert (standing.serving, standing.refused) == (True, 0)
    standing.admit()


def test_a_low_disk_hides_no_other_finding(standing):
    standing.trip(Reason.DISK_LOW, "10 bytes")
    standing.trip(Reason.ROLLBACK_DETECTED, "first")
    assert standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
    standing.relieve()
    with pytest.raises(RollbackDetected):
        standing.admit(vital=True)


def test_a_repair_is_admitted_and_mending_ends_it(standing):
    standing.trip(Reason.ROLLBACK_DETECTED, "first")
    standing.repair()
    standing.admit()
    assert not standing.serving
    standing.mended()
    assert standing.serving


def test_the_operator_hears_of_each_change_once():
    heard = []
    made = Standing(lambda state, _detail: heard.append(state))
    made.move(Phase.SERVING)
    for _ in range(3):
        made.trip(Reason.DISK_LOW, "x")
    made.relieve()
    for _ in range(3):
        made.trip(Reason.ANCHOR_MISSING, "x")
    assert heard == ["READ_ONLY(DISK_LOW)", "SERVING", "READ_ONLY(ANCHOR_MISSING)"]
