"""Grants through the gate: who may be given what, to the microsecond, and that somebody can always administer."""

import threading

import pytest

from guard.access.grant_operations import ADMIN
from guard.access.policy import BUILT_IN
from guard.catalogue import Actor
from guard.errors import Denied, EscalationDenied, InvalidRequest, LastAdmin, NotFound
from tests.access.building import SHIPPED
from tests.db.building import PATIENCE_SECONDS, held
from tests.world import world


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with world(tmp_path_factory.mktemp("grants") / "home") as made:
        made.ana = made.hire("acme", "user:local|ana", "role:tenant-admin")
        made.sam = made.hire("acme", "user:local|sam", "role:support")
        yield made


@pytest.fixture
def platform(tmp_path):
    """A guard with one platform administrator."""
    with world(tmp_path / "home") as platform:
        platform.root = platform.hire("system", "user:local|root", "role:platform-admin")
        yield platform


def may(made, subject, action, resource, tenant="acme"):
    """What the gate would say now."""
    return made.guard.doorkeeper.decide(Actor(subject, tenant, "pat"), action, resource, made.clock.now_us).allow


ADMINISTER = {"role:platform-admin", "role:tenant-admin"}
MASK = ("fields.mask", "fields/customers.email/support")


def test_a_grant_holds_from_the_next_request_on_and_so_does_its_removal(made):
    assert not may(made, "svc:new", *MASK)
    grant = made.call("grants.add", made.ana, member="svc:new", role="role:support")
    assert may(made, "svc:new", *MASK)
    made.call("grants.remove", made.ana, grant=grant.id)
    assert not may(made, "svc:new", *MASK)


def test_each_change_raises_the_version_by_one_and_decisions_carry_it(made):
    before = made.guard.doorkeeper.snapshot.version
    grant = made.call("grants.add", made.ana, member="svc:v", role="role:support")
    made.call("grants.remove", made.ana, grant=grant.id)
    assert made.guard.doorkeeper.snapshot.version == before + 2
    answer = made.call("checks.evaluate", made.ana, subject="svc:v", action=MASK[0], resource=MASK[1])
    assert (answer.allow, answer.version) == (False, before + 2)


def test_a_change_that_is_not_committed_does_not_hold(made):
    with held(made.guard.pipeline):
        request = {"member": "svc:slow", "role": "role:support"}
        done = threading.Thread(target=made.call, args=("grants.add", made.ana), kwargs=request)
        done.start()
        done.join(0.05)
        assert not may(made, "svc:slow", *MASK)
    done.join(PATIENCE_SECONDS)
    assert may(made, "svc:slow", *MASK)


def test_giving_twice_is_giving_once_and_one_removal_takes_it_back(made):
    grants = [made.call("grants.add", made.ana, member="svc:twice", role="role:support") for _ in range(3)]
    assert len({grant.id for grant in grants}) == 1
    made.call("grants.remove", made.ana, grant=grants[0].id)
    assert not may(made, "svc:twice", *MASK)
    with pytest.raises(NotFound):
        made.call("grants.remove", made.ana, grant=grants[0].id)


def test_giving_twice_at_once_is_giving_once(made):
    answers = []
    request = {"member": "svc:racing", "role": "role:support"}
    threads = [
        threading.Thread(target=lambda: answers.append(made.call("grants.add", made.ana, **request))) for _ in range(6)
    ]
    with held(made.guard.pipeline):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len({grant.id for grant in answers}) == 1


def test_a_grant_for_a_time_ends_to_the_microsecond(made):
    grant = made.call("grants.add", made.ana, member="svc:timed", role="role:support", expires_in_seconds=60)
    made.clock.now_us = grant.expires_us - 2
    assert may(made, "svc:timed", *MASK)
    made.clock.now_us = grant.expires_us
    assert not may(made, "svc:timed", *MASK)
    listed = made.call("grants.list", made.ana).data
    assert "svc:timed" not in {one.member for one in listed}


