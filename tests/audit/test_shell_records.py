"""Records as auditors see them: pages, filters, tenants apart, each provable; and intents without an outcome."""

import json

import pytest

from guard.audit.note import VerifierKey
from guard.audit.proof import parse, verify
from guard.audit.tree import leaf_hash
from guard.catalogue import PLATFORM
from guard.errors import Conflict, Denied, InvalidRequest, NotFound, VerificationFailed
from tests.world import World, world


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two tenants in which things were done, and a signed checkpoint."""
    with world(tmp_path_factory.mktemp("records") / "home") as made:
        for tenant in ("acme", "globex"):
            ana, ben = (made.hire(tenant, f"user:local|{name}", "role:support") for name in ("ana", "ben"))
            for number in range(30):
                made.call("actors.whoami", (ana, ben)[number % 3 == 0])
                if number % 5 == 0:
                    with pytest.raises(Denied):
                        made.call("keys.list", ana)
        made.call("checkpoints.publish")
        yield made


@pytest.fixture(scope="module")
def auditor(place):
    return place.hire(PLATFORM, "user:local|auditor", "role:auditor")


@pytest.fixture(scope="module")
def own(place):
    """An auditor of one tenant."""
    return place.hire("acme", "user:local|ida", "role:auditor")


def listed(place, auditor, tenant="acme", **wanted):
    return place.call("records.list", auditor, tenant=tenant, **wanted)


def all_pages(place, auditor, limit, **wanted):
    found, before = [], None
    for _ in range(1000):
        page = listed(place, auditor, limit=limit, **wanted, **({} if before is None else {"before": before}))
        assert len(page.data) <= limit
        found += page.data
        before = page.next
        if before is None:
            return found
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_pages_of_any_size_hold_every_record_once_newest_first(place, auditor, limit):
    found = all_pages(place, auditor, limit)
    assert [one.n for one in found] == list(range(len(found) - 1, -1, -1))
    indexes = [one.index for one in found]
    assert indexes == sorted(set(indexes), reverse=True)


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ({"action": "keys.list"}, lambda one: one.action == "keys.list" and one.status == "refused"),
        ({"actor": "user:local|ben"}, lambda one: one.actor == "user:local|ben"),
        (
            {"actor": "user:local|ana", "action": "actors.whoami"},
            lambda one: (one.actor, one.action) == ("user:local|ana", "actors.whoami"),
        ),
        ({"action": "no.such"}, lambda _: False),
    ],
)
def test_filters_give_all_and_only_what_they_name(place, auditor, wanted, holds):
    everything = all_pages(place, auditor, 500)
    filtered = all_pages(place, auditor, 4, **wanted)
    assert [one.id for one in filtered] == [one.id for one in everything if holds(one)]


def test_a_refusal_says_who_and_on_what_and_with_which_code(place, auditor):
    one = listed(place, auditor, action="keys.list", limit=1).data[0]
    assert (one.actor, one.resource, one.allowed, one.status, one.code) == (
        "user:local|ana",
        "keys/all",
        False,
        "refused",
        "GRD-AUTHZ-001",
    )


@pytest.mark.parametrize("limit", [0, 501, -1])
def test_a_page_of_another_size_is_refused(place, auditor, limit):
    with pytest.raises(InvalidRequest):
        listed(place, auditor, limit=limit)


# tenants apart


def test_an_auditor_of_a_tenant_sees_its_records_and_no_others(place, own):
    mine = place.call("records.list", own, limit=500).data
    assert mine == listed(place, own, "acme", limit=500).data[1:]  # the first look is a record too
    for tenant in ("globex", PLATFORM, "no-such"):
        with pytest.raises(NotFound) as raised:
            listed(place, own, tenant)
        assert tenant not in raised.value.detail


def test_the_platforms_auditor_asks_for_a_tenant_or_gets_the_platforms(place, auditor):
    assert {one.action for one in place.call("records.list", auditor, limit=500).data} >= {"services.start"}
    assert all(one.action != "services.start" for one in listed(place, auditor, "globex", limit=500).data)


def test_who_is_no_auditor_reads_no_records(place):
    for role in ("role:support", "role:tenant-admin", "role:key-admin", "role:analyst"):
        actor = place.hire("acme", "user:local|nobody", role)
        with pytest.raises(Denied):
            place.call("records.list", actor)


def test_looking_leaves_a_record_of_who_looked(place, own):
    place.call("records.list", own, action="keys.list")
    assert place.call("records.list", own, action="records.list", limit=1).data[0].actor == "user:local|ida"


def test_what_an_auditor_types_as_an_action_stands_in_no_record_unless_it_is_one(place, own):
    """It would stand there in clear and for good; the account that is looked for is sealed."""
    for typed in ("ana@example.org", "Ana Example", "keys.list "):
        with pytest.raises(InvalidRequest):
            place.call("records.list", own, action=typed)


# proofs


def signed_key(place):
    return VerifierKey.decode(place.guard.log.verifier.encode())


def test_every_record_up_to_the_checkpoint_is_proved(place, auditor):
    key, size = signed_key(place), place.call("checkpoints.publish").size
    seen = 0
    for record in all_pages(place, auditor, 500):
        if record.index >= size:
            continue
        proof = place.call("records.prove", auditor, index=record.index, tenant="acme")
        text = parse(proof.proof.encode())
        head = verify(text, leaf_hash(proof.entry.encode()), place.guard.log.origin, [key])
        assert (text.index, head.size) == (record.index, size)
        body = json.loads(proof.entry)
        assert body["n"] == record.n
        told = body["b"]
        assert (told["id"], told["tenant"], told["action"]) == (record.id, "acme", record.action)
        assert (told["actor"]["id"], told["result"]["status"]) == (record.actor, record.status)
        seen += 1
    assert seen > 40


def test_a_changed_entry_is_not_proved_by_its_proof(place, auditor):
    place.call("checkpoints.publish")
    index = listed(place, auditor, action="keys.list", limit=1).data[0].index
    proof = place.call("records.prove", auditor, index=index, tenant="acme")
    other = proof.entry.replace("refused", "allowed")
    with pytest.raises(VerificationFailed):
        verify(parse(proof.proof.encode()), leaf_hash(other.encode()), place.guard.log.origin, [signed_key(place)])


def test_a_record_of_another_tenant_is_not_proved_and_does_not_exist(place, own, auditor):
    foreign = listed(place, auditor, "globex", limit=1).data[0].index
    texts = set()
    for index in (foreign, 10_000_000):
        with pytest.raises(NotFound) as raised:
            place.call("records.prove", own, index=index)
        texts.add(raised.value.detail.replace(str(index), "N"))
    assert len(texts) == 1
    with pytest.raises(NotFound):
        place.call("records.prove", auditor, index=foreign, tenant="acme")


def test_a_record_after_the_last_checkpoint_waits_for_the_next(place, auditor):
    place.call("checkpoints.publish")
    listed(place, auditor)
    index = place.call("records.list", auditor, limit=1).data[0].index
    with pytest.raises(InvalidRequest):
        place.call("records.prove", auditor, index=index)
    place.call("checkpoints.publish")
    assert place.call("records.prove", auditor, index=index).index == index


def test_without_any_checkpoint_nothing_is_proved_yet(tmp_path):
    with world(tmp_path / "home") as made:
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        with pytest.raises(Conflict):
            made.call("records.prove", auditor, index=0)


# intents without an outcome


def open_intent(made: World) -> str:
    """An external operation whose process ends before its outcome: its intent as that process left it."""
    with made.guard.store.read() as tx:
        columns = "intent, tenant, actor, action, node, deadline_us"
        return tx.exec_driver_sql(f"SELECT {columns} FROM audit_open_intents").all()


def test_an_intent_whose_process_ended_becomes_unknown_after_the_start(tmp_path):
    with world(tmp_path / "home") as made:
        shipper = made.hire("acme", "svc:ship", "role:log-shipper")
        made.call("events.push", shipper, stream="web", fingerprint="0" * 16, offset=0)
        intent = made.records("acme", action="events.push")[1]
        assert intent.phase == "intent"
        made.guard.pipeline.stop()
        with made.guard.store.write() as tx:  # as if the process had been killed before the outcome
            made.guard.log.load(tx, 0)
            row = (intent.id, "acme", "svc:ship", "events.push", "", 1 << 60)
            tx.exec_driver_sql("INSERT INTO audit_open_intents VALUES (?, ?, ?, ?, ?, ?)", row)
    with world(tmp_path / "home") as made:
        assert made.call("intents.sweep").unknown == 1
        assert made.call("intents.sweep").unknown == 0
        assert open_intent(made) == []
        newest = made.records("acme", action="events.push")[0]
        assert (newest.phase, newest.status, newest.actor) == ("unknown", "unknown", "svc:ship")


def test_an_intent_with_its_outcome_is_closed(tmp_path):
    with world(tmp_path / "home") as made:
        shipper = made.hire("acme", "svc:ship", "role:log-shipper")
        made.call("events.push", shipper, stream="web", fingerprint="0" * 16, offset=0)
        assert open_intent(made) == []
        made.clock.advance(3600)
        assert made.call("intents.sweep").unknown == 0
