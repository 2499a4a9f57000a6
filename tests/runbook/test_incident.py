"""Incidents: their table, their severity, and one incident for many alerts."""

import itertools
from dataclasses import replace

import pytest

from guard.errors import Conflict
from guard.runbook import commands as cmd
from guard.runbook.incident import (
    INCIDENT_TRANSITIONS,
    OPEN,
    Incident,
    IncidentKind,
    IncidentState,
    Severity,
    closing_obstacles,
    dedupe_key,
    merge,
    occurred,
    reclassify,
    same,
    transition,
)

LEGAL = """
reported -> declared dismissed
declared -> active dismissed
active -> contained
contained -> recovering active
recovering -> resolved active
resolved -> closed active
closed -> active
dismissed -> reported
"""
ALLOWED = {
    (old, new) for line in LEGAL.split("\n") if line for old, news in [line.split(" -> ")] for new in news.split()
}


def incident(state=IncidentState.REPORTED, **members):
    return Incident(**{"id": "inc_1", "kind": IncidentKind.REAL, "severity": Severity.SEV3, "state": state} | members)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(IncidentState, IncidentState)))
def test_each_pair_of_states(old, new):
    before = incident(old)
    if (old.value, new.value) in ALLOWED:
        after = transition(before, new)
        assert (after.state, after.version) == (new, 2)
        return
    with pytest.raises(Conflict) as caught:
        transition(before, new)
    assert set(caught.value.extra["allowed"]) == {name for met, name in ALLOWED if met == old.value}


def test_an_incident_goes_from_report_to_close():
    now = incident()
    for state in ("declared", "active", "contained", "recovering", "resolved", "closed"):
        now = transition(now, IncidentState(state))
    assert now.version == 7
    assert set(INCIDENT_TRANSITIONS) == set(IncidentState)


def test_five_hundred_alerts_are_one_incident():
    open_incidents = []
    for _ in range(500):
        key = dedupe_key("credential-stuffing", "192.0.2.7")
        found = same(open_incidents, key, IncidentKind.REAL)
        open_incidents = [occurred(found)] if found else [incident(dedupe_key=key)]
    assert [each.occurrences for each in open_incidents] == [500]


@pytest.mark.parametrize("state", IncidentState)
def test_an_alert_joins_only_an_open_incident(state):
    key = dedupe_key("r", "e")
    found = same([incident(state, dedupe_key=key)], key, IncidentKind.REAL)
    assert (found is not None) == (state in OPEN)
    if state not in OPEN:
        with pytest.raises(Conflict, match="open a new one"):
            occurred(incident(state))


def test_a_drill_takes_in_no_real_alert():
    key = dedupe_key("r", "e")
    drill = incident(dedupe_key=key, kind=IncidentKind.DRILL)
    assert same([drill], key, IncidentKind.REAL) is None
    assert same([drill], key, IncidentKind.DRILL) is drill


def test_an_incident_without_a_key_takes_in_nothing():
    assert same([incident()], "", IncidentKind.REAL) is None


def test_keys_differ_for_every_rule_and_entity():
    pairs = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("ab", "C"), ("规则", "用户"), ("a", "\ud800")]
    assert len({dedupe_key(*pair) for pair in pairs}) == len(pairs)
    assert "192.0.2.7" not in dedupe_key("r", "192.0.2.7")


def test_merging_moves_alerts_and_keeps_the_worse_severity():
    first = incident(occurrences=3, severity=Severity.SEV1)
    second = incident(IncidentState.ACTIVE, id="inc_2", occurrences=4)
    merged, into = merge(first, second)
    assert (merged.state, merged.merged_into) == (IncidentState.MERGED, "inc_2")
    assert (into.occurrences, into.severity, into.state) == (7, Severity.SEV1, IncidentState.ACTIVE)
    with pytest.raises(Conflict):
        transition(merged, IncidentState.ACTIVE)


@pytest.mark.parametrize(
    "other",
    [
        {"id": "inc_1"},
        {"id": "inc_2", "kind": IncidentKind.DRILL},
        {"id": "inc_2", "state": IncidentState.CLOSED},
        {"id": "inc_2", "state": IncidentState.MERGED},
    ],
)
def test_what_is_not_merged(other):
    with pytest.raises(Conflict):
        merge(incident(), replace(incident(), **other))
    with pytest.raises(Conflict):
        merge(replace(incident(), **other), incident())


def test_severity_changes_while_the_incident_is_open():
    worse = reclassify(incident(), Severity.SEV1)
    assert (worse.severity, worse.version) == (Severity.SEV1, 2)
    for stays in (incident(), incident(IncidentState.CLOSED, severity=Severity.SEV1)):
        with pytest.raises(Conflict):
            reclassify(stays, Severity.SEV3)


def test_an_incident_is_not_closed_over_open_ends(driver, every_kind):
    run = driver(every_kind).go("success", "act", "success")
    assert len(closing_obstacles([run.state])) == 1
    run.dispatch("shoot")
    run.take(run.fenced(cmd.MarkUnknown, "shoot", reason="gone"))
    run.send(cmd.Abort, reason="x")
    (obstacle,) = closing_obstacles([run.state])
    assert "'shoot'" in obstacle
    run.send(cmd.ResolveUnknown, path="shoot", verdict=cmd.Verdict.FAILED, reason="looked", person="dora")
    assert closing_obstacles([run.state]) == ()
