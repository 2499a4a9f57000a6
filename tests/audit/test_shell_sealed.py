"""Sealed values through the gate: committed to in the record, kept beside it, opened by right, gone when time comes."""

import base64
import hashlib
import json

import pytest
import rfc8785

from guard.audit.sealed import DAY_US, SealedValues
from guard.audit.sealed_operations import EXPIRE_LIMIT
from guard.catalogue import PLATFORM, Effect, collect, operation
from guard.errors import InternalError, Unauthenticated
from guard.rooms import ROOMS
from guard.wire.audit import ListRecords, RecordList
from tests.audit.privacy import REASON, Office, body, code, office, rows, writings

DAY_SECONDS = 86_400
KEEP_DAYS = 30


@pytest.fixture
def made(tmp_path):
    with office(tmp_path, sealed_days=KEEP_DAYS) as made:
        yield made


@pytest.fixture
def desk(made):
    return Office(made)


def refused_login(made, peer):
    """What the HTTP side does with a request without a credential; the index of its record."""
    unit = made.gate.refused(made.gate.operations["keys.list"], Unauthenticated("no"), "test-peer", peer=peer)
    with pytest.raises(Unauthenticated):
        made.guard.pipeline.wait(unit)
    return made.guard.log.size - 1


# in the record


def test_a_record_commits_to_its_value_and_does_not_hold_it(made, desk):
    index = desk.note()
    record = body(made, index)
    assert record["sealed"].keys() == {"note"}
    assert len(base64.urlsafe_b64decode(record["sealed"]["note"] + "=")) == 32
    assert record["data"] == {"handle": record["data"]["handle"], "kind": "svc", "subject": "svc:noted"}
    assert [one for one in writings(REASON) if one in json.dumps(record).encode()] == []


def test_an_opening_proves_itself_by_the_formula_of_the_format(made, desk):
    index = desk.note()
    (opening,) = desk.call("officer", "records.reveal", index=index).openings
    nonce = base64.urlsafe_b64decode(opening.nonce + "=")
    digest = hashlib.sha256(b"\x02" + nonce + rfc8785.dumps(opening.value)).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == body(made, index)["sealed"]["note"]
    assert (opening.field, opening.value) == ("note", REASON)


def test_equal_values_look_different(made, desk):
    first, second = (body(made, desk.note())["sealed"]["note"] for _ in range(2))
    assert first != second


def test_nothing_is_sealed_where_nothing_was_said(made, desk):
    desk.call("admin", "tokens.create", subject="svc:silent")
    assert "sealed" not in body(made, made.guard.log.size - 1)
    desk.call("auditor", "records.list")
    assert "sealed" not in body(made, made.guard.log.size - 1)
    assert rows(made, "SELECT count(*) FROM audit_sealed") == [(0,)]


def test_a_refusal_seals_what_it_was_about(made, desk):
    assert code(desk.call, "auditor", "tokens.create", subject="svc:x", note=REASON) == "GRD-AUTHZ-001"
    index = made.guard.log.size - 1
    assert body(made, index)["result"]["status"] == "refused"
    assert desk.reveal(index) == {"note": REASON}


def test_a_failed_log_in_carries_the_address_of_its_caller_sealed(made):
    index = refused_login(made, "198.51.100.23")
    record = body(made, index)
    assert (record["actor"]["id"], record["tenant"], set(record["sealed"])) == ("nobody", PLATFORM, {"peer"})
    root = Office(made, PLATFORM)
    assert root.reveal(index) == {"peer": "198.51.100.23"}


def test_many_failed_log_ins_share_the_key_of_their_day(made):
    for number in range(20):
        refused_login(made, f"198.51.100.{number}")
    made.clock.advance(DAY_SECONDS)
    refused_login(made, "198.51.100.99")
    assert rows(made, "SELECT count(*), count(DISTINCT key_id) FROM audit_sealed") == [(21, 2)]
    names = rows(made, "SELECT tenant, substr(subject, 1, 4) FROM subject_keys")
    assert names == [(PLATFORM, "day:")] * 2


def test_a_record_and_its_values_are_written_together_or_not_at_all(made, desk):
    """The sealing fails in the middle of a group: neither the operation, nor the record, nor a row is there."""
    before = (made.guard.log.size, rows(made, "SELECT count(*) FROM tokens"))
    kept = made.guard.log.seal

    def fails(tx, entries):
        kept(tx, entries)
        raise InternalError("the disk is full")

    made.guard.log.seal = fails
    assert code(desk.call, "admin", "tokens.create", subject="svc:lost", note=REASON) == "GRD-HTTP-500"
    made.guard.log.seal = kept
    assert (made.guard.log.size, rows(made, "SELECT count(*) FROM tokens")) == before
    assert rows(made, "SELECT count(*) FROM audit_sealed") == rows(made, "SELECT count(*) FROM subject_keys") == [(0,)]
    assert desk.reveal(desk.note()) == {"note": REASON}