def test_grants_outlive_a_restart_and_removed_or_ended_ones_do_not(tmp_path):
    with world(tmp_path / "home") as made:
        ana = made.hire("acme", "user:local|ana", "role:tenant-admin")
        removed = made.call("grants.add", ana, member="svc:removed", role="role:support")
        made.call("grants.remove", ana, grant=removed.id)
        made.call("grants.add", ana, member="svc:kept", role="role:support")
        made.call("grants.add", ana, member="svc:ended", role="role:support", expires_in_seconds=60)
        version = made.guard.doorkeeper.snapshot.version
    with world(tmp_path / "home") as made:
        made.clock.advance(120)
        assert [may(made, f"svc:{name}", *MASK) for name in ("removed", "kept", "ended")] == [False, True, False]
        assert made.guard.doorkeeper.snapshot.version == version


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"member": "svc:x", "role": "role:no-such"}, InvalidRequest),
        ({"member": "svc:x", "role": "support"}, InvalidRequest),
        ({"member": "svc:x", "role": "user:local|ana"}, InvalidRequest),
        ({"member": "role:support", "role": "role:support"}, InvalidRequest),
        ({"member": "svc:X", "role": "role:support"}, InvalidRequest),
        ({"member": "*", "role": "role:support"}, InvalidRequest),
        ({"member": "", "role": "role:support"}, InvalidRequest),
        ({"member": "system:worker", "role": "role:support"}, EscalationDenied),
        ({"member": "svc:x", "role": "role:platform-admin"}, EscalationDenied),
        ({"member": "svc:x", "role": "role:support", "expires_in_seconds": 0}, InvalidRequest),
        ({"member": "svc:x", "role": "role:support", "tenant": "no-such"}, Denied),
    ],
)
def test_what_cannot_be_given_is_refused_and_changes_nothing(made, request_, error):
    before = made.guard.doorkeeper.snapshot
    with pytest.raises(error):
        made.call("grants.add", made.ana, **request_)
    assert made.guard.doorkeeper.snapshot is before


@pytest.mark.parametrize("role", [role for _, role in BUILT_IN])
@pytest.mark.parametrize("tenant", ["acme", "system"])
def test_the_roles_of_guard_s_own_work_are_given_to_nobody(platform, role, tenant):
    """`role:system-worker` may create tenants and principals: who administers one tenant must not come by it."""
    ana = platform.hire("acme", "user:local|ana", "role:tenant-admin")
    with pytest.raises(EscalationDenied):
        platform.call("grants.add", platform.root, member="svc:x", role=role, tenant=tenant)
    with pytest.raises(EscalationDenied):
        platform.call("grants.add", ana, member="user:local|ana", role=role)
    with pytest.raises(EscalationDenied):
        platform.hire(tenant, "svc:x", role)


def test_platform_roles_are_held_in_the_platform_s_tenant_only(platform):
    platform.hire("acme", "user:local|ana", "role:tenant-admin")
    with pytest.raises(EscalationDenied, match="can only be held in the tenant system"):
        platform.call("grants.add", platform.root, member="user:local|ana", role=ADMIN, tenant="acme")
    with pytest.raises(EscalationDenied):
        platform.hire("acme", "user:local|eve", ADMIN)
    assert platform.call("grants.add", platform.root, member="user:local|second", role=ADMIN).role == ADMIN


@pytest.mark.parametrize("role", sorted(SHIPPED.roles - ADMINISTER - {role for _, role in BUILT_IN}))
def test_who_may_not_administer_gives_nothing(made, role):
    actor = made.hire("acme", f"user:local|of-{role.removeprefix('role:')}", role)
    for name, request in (
        ("grants.add", {"member": actor.subject, "role": "role:tenant-admin"}),
        ("grants.remove", {"grant": "grt_x"}),
        ("tokens.create", {"subject": "user:local|ana"}),
        ("tokens.revoke", {"handle": "0" * 12}),
        ("tenants.create", {"tenant": "own"}),
    ):
        with pytest.raises(Denied):
            made.call(name, actor, **request)


