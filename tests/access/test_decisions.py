"""Decisions: equal to a plain Casbin enforcer and to the grammar read a second time; exact in time; never torn."""

import threading

import casbin
import pytest
from casbin.model import Model
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.access.doorkeeper import Doorkeeper
from guard.access.policy import BUILT_IN, Grant
from guard.catalogue import Actor
from guard.errors import InvalidPolicy
from tests.access.building import (
    MODEL,
    NOW_US,
    SHIPPED,
    Reference,
    ask,
    covers,
    covers_action,
    grant,
    rows_of,
    snapshot_of,
)

TENANTS = ("acme", "globex")
SUBJECTS = ("user:local|ana", "user:local|bob", "svc:x", "svc:unknown", "system:worker", "system:runbook")
ROLES = ("a", "b", "c", "d")
CHECKS, SNAPSHOTS = 1500, 500
SEGMENTS = ("keys", "x", "y")
VERBS = ("keys.read", "keys.write", "notes.read")

role_names = st.sampled_from(ROLES)
patterns = st.lists(st.sampled_from([*SEGMENTS, "*"]), max_size=3).flatmap(
    lambda parts: st.sampled_from(["/".join([*parts, "**"]), "/".join(parts) or "*"])
)
rules = st.tuples(
    role_names,
    patterns,
    st.sampled_from([*VERBS, "keys.*", "notes.*", "*"]),
    st.sampled_from(["allow", "allow", "deny"]),
)
links = st.tuples(role_names, role_names).filter(lambda link: link[0] < link[1])
times = st.sampled_from([None, NOW_US, NOW_US + 1, NOW_US + 5, NOW_US + 10])
grants_made = st.tuples(st.sampled_from(SUBJECTS[:4]), role_names, st.sampled_from(TENANTS), times)
questions = st.tuples(
    st.sampled_from(SUBJECTS),
    st.sampled_from(VERBS),
    st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4).map("/".join),
    st.sampled_from(TENANTS),
)


def policy(rules, links):
    return rows_of(
        *(f"p {' '.join(rule)}" for rule in rules), *(f"g {' '.join(link)}" for link in dict.fromkeys(links))
    )


def naive(rows, grants, now_us):
    """One plain enforcer over every tenant, filled row by row through Casbin's own interface."""
    model = Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_function("actMatch", lambda action, pattern: covers_action(pattern, action))
    enforcer.add_function("resMatch", lambda resource, pattern: covers(pattern.split("/"), resource.split("/")))
    for tenant in TENANTS:
        for role, resource, action, effect, _place in rows.rules:
            enforcer.add_policy(role, tenant, resource, action, effect)
        for member, role in (*BUILT_IN, *rows.links):
            enforcer.add_grouping_policy(member, role, tenant)
    for made in grants:
        if made.expires_us is None or now_us < made.expires_us:
            enforcer.add_grouping_policy(made.member, made.role, made.tenant)
    return enforcer


@settings(max_examples=120, deadline=None)
@given(
    st.lists(rules, min_size=1, max_size=8),
    st.lists(links, max_size=4),
    st.lists(grants_made, max_size=6),
    st.lists(questions, min_size=8, max_size=16),
    st.sampled_from([NOW_US, NOW_US + 4]),
)
def test_decisions_equal_a_plain_enforcer_and_a_second_reading(rules, links, made, asked, now_us):
    rows = policy(rules, links)
    given_grants = [grant(member, role, tenant, until) for member, role, tenant, until in made]
    snapshot, reference = snapshot_of(rows, *given_grants), Reference(rows, given_grants)
    enforcer = naive(rows, given_grants, now_us)
    for subject, action, resource, tenant in asked:
        decision = ask(snapshot, subject, action, resource, tenant, now_us)
        assert decision.allow == bool(enforcer.enforce(subject, tenant, resource, action))
        assert decision.allow == reference.allows(subject, action, resource, tenant, now_us)
        assert ask(snapshot, subject, action, resource, tenant, now_us) == decision  # remembered, it is the same