def test_what_is_called_most_seals_nothing():
    """The hot path pays for none of this."""
    assert [item.name for item in collect(ROOMS).values() if item.hot and item.sealed] == []


def test_an_operation_cannot_seal_what_it_does_not_take_or_records_in_clear():
    common = {"takes": ListRecords, "gives": RecordList, "effect": Effect.READ, "resource": "x"}
    for wrong in ({"sealed": ("nothing",)}, {"subject": "nothing"}, {"sealed": ("actor",), "audit": ("actor",)}):
        with pytest.raises(InternalError, match=r"a\.b"):
            operation("a.b", None, **common, **wrong)(lambda _ctx, _request: None)


# whose it is


def test_the_subject_is_whom_the_operation_names_and_else_the_day(made, desk):
    desk.search()
    desk.search()
    desk.note()
    desk.call("officer", "records.reveal", index=desk.note(), reason="for the court")
    found = dict(rows(made, "SELECT field, count(DISTINCT key_id) FROM audit_sealed GROUP BY field"))
    assert found == {"actor": 1, "note": 1, "reason": 1}
    assert rows(made, "SELECT count(*) FROM subject_keys WHERE subject LIKE 'day:%'") == [(1,)]
    assert rows(made, "SELECT count(*) FROM subject_keys WHERE subject LIKE 'sub:%'") == [(2,)]


def test_the_platform_s_people_seal_for_a_subject_of_the_tenant_that_they_name(made, desk):
    root = made.hire(PLATFORM, "user:local|root", "role:platform-admin")
    made.call("tokens.create", root, subject="svc:noted", tenant="acme", note=REASON)
    assert rows(made, "SELECT tenant FROM audit_sealed") == [("acme",)]
    desk.erase("svc:noted")
    assert rows(made, "SELECT count(*) FROM audit_sealed") == [(0,)]


def test_nobody_makes_keys_in_a_tenant_that_he_may_not_name(made, desk):
    Office(made, "globex")
    assert code(desk.call, "admin", "tokens.create", subject="svc:x", tenant="globex", note=REASON).startswith("GRD-")
    assert {tenant for (tenant,) in rows(made, "SELECT tenant FROM subject_keys")} == {"acme"}


# opening


@pytest.mark.parametrize("who", ["officer", "counsel"])
def test_who_may_open_does_and_is_on_record_with_the_pseudonym(made, desk, who):
    index = desk.note()
    view = desk.call(who, "records.reveal", index=index, reason="for the court")
    record = body(made, made.guard.log.size - 1)
    assert record["action"] == "records.reveal"
    assert record["data"] == {"index": index, "opened": 1, "pseudonym": view.subject}
    assert view.subject.startswith("sub_")
    assert view.id == body(made, index)["id"]
    assert record["sealed"].keys() == {"reason"}


@pytest.mark.parametrize("who", ["auditor", "admin"])
def test_who_may_not_open_is_told_as_of_a_record_that_is_not_there(made, desk, who):
    index = desk.note()
    assert code(desk.call, who, "records.reveal", index=index) == "GRD-STORE-404"
    assert body(made, made.guard.log.size - 1)["result"]["status"] == "refused"


def test_another_tenant_gets_the_same_answer_for_a_record_and_for_none(made, desk):
    index, other = desk.note(), Office(made, "globex")
    refusals = []
    for asked in (index, 10_000_000):
        with pytest.raises(Exception) as caught:
            other.call("officer", "records.reveal", index=asked)
        refusals.append(str(caught.value).replace(str(asked), "N"))
        assert body(made, made.guard.log.size - 1)["result"]["code"] == "GRD-STORE-404"
    assert refusals[0] == refusals[1]
    assert code(other.call, "officer", "records.reveal", index=index, tenant="acme") == "GRD-STORE-404"


def test_a_record_without_values_opens_like_one_that_is_not_there(made, desk):
    made.call("actors.whoami", desk.people["admin"])
    assert code(desk.call, "officer", "records.reveal", index=made.guard.log.size - 1) == "GRD-STORE-404"


