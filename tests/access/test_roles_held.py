"""The roles that an allowed decision names: all that the actor holds, directly and through others, at that time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.access.grammar import ROLE
from tests.access.building import NOW_US, SHIPPED, Reference, ask, grant, rows_of, snapshot_of

ANA = "user:local|ana"
ROLES = ("a", "b", "c", "d")
LINKS = st.lists(
    st.tuples(st.sampled_from(ROLES), st.sampled_from(ROLES)).filter(lambda one: one[0] < one[1]), max_size=6
)


def held(decision):
    return {role.removeprefix("role:") for role in decision.roles}


def test_every_role_on_the_way_up_is_named():
    rows = rows_of("p c x/* x.read", "g a b", "g b c", "g d c")
    decision = ask(snapshot_of(rows, grant(ANA, "a")), ANA, "x.read", "x/1")
    assert decision.allow
    assert held(decision) == {"a", "b", "c"}


def test_of_two_roles_both_are_named_whichever_decides():
    for order in (("a", "b"), ("b", "a")):
        rows = rows_of(*(f"p {role} x/* x.read" for role in order))
        decision = ask(snapshot_of(rows, grant(ANA, "a"), grant(ANA, "b")), ANA, "x.read", "x/1")
        assert held(decision) == {"a", "b"}


@given(LINKS, st.sets(st.sampled_from(ROLES), min_size=1))
@settings(max_examples=60, deadline=None)
def test_they_are_those_of_a_second_reading(links, given_roles):
    rows = rows_of(*(f"p {role} x/* x.read" for role in ROLES), *(f"g {low} {high}" for low, high in links))
    grants = [grant(ANA, role) for role in sorted(given_roles)]
    decision = ask(snapshot_of(rows, *grants), ANA, "x.read", "x/1")
    assert decision.roles == Reference(rows, grants).roles(ANA, "acme", NOW_US)
    assert all(ROLE.fullmatch(role) for role in decision.roles)


def test_a_grant_that_is_over_or_of_another_tenant_gives_no_role():
    rows = rows_of("p a x/* x.read", "p b x/* x.read", "p c x/* x.read")
    grants = (grant(ANA, "a"), grant(ANA, "b", expires_us=NOW_US + 10), grant(ANA, "c", tenant="globex"))
    snapshot = snapshot_of(rows, *grants)
    assert held(ask(snapshot, ANA, "x.read", "x/1", now_us=NOW_US + 9)) == {"a", "b"}
    assert held(ask(snapshot, ANA, "x.read", "x/1", now_us=NOW_US + 10)) == {"a"}


@pytest.mark.parametrize("subject", ["user:local|nobody", "svc:x"])
def test_who_is_refused_is_told_no_roles(subject):
    rows = rows_of("p a x/* x.read")
    decision = ask(snapshot_of(rows, grant(ANA, "a")), subject, "x.read", "x/1")
    assert (decision.allow, decision.roles) == (False, frozenset())


def test_an_officer_is_a_clerk_too():
    decision = ask(
        snapshot_of(SHIPPED, grant(ANA, "identity-officer")), ANA, "tokens.reveal", "fields/a.b/identity_check"
    )
    assert held(decision) == {"identity-officer", "identity-clerk", "member"}
