"""Questions about names that nobody holds leave nothing behind, and what is remembered is bounded."""

import gc

import pytest

from guard.access import policy
from guard.access.policy import Snapshot
from tests.access.building import MODEL, NOW_US, SHIPPED, ask, grant, snapshot_of

QUESTIONS = 10_000


@pytest.fixture
def snapshot():
    made = snapshot_of(SHIPPED, grant("user:local|ana", "support"), grant("svc:x", "tenant-admin"))
    assert ask(made, "user:local|ana", "fields.mask", "fields/a.b/support").allow
    return made


def reachable(root):
    """How many entries all dictionaries, lists and sets hold that *root* leads to, Casbin's included."""
    seen, waiting, entries = set(), [root], 0
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | str | bytes | int | type(gc)) or callable(item):
            continue
        seen.add(id(item))
        if isinstance(item, dict | list | set | frozenset | tuple):
            entries += len(item)
        waiting += gc.get_referents(item)
    return entries


def test_ten_thousand_denied_checks_on_unknown_names_leave_nothing(snapshot):
    before = reachable(snapshot)
    for number in range(QUESTIONS):
        subject = "user:local|ana" if number % 5 == 0 else f"svc:u{number}"
        assert not ask(snapshot, subject, f"n{number}.read", f"fields/t.c{number}/support").allow
    assert reachable(snapshot) == before


@pytest.mark.parametrize(
    "question",
    [
        lambda n: ("user:local|ana", "fields.mask", f"fields/t.c{n}/billing", "acme"),
        lambda n: ("user:local|ana", "fields.decrypt", f"fields/t.c{n}/support", "acme"),
        lambda n: ("user:local|ana", "fields.mask", f"{n} is not canonical", "acme"),
        lambda n: (f"u{n} is not canonical", "fields.mask", "fields/a.b/support", "acme"),
        lambda n: (f"role:r{n}", "fields.mask", "fields/a.b/support", "acme"),
    ],
)
def test_denied_checks_of_every_kind_leave_nothing(snapshot, question):
    before = reachable(snapshot)
    for number in range(1000):
        subject, action, resource, tenant = question(number)
        assert not ask(snapshot, subject, action, resource, tenant).allow
    assert reachable(snapshot) == before


def test_unknown_tenants_leave_nothing(snapshot):
    before = reachable(snapshot)
    for number in range(50):
        assert not ask(snapshot, "user:local|ana", "fields.mask", "fields/a.b/support", f"t{number}").allow
    assert reachable(snapshot) == before


def test_the_measure_sees_what_stays():
    made = snapshot_of(SHIPPED, grant("user:local|ana", "support"))
    before = reachable(made)
    assert ask(made, "user:local|ana", "fields.mask", "fields/a.b/support").allow
    assert reachable(made) > before


def test_what_is_remembered_is_forgotten_at_its_limit(snapshot):
    full = {("s", "t", "p", str(number)): None for number in range(policy.MAX_MEMO)}
    snapshot._memo.update(full)
    assert ask(snapshot, "user:local|ana", "fields.mask", "fields/c.d/support").allow
    assert len(snapshot._memo) == 1


def test_tenants_in_memory_are_bounded():
    made = Snapshot(MODEL, SHIPPED, [grant("svc:x", "support", "acme")], 1)
    made._shards.update({f"t{number}": None for number in range(policy.MAX_SHARDS)})
    assert ask(made, "svc:x", "fields.mask", "fields/a.b/support").allow
    assert list(made._shards) == ["acme"]


def test_a_decision_is_remembered_until_the_next_grant_ends():
    made = snapshot_of(SHIPPED, grant("svc:x", "support", expires_us=NOW_US + 5))
    assert ask(made, "svc:x", "fields.mask", "fields/a.b/support").allow
    assert next(iter(made._memo.values()))[1] == NOW_US + 5