# the last administrator


def admins(platform):
    return [one for one in platform.call("grants.list", platform.root).data if one.role == ADMIN]


def test_the_last_administrator_cannot_be_removed(platform):
    (only,) = admins(platform)
    before = platform.guard.doorkeeper.snapshot
    with pytest.raises(LastAdmin, match="give the role to another one first"):
        platform.call("grants.remove", platform.root, grant=only.id)
    assert platform.guard.doorkeeper.snapshot is before
    assert admins(platform) == [only]
    assert may(platform, "user:local|root", "tenants.create", "tenants/x", "system")


def test_with_a_second_one_the_first_may_go_and_then_the_second_may_not(platform):
    (first,) = admins(platform)
    second = platform.call("grants.add", platform.root, member="user:local|second", role=ADMIN)
    platform.call("grants.remove", platform.root, grant=first.id)
    other = platform.hire("system", "user:local|second", ADMIN)
    with pytest.raises(LastAdmin):
        platform.call("grants.remove", other, grant=second.id)


@pytest.mark.parametrize(
    "spare",
    [
        {"member": "user:local|second", "expires_in_seconds": 3600},
        {"member": "user:local|root", "expires_in_seconds": 3600},
        {"member": "group:admins"},
    ],
    ids=["one for a time", "oneself for a time", "a group"],
)
def test_who_only_seems_to_administer_does_not_count(platform, spare):
    (only,) = admins(platform)
    platform.call("grants.add", platform.root, role=ADMIN, **spare)
    with pytest.raises(LastAdmin):
        platform.call("grants.remove", platform.root, grant=only.id)


def test_two_who_remove_each_other_at_once_leave_one(platform):
    (first,) = admins(platform)
    second = platform.call("grants.add", platform.root, member="user:local|second", role=ADMIN)
    other = platform.hire("system", "user:local|second", ADMIN)
    outcomes = []

    def remove(actor, grant):
        try:
            platform.call("grants.remove", actor, grant=grant)
            outcomes.append("removed")
        except LastAdmin:
            outcomes.append("last")

    pairs = [(platform.root, second.id), (other, first.id)]
    threads = [threading.Thread(target=remove, args=pair) for pair in pairs]
    with held(platform.guard.pipeline):
        for thread in threads:
            thread.start()
            thread.join(0.05)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(outcomes) == ["last", "removed"]


# who am I, and what may somebody


def test_whoami_tells_the_roles_of_this_tenant_that_hold_now(made):
    actor = made.hire("acme", "user:local|multi", "role:support", "role:analyst")
    made.hire("globex", "user:local|multi", "role:auditor")
    assert made.call("actors.whoami", actor).roles == ["role:analyst", "role:support"]
    assert made.call("actors.whoami", actor).tenant == "acme"


def test_a_check_gives_the_rule_and_the_path(made):
    asked = {"subject": "user:local|sam", "action": MASK[0], "resource": MASK[1]}
    answer = made.call("checks.evaluate", made.ana, **asked)
    assert answer.allow
    assert answer.rule.startswith("role:support allow fields.mask on fields/*/support (policies/access/roles.csv:")
    assert answer.path == ["user:local|sam", "role:support"]
    asked = {"subject": "user:local|sam", "action": "actors.whoami", "resource": "actors/self"}
    assert made.call("checks.evaluate", made.ana, **asked).path == ["user:local|sam", "role:support", "role:member"]


@pytest.mark.parametrize("subject", ["role:support", "user:x", "system:", "svc:A"])
def test_a_check_on_a_subject_of_another_form_is_refused(made, subject):
    with pytest.raises(InvalidRequest):
        made.call("checks.evaluate", made.ana, subject=subject, action="keys.read", resource="keys/x")
