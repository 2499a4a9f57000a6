"""Incidents in a real guard: one for many alerts, moved on in legal steps, closed when nothing is open."""

import threading

import pytest

from guard.errors import Conflict, Denied, InvalidRequest, NotFound
from tests.runbook.staffing import Staff, sql, world
from tests.world import START_US

WAY = ("declared", "active", "contained", "recovering", "resolved", "closed")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with world(tmp_path_factory.mktemp("incidents") / "home") as made:
        yield made


@pytest.fixture
def staff(shared):
    shared.clock.now_us = START_US
    return Staff(shared)


def move(staff, incident, *states, who="carla"):
    for state in states:
        view = staff.call(who, "incidents.transition", incident=incident, to=state, reason="as planned")
    return view


# one for many


def test_alerts_of_one_rule_on_one_thing_are_one_incident(staff):
    seen = {"title": "Attack", "rule": "scan", "entity": "198.51.100.7"}
    views = [staff.call("ana", "incidents.open", **seen) for _ in range(5)]
    assert [one.occurrences for one in views] == [1, 2, 3, 4, 5]
    assert len({one.id for one in views}) == 1
    (listed,) = staff.call("rob", "incidents.list").data
    assert (listed.occurrences, listed.version) == (5, 5)


@pytest.mark.parametrize(
    "other",
    [{"rule": "flood"}, {"entity": "198.51.100.8"}, {"kind": "drill"}, {"rule": "sca", "entity": "n198.51.100.7"}],
)
def test_another_rule_thing_or_kind_is_another_incident(staff, other):
    seen = {"title": "Attack", "rule": "scan", "entity": "198.51.100.7"}
    first = staff.call("ana", "incidents.open", **seen)
    second = staff.call("ana", "incidents.open", **(seen | other))
    assert first.id != second.id
    assert (first.occurrences, second.occurrences) == (1, 1)


def test_incidents_that_people_open_are_never_taken_for_each_other(staff):
    first, second = (staff.call("carla", "incidents.open", title="Log-in page is down") for _ in range(2))
    assert first.id != second.id


def test_tenants_have_incidents_of_their_own(staff):
    seen = {"title": "Attack", "rule": "scan", "entity": "198.51.100.7"}
    other = Staff(staff.world)
    first, second = staff.call("ana", "incidents.open", **seen), other.call("ana", "incidents.open", **seen)
    assert (first.occurrences, second.occurrences) == (1, 1)
    assert [one.id for one in other.call("rob", "incidents.list").data] == [second.id]
    for name in ("incidents.read", "incidents.transition"):
        members = {"to": "declared"} if name.endswith("transition") else {}
        with pytest.raises(NotFound):
            other.call("carla", name, incident=first.id, **members)