@settings(max_examples=120, deadline=None)
@given(
    st.lists(rules, min_size=1, max_size=8),
    st.lists(links, max_size=4),
    st.lists(grants_made, max_size=6),
    st.lists(questions, min_size=1, max_size=8),
)
def test_the_rule_that_is_named_is_one_that_decides(rules, links, made, asked):
    rows = policy(rules, links)
    given_grants = [grant(member, role, tenant, until) for member, role, tenant, until in made]
    snapshot, reference = snapshot_of(rows, *given_grants), Reference(rows, given_grants)
    for subject, action, resource, tenant in asked:
        decision = ask(snapshot, subject, action, resource, tenant)
        if decision.rule == "no rule allows it":
            assert not decision.allow
            continue
        role, effect, wanted, _, pattern, place = decision.rule.split(" ")
        assert (role, pattern, wanted, effect, place.strip("()")) in rows.rules
        assert effect == ("allow" if decision.allow else "deny")
        assert covers_action(wanted, action)
        assert covers(pattern.split("/"), resource.split("/"))
        assert role in reference.roles(subject, tenant, NOW_US)
        assert (decision.path[0], decision.path[-1]) == (subject, role)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(rules, min_size=1, max_size=6),
    st.lists(grants_made, max_size=6),
    st.lists(st.tuples(questions, st.integers(0, 12)), min_size=1, max_size=20),
)
def test_what_is_remembered_never_outlives_a_grant(rules, made, asked):
    rows = policy(rules, [])
    given_grants = [grant(member, role, tenant, until) for member, role, tenant, until in made]
    snapshot, reference = snapshot_of(rows, *given_grants), Reference(rows, given_grants)
    for (subject, action, resource, tenant), later in sorted(asked, key=lambda pair: pair[1]):
        now_us = NOW_US + later
        wanted = reference.allows(subject, action, resource, tenant, now_us)
        assert ask(snapshot, subject, action, resource, tenant, now_us).allow == wanted


# by hand


def test_a_deny_beats_every_allow_wherever_it_stands():
    rows = rows_of("p a keys/** keys.*", "p b keys/x keys.read deny", "p c ** *")
    snapshot = snapshot_of(rows, grant("svc:x", "a"), grant("svc:x", "b"), grant("svc:x", "c"))
    assert not ask(snapshot, "svc:x", "keys.read", "keys/x").allow
    assert ask(snapshot, "svc:x", "keys.read", "keys/y").allow
    assert "role:b deny keys.read on keys/x (small.csv:2)" in ask(snapshot, "svc:x", "keys.read", "keys/x").rule


def test_a_deny_that_is_inherited_beats_an_allow_that_is_held():
    rows = rows_of("p a keys/** keys.*", "p b keys/** keys.read deny", "g a b")
    assert not ask(snapshot_of(rows, grant("svc:x", "a")), "svc:x", "keys.read", "keys/x").allow


def test_the_default_is_no():
    snapshot = snapshot_of(rows_of("p a keys/x keys.read"))
    assert not ask(snapshot, "svc:x", "keys.read", "keys/x").allow
    assert ask(snapshot, "svc:x", "keys.read", "keys/x").rule == "no rule allows it"


@pytest.mark.parametrize(
    "resource", ["", "keys/", "keys//x", "keys/../keys/x", "keys/x\n", "keys/*", "keys/**", "KEYS/x", "keys/%78"]
)
def test_a_resource_that_is_not_canonical_is_denied_even_to_those_who_may_do_everything(resource):
    snapshot = snapshot_of(rows_of("p a ** *", "p a keys/** keys.*"), grant("svc:x", "a"))
    allowed = ask(snapshot, "svc:x", "keys.read", resource)
    assert allowed.allow == (resource == "KEYS/x")


@pytest.mark.parametrize(
    "action", ["", "keys.", "keys.read\n", "keys.read\0", "Keys.read", "keys.*", "*", "keys.read more", "keys..read"]
)
def test_an_action_that_is_no_name_is_denied_even_to_those_who_may_do_everything(action):
    snapshot = snapshot_of(rows_of("p a keys/** keys.*", "p a notes/** *"), grant("svc:x", "a"))
    for resource in ("keys/x", "notes/x"):
        assert not ask(snapshot, "svc:x", action, resource).allow


@pytest.mark.parametrize("subject", ["role:a", "", "*", "svc:X", "SVC:x", "svc:x\n", "svc:x ", "group:x"])
def test_only_the_very_subject_holds_its_roles_and_a_role_is_none(subject):
    snapshot = snapshot_of(rows_of("p a keys/** keys.*"), grant("svc:x", "a"))
    assert not ask(snapshot, subject, "keys.read", "keys/x").allow


def test_a_grant_counts_in_its_own_tenant_only():
    snapshot = snapshot_of(rows_of("p a keys/** keys.*"), grant("svc:x", "a", "acme"))
    for tenant in ("globex", "acme-evil", "acm", "ACME", "", "*", "system"):
        assert not ask(snapshot, "svc:x", "keys.read", "keys/x", tenant).allow


