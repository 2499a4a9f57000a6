"""The library of plans as callers see it, and what a library that cannot be run does to the start."""

import pytest

from guard.errors import Denied, InvalidPlan, NotFound
from tests.runbook.staffing import LIBRARY, Staff, settings_of, world


@pytest.fixture(scope="module")
def staff(tmp_path_factory):
    with world(tmp_path_factory.mktemp("plans") / "home") as made:
        yield Staff(made)


def test_the_library_is_listed_and_shown(staff):
    listed = staff.call("rob", "plans.list").data
    assert [one.plan for one in listed] == ["ban", "contain", "twice"]
    detail = staff.call("rob", "plans.read", plan="contain")
    assert (detail.start, detail.steps, len(detail.details)) == ("rotate", 9, 9)
    kinds = {one.step: (one.kind, one.role) for one in detail.details}
    assert kinds["by_hand"] == ("task", "sme")
    assert kinds["sign"] == ("approval", None)
    with pytest.raises(NotFound):
        staff.call("rob", "plans.read", plan="unknown")


def test_a_plan_is_checked_and_not_stored(staff):
    good = staff.call("carla", "plans.lint", text=LIBRARY["contain.yaml"])
    assert (good.errors, len(staff.call("rob", "plans.list").data)) == (0, 3)
    bad = (
        LIBRARY["contain.yaml"]
        .replace("operation: keys.rotate", "operation: keys.rotatf")
        .replace("wait: cool_down", "wait: nowhere")
    )
    found = staff.call("carla", "plans.lint", text=bad)
    assert found.errors >= 2
    assert {one.severity for one in found.findings} >= {"error"}


@pytest.mark.parametrize("broken", ["start: nowhere", "start: rotate\nstart: rotate"])
def test_a_library_with_a_plan_that_cannot_run_does_not_start(tmp_path, broken):
    library = settings_of(tmp_path)["runbooks"]
    (library / "contain.yaml").write_text(LIBRARY["contain.yaml"].replace("start: rotate", broken), encoding="utf-8")
    with pytest.raises(InvalidPlan) as raised, world(tmp_path / "home"):
        pass
    assert "runbooks/contain.yaml" in str(raised.value) + str(raised.value.extra)
    assert not (tmp_path / "home").exists()


def test_a_plan_that_stands_in_two_files_does_not_start(tmp_path):
    library = settings_of(tmp_path)["runbooks"]
    (library / "copy.yaml").write_text(LIBRARY["contain.yaml"], encoding="utf-8")
    with pytest.raises(InvalidPlan) as raised, world(tmp_path / "home"):
        pass
    assert "twice" in raised.value.detail


def test_a_file_that_is_no_text_is_named(tmp_path):
    library = settings_of(tmp_path)["runbooks"]
    (library / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidPlan) as raised, world(tmp_path / "home"):
        pass
    assert "bytes.yaml" in raised.value.detail


def test_plans_are_read_by_the_people_of_incidents(staff):
    shipper = staff.world.hire(staff.tenant, "svc:ship", "role:log-shipper")
    with pytest.raises(Denied):
        staff.world.call("plans.list", shipper)
    assert staff.call("lea", "plans.list").data == staff.call("carla", "plans.list").data
