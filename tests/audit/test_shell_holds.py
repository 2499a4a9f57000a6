"""Legal holds: one person places, two release, and each sees those of the own tenant only."""

import pytest

from guard.audit import hold_store
from guard.catalogue import PLATFORM
from tests.audit.privacy import REASON, SUBJECT, Office, body, code, leftovers, office, rows

DENIED, MISSING, CONFLICT, INVALID = "GRD-AUTHZ-001", "GRD-STORE-404", "GRD-STORE-410", "GRD-VAL-001"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with office(tmp_path_factory.mktemp("holds")) as made:
        yield made


@pytest.fixture(scope="module")
def desk(made):
    return Office(made)


def standing(made, tenant="acme"):
    with made.guard.store.read() as tx:
        return {one.id for one in hold_store.standing(tx, tenant)}


def last(made):
    return body(made, made.guard.log.size - 1)


def test_a_hold_is_active_at_once_and_on_record(made, desk):
    hold = desk.hold("actor", target="user:local|adam", reason=REASON)
    assert (hold.state, hold.placed_by, hold.scope) == ("active", "user:local|lea", "actor")
    assert last(made)["data"] == {
        "hold": hold.id,
        "matter": "case-2026-17",
        "scope": "actor",
        "target": "user:local|adam",
    }
    assert last(made)["sealed"].keys() == {"reason"}
    assert hold.id in standing(made)


def test_the_release_takes_two_people(made, desk):
    hold = desk.hold("tenant")
    assert desk.call("counsel", "holds.release", hold=hold.id, reason=REASON).state == "releasing"
    assert hold.id in standing(made), "asking alone releases nothing"
    assert code(desk.call, "counsel", "holds.release", hold=hold.id) == DENIED
    done = desk.call("officer", "holds.release", hold=hold.id)
    assert (done.state, done.release_asked_by, done.released_by) == ("released", "user:local|lea", "user:local|olga")
    assert last(made)["data"] == {"hold": hold.id, "state": "released"}
    assert hold.id not in standing(made)
    assert code(desk.call, "second", "holds.release", hold=hold.id) == CONFLICT


def test_who_placed_a_hold_may_be_one_of_the_two(made, desk):
    hold = desk.hold("tenant")
    desk.call("officer", "holds.release", hold=hold.id)
    assert desk.call("counsel", "holds.release", hold=hold.id).state == "released"


def test_a_hold_on_a_subject_names_it_by_its_pseudonym(made, desk):
    hold = desk.hold("subject", subject=SUBJECT)
    assert SUBJECT not in hold.target
    assert leftovers(made, SUBJECT) == []
    ((key_id,),) = rows(made, "SELECT key_id FROM subject_keys WHERE subject LIKE 'sub:%'")
    assert hold.target == key_id
    index = made.guard.log.size - 1
    assert desk.reveal(index) == {"subject": SUBJECT}
    desk.release(hold.id)


@pytest.mark.parametrize(
    ("scope", "given"),
    [
        ("tenant", {"target": "x"}),
        ("log", {"subject": "x"}),
        ("subject", {}),
        ("subject", {"target": "x"}),
        ("subject", {"subject": "x", "target": "y"}),
        ("actor", {}),
        ("actor", {"subject": "x"}),
        ("matter", {}),
    ],
)
def test_a_hold_says_exactly_what_its_scope_needs(made, desk, scope, given):
    who = Office(made, PLATFORM) if scope == "log" else desk
    assert code(who.hold, scope, **given) == INVALID


def test_only_the_platform_holds_the_whole_log(made, desk):
    assert code(desk.hold, "log") == MISSING
    root = Office(made, PLATFORM)
    hold = root.hold("log")
    assert hold.id in standing(made)
    assert hold.id in standing(made, "globex")
    assert hold.id not in {one.id for one in desk.call("auditor", "holds.list").data}
    root.release(hold.id)
    assert hold.id not in standing(made)


def test_another_tenant_neither_sees_nor_releases(made, desk):
    hold, other = desk.hold("tenant"), Office(made, "globex")
    assert other.call("auditor", "holds.list").data == []
    assert code(other.call, "counsel", "holds.release", hold=hold.id) == MISSING
    assert code(other.call, "auditor", "holds.list", tenant="acme") == MISSING
    assert code(other.call, "counsel", "holds.place", scope="tenant", matter="c", tenant="acme") == MISSING
    assert hold.id not in standing(made, "globex")


def test_the_platform_s_people_hold_and_see_for_a_tenant(made, desk):
    root = Office(made, PLATFORM)
    hold = root.hold("tenant", tenant="acme")
    assert hold.tenant == "acme"
    assert hold.id in {one.id for one in desk.call("auditor", "holds.list").data}
    assert hold.id in {one.id for one in root.call("auditor", "holds.list", tenant="acme").data}


@pytest.mark.parametrize("who", ["admin", "auditor"])
def test_others_neither_place_nor_release(made, desk, who):
    hold = desk.hold("tenant")
    assert code(desk.call, who, "holds.place", scope="tenant", matter="c") == DENIED
    assert code(desk.call, who, "holds.release", hold=hold.id) == DENIED
    assert last(made)["result"]["status"] == "refused"


def test_a_hold_that_is_not_there_is_said_so(made, desk):
    assert code(desk.call, "counsel", "holds.release", hold="hld_none") == MISSING


def test_the_list_is_newest_first_and_as_long_as_asked(made, desk):
    made.clock.advance(1)
    newest = desk.hold("tenant")
    listed = desk.call("auditor", "holds.list", limit=2).data
    assert len(listed) == 2
    assert listed[0].id == newest.id