def test_a_grant_ends_to_the_microsecond():
    end = NOW_US + 1000
    snapshot = snapshot_of(rows_of("p a keys/** keys.*"), grant("svc:x", "a", expires_us=end))
    assert [ask(snapshot, "svc:x", "keys.read", "keys/x", now_us=end + n).allow for n in (-1000, -1, 0, 1)] == [
        True,
        True,
        False,
        False,
    ]


def test_the_later_of_two_grants_of_a_role_counts():
    ends = (NOW_US + 10, NOW_US + 20)
    for first, second in (ends, ends[::-1]):
        snapshot = snapshot_of(
            rows_of("p a ** *"), grant("svc:x", "a", expires_us=first), grant("svc:x", "a", expires_us=second)
        )
        answers = [ask(snapshot, "svc:x", "keys.read", "keys/x", now_us=NOW_US + n).allow for n in (0, 9, 10, 19, 20)]
        assert answers == [True, True, True, True, False]


def test_a_deny_that_ends_gives_the_allow_back():
    rows = rows_of("p a keys/** keys.*", "p suspended ** * deny")
    snapshot = snapshot_of(rows, grant("svc:x", "a"), grant("svc:x", "suspended", expires_us=NOW_US + 10))
    assert [ask(snapshot, "svc:x", "keys.read", "keys/x", now_us=NOW_US + n).allow for n in (0, 9, 10)] == [
        False,
        False,
        True,
    ]


def test_the_version_is_that_of_the_snapshot():
    snapshot = snapshot_of(rows_of("p a ** *"), grant("svc:x", "a"), version=17)
    assert ask(snapshot, "svc:x", "keys.read", "keys/x").version == 17
    assert ask(snapshot, "svc:y", "keys.read", "keys/x").version == 17


@pytest.mark.parametrize("action", ["tokens.create", "grants.add", "actors.whoami", "keys.rotate", "tokens.exchanged"])
def test_a_one_time_token_may_be_exchanged_and_nothing_else(action):
    snapshot = snapshot_of(SHIPPED, grant("user:local|ana", "platform-admin", "system"))
    holder = Actor("user:local|ana", "system", "one", "0123456789AB")
    assert snapshot.decide(holder, "tokens.exchange", "tokens/exchange", NOW_US).allow
    assert not snapshot.decide(holder, action, "tenants/~/x", NOW_US).allow
    assert ask(
        snapshot, "user:local|ana", "grants.add", "tenants/~/roles/x", "system"
    ).allow  # and its owner, otherwise
    assert not snapshot.decide(holder, action, "tenants/~/x", NOW_US).allow


def test_guard_s_own_subjects_hold_their_roles_in_every_tenant_and_nobody_else_does():
    snapshot = snapshot_of(SHIPPED)
    for tenant in ("acme", "system", "new-tenant"):
        assert ask(snapshot, "system:worker", "runs.advance", "runs/x", tenant).allow
        assert not ask(snapshot, "system:worker", "fields.decrypt", "fields/a.b/billing", tenant).allow
        assert not ask(snapshot, "svc:worker", "runs.advance", "runs/x", tenant).allow


def test_an_empty_policy_cannot_be_made():
    with pytest.raises(InvalidPolicy):
        rows_of("g a b")


def test_no_check_sees_a_half_built_graph_while_grants_change_without_pause():
    """Two threads ask what is always true and what is never, while snapshots come and go as fast as they can be made."""
    rows = rows_of("p a keys/** keys.*", "p b notes/** notes.*", "g c a")
    door = Doorkeeper(MODEL, rows, bytes(32))
    always = [grant("svc:x", "c")]
    door.swap(always, 1)
    wrong, checks, stop = [], [], threading.Event()

    def check():
        actor, stranger = Actor("svc:x", "acme", "pat"), Actor("svc:y", "acme", "pat")
        while not stop.is_set():
            if not door.decide(actor, "keys.read", "keys/x", NOW_US).allow:
                wrong.append("denied")
            if door.decide(stranger, "keys.read", "keys/x", NOW_US).allow:
                wrong.append("allowed")
            checks.append(1)

    threads = [threading.Thread(target=check) for _ in range(2)]
    for thread in threads:
        thread.start()
    version = 1
    while len(checks) < CHECKS or version < SNAPSHOTS:
        version += 1
        other = [Grant("g", "acme", f"svc:n{version % 7}", "role:b", None)]
        door.swap([*always, *other] if version % 2 else [*other, *always], version)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