def test_many_who_open_it_at_once_open_one(staff):
    seen = {"title": "Attack", "rule": "scan", "entity": "198.51.100.7", "plan": "twice"}
    inputs = {"__key__": "customers.email"}
    threads = [
        threading.Thread(target=lambda: staff.call("carla", "incidents.open", **seen, inputs=inputs)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (incident,) = staff.call("rob", "incidents.list").data
    assert (incident.occurrences, len(incident.runs)) == (8, 1)


@pytest.mark.parametrize(("last", "same"), [("contained", True), ("resolved", True), ("closed", False)])
def test_an_alert_belongs_to_an_incident_as_long_as_it_is_open(staff, last, same):
    seen = {"title": "Attack", "rule": "scan", "entity": "198.51.100.7"}
    first = staff.call("ana", "incidents.open", **seen)
    move(staff, first.id, *WAY[: WAY.index(last) + 1])
    second = staff.call("ana", "incidents.open", **seen)
    assert (second.id == first.id) is same
    assert staff.call("carla", "incidents.read", incident=first.id).state == last


# legal steps


def test_the_way_of_an_incident(staff):
    incident = staff.call("carla", "incidents.open", title="Attack", severity=1)
    for number, state in enumerate(WAY, 2):
        view = move(staff, incident.id, state)
        assert (view.state, view.version, view.severity) == (state, number, 1)
    assert move(staff, incident.id, "active").state == "active"


def test_containing_walks_the_steps_before_it(staff):
    for begin in ((), ("declared",), ("declared", "active")):
        incident = staff.call("carla", "incidents.open", title="Attack")
        if begin:
            move(staff, incident.id, *begin)
        view = move(staff, incident.id, "contained")
        assert (view.state, view.version) == ("contained", 4)


@pytest.mark.parametrize(
    ("way", "to", "allowed"),
    [
        ((), "resolved", ["declared", "dismissed"]),
        ((), "closed", ["declared", "dismissed"]),
        (("declared", "active"), "declared", ["contained"]),
        (("dismissed",), "contained", ["reported"]),
        (("dismissed",), "dismissed", ["reported"]),
        ((), "merged", ["declared", "dismissed"]),
    ],
)
def test_a_step_that_is_not_legal_is_refused_with_those_that_are(staff, way, to, allowed):
    incident = staff.call("carla", "incidents.open", title="Attack").id
    if way:
        move(staff, incident, *way)
    before = staff.call("carla", "incidents.read", incident=incident)
    with pytest.raises(Conflict) as raised:
        move(staff, incident, to)
    assert raised.value.extra["allowed"] == allowed
    assert staff.call("carla", "incidents.read", incident=incident) == before


@pytest.mark.parametrize("to", ["burning", "Closed", ""])
def test_a_state_that_is_none_is_refused(staff, to):
    incident = staff.call("carla", "incidents.open", title="Attack").id
    with pytest.raises(InvalidRequest):
        move(staff, incident, to)


def test_who_may_move_an_incident_and_who_may_only_look(staff):
    incident = staff.call("ana", "incidents.open", title="Attack").id
    for who in ("rob", "lea", "sam"):
        assert staff.call(who, "incidents.read", incident=incident).state == "reported"
        with pytest.raises(Denied):
            move(staff, incident, "declared", who=who)
    assert move(staff, incident, "declared", who="dan").state == "declared"  # a deputy stands in for the commander


def test_two_who_move_it_at_once_move_it_once(staff):
    incident = staff.call("carla", "incidents.open", title="Attack").id
    errors = []

    def declare():
        try:
            move(staff, incident, "declared")
        except Conflict as error:
            errors.append(error)

    threads = [threading.Thread(target=declare) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 4
    assert staff.call("carla", "incidents.read", incident=incident).version == 2


# closing


def test_an_incident_with_a_run_under_way_is_not_closed(staff):
    incident, run = staff.open()
    move(staff, incident.id, *WAY[:-1])
    with pytest.raises(Conflict) as raised:
        move(staff, incident.id, "closed")
    assert run.run in raised.value.detail
    assert raised.value.extra["obstacles"] == [raised.value.detail]
    staff.send("carla", run.run, "pause", reason="x")
    with pytest.raises(Conflict):
        move(staff, incident.id, "closed")
    staff.send("carla", run.run, "abort", reason="x")
    assert move(staff, incident.id, "closed").state == "closed"


def test_each_run_of_an_incident_stands_in_the_way(staff):
    incident, first = staff.open()
    inputs = {"__key__": "customers.email", "__incident__": incident.id}
    second = staff.call("carla", "runs.start", plan="twice", incident=incident.id, inputs=inputs)
    view = staff.call("rob", "incidents.read", incident=incident.id)
    assert view.runs == [first.run, second.run]
    move(staff, incident.id, *WAY[:-1])
    with pytest.raises(Conflict) as raised:
        move(staff, incident.id, "closed")
    assert len(raised.value.extra["obstacles"]) == 2


# lists and forms


def test_incidents_are_listed_newest_first(staff):
    made = [staff.call("carla", "incidents.open", title=f"Attack {number}").id for number in range(4)]
    assert [one.id for one in staff.call("rob", "incidents.list").data] == made[::-1]
    assert [one.id for one in staff.call("rob", "incidents.list", limit=2).data] == made[:1:-1]
    assert staff.call("rob", "incidents.read", incident=made[0]).title == "Attack 0"
    with pytest.raises(NotFound):
        staff.call("rob", "incidents.read", incident="inc_none")


@pytest.mark.parametrize(
    "members",
    [{"title": ""}, {"title": "x" * 201}, {"severity": 0}, {"severity": 5}, {"kind": "test"}, {"entity": "x" * 129}],
)
def test_an_incident_of_another_form_is_refused(staff, members):
    with pytest.raises(InvalidRequest):
        staff.call("carla", "incidents.open", **({"title": "Attack"} | members))
    assert staff.call("rob", "incidents.list").data == []


def test_what_was_hit_is_kept_as_a_hash_only(staff):
    staff.call("ana", "incidents.open", title="Attack", rule="scan", entity="canary-account")
    rows = sql(staff.world.home, "SELECT * FROM incidents WHERE tenant = ?", staff.tenant)
    assert len(rows) == 1
    assert "canary" not in str(rows)
    recorded = sql(staff.world.home, "SELECT count(*) FROM audit_entries WHERE CAST(entry AS TEXT) LIKE '%canary%'")
    assert recorded == [(0,)]