def test_a_value_that_was_changed_or_put_in_another_place_is_told_as_damage(made, desk):
    first, second = desk.note("one"), desk.note("two")
    made.guard.pipeline.stop()
    with made.guard.store.write() as tx:
        values = dict(tx.exec_driver_sql("SELECT record_id, sealed FROM audit_sealed").all())
        one, two = body(made, first)["id"], body(made, second)["id"]
        tx.exec_driver_sql("UPDATE audit_sealed SET sealed = ? WHERE record_id = ?", (values[two], one))
    with made.guard.store.read() as tx:
        opened = made.gate._doors.parts[SealedValues].opened
        assert opened(tx, two, body(made, second)["sealed"])[1][0][2] == "two"
        assert code(opened, tx, one, body(made, first)["sealed"]) == "GRD-STORE-001"
        assert code(opened, tx, two, {"note": body(made, first)["sealed"]["note"]}) == "GRD-STORE-001"


# time


def expire(made):
    return made.beat("sealed.expire", made.gate._doors.parts[SealedValues].expiry_due)


def test_values_go_when_their_time_has_come_and_the_key_of_a_day_with_its_last(made, desk):
    index = desk.note()
    desk.search()
    made.clock.advance((KEEP_DAYS - 1) * DAY_SECONDS)
    assert expire(made) == 0
    late = desk.note("late")
    made.clock.advance(2 * DAY_SECONDS)
    assert expire(made) == 1
    record = body(made, made.guard.log.size - 1)
    assert (record["action"], record["data"]) == ("sealed.expire", {"keys": 1, "rows": 2})
    assert code(desk.call, "officer", "records.reveal", index=index) == "GRD-AUDIT-021"
    assert desk.reveal(late) == {"note": "late"}
    assert rows(made, "SELECT count(*) FROM subject_keys WHERE wrapped IS NOT NULL") == [(1,)]
    assert expire(made) == 0


def test_the_day_s_key_lives_until_the_last_of_its_rows_is_gone(made):
    for number in range(EXPIRE_LIMIT + 10):
        refused_login(made, f"198.51.{number // 256}.{number % 256}")
    made.clock.advance((KEEP_DAYS + 1) * DAY_SECONDS)
    assert expire(made) == 1
    assert rows(made, "SELECT count(*) FROM audit_sealed") == [(10,)]
    assert rows(made, "SELECT count(*) FROM subject_keys WHERE wrapped IS NOT NULL") == [(1,)]
    assert expire(made) == 1
    assert rows(made, "SELECT count(*) FROM audit_sealed") == [(0,)]
    assert rows(made, "SELECT count(*) FROM subject_keys WHERE wrapped IS NOT NULL") == [(0,)]
    assert expire(made) == 0


def test_a_restart_knows_what_expires(tmp_path):
    with office(tmp_path, sealed_days=KEEP_DAYS) as made:
        Office(made).note()
    with office(tmp_path, sealed_days=KEEP_DAYS) as made:
        assert expire(made) == 0
        made.clock.advance((KEEP_DAYS + 1) * DAY_SECONDS)
        assert expire(made) == 1


@pytest.mark.parametrize("scope", ["tenant", "subject", "actor", "matter", "log"])
def test_a_hold_keeps_what_it_covers_beyond_its_time(made, desk, scope):
    index = desk.note(subject="svc:held")
    target = {"actor": "user:local|adam", "matter": "subjects/svc:held"}.get(scope)
    given = {"target": target} if target else {"subject": "svc:held"} if scope == "subject" else {}
    holders = Office(made, PLATFORM) if scope == "log" else desk
    hold = holders.hold(scope, **given)
    made.clock.advance((KEEP_DAYS + 1) * DAY_SECONDS)
    assert expire(made) == 1
    assert desk.reveal(index) == {"note": REASON}
    assert expire(made) == 0, "values that are kept are looked at again in an hour, not at each beat"
    holders.release(hold.id)
    made.clock.advance(2 * 3600)
    assert expire(made) == 1
    assert code(desk.call, "officer", "records.reveal", index=index) == "GRD-AUDIT-021"


@pytest.mark.parametrize("scope", ["tenant", "subject", "actor", "matter"])
def test_a_hold_on_something_else_keeps_nothing(made, desk, scope):
    index = desk.note(subject="svc:free")
    given = {"subject": {"subject": "svc:other"}, "tenant": {}}.get(scope, {"target": "somebody-else"})
    (Office(made, "globex") if scope == "tenant" else desk).hold(scope, **given)
    made.clock.advance((KEEP_DAYS + 1) * DAY_SECONDS)
    expire(made)
    assert code(desk.call, "officer", "records.reveal", index=index) == "GRD-AUDIT-021"


def test_the_time_of_a_value_is_that_of_its_record(made, desk):
    index = desk.note()
    ((expires_us,),) = rows(made, "SELECT expires_us FROM audit_sealed")
    ((time_us,),) = rows(made, f"SELECT time_us FROM audit_index WHERE idx = {index}")
    assert expires_us - time_us == KEEP_DAYS * DAY_US
