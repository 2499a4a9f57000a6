"""Every recorded answer names its record and carries a promise that anybody can hold against the log."""

import base64
import json

import pytest

from guard.audit import proof, receipt, store
from guard.audit.entry import split
from guard.audit.tree import leaf_hash
from guard.catalogue import PLATFORM
from guard.client.discovery import Address
from guard.client.session import Client
from guard.errors import Denied, InvalidInput, NotFound, VerificationFailed


@pytest.fixture
def kept():
    return []


@pytest.fixture
def client(api, hot, kept):
    with Client(Address(f"http://127.0.0.1:{hot.port}", api.full), on_receipt=lambda *one: kept.append(one)) as made:
        yield made


def entry_of(api, record_id):
    with api.world.guard.store.read() as tx:
        found = store.find_by_id(tx, record_id)
        return found, next(iter(api.world.guard.log.reader(tx).entries(found.index, found.index + 1)))


def test_reads_writes_and_hot_answers_have_receipts(api, client, kept):
    client.call("actors.whoami")
    client.call("keys.rotate", key="customers.email")
    client.encrypt("customers.email", "ana@example.org", row="1")
    assert len({record for record, _ in kept}) == 3
    log = api.world.guard.log
    for (record_id, text), action in zip(kept, ("actors.whoami", "keys.rotate", "fields.encrypt"), strict=True):
        given = receipt.parse(text)
        assert given.id == record_id
        body, _ = split(entry_of(api, record_id)[1])
        assert json.loads(body)["action"] == action
        receipt.verify(given, log.origin, [log.receipts.verifier], body)


def test_a_refusal_has_one_too(api, hot, kept):
    address = Address(f"http://127.0.0.1:{hot.port}", api.nobody)
    with Client(address, on_receipt=lambda *one: kept.append(one)) as made, pytest.raises(Denied):
        made.call("keys.rotate", key="customers.email")
    ((record_id, _),) = kept
    assert json.loads(entry_of(api, record_id)[1])["b"]["result"] == {"code": "GRD-AUTHZ-001", "status": "refused"}


def test_health_has_none(api):
    assert "guard-audit-id" not in api("GET", "/livez").headers


def test_the_receipt_is_verified_by_the_service_and_its_proof_by_anybody(api, client, kept):
    client.call("actors.whoami")
    text = kept[0][1]
    api.world.call("checkpoints.publish")
    told = client.call("receipts.verify", receipt=text)
    found, entry = entry_of(api, kept[0][0])
    assert (told["id"], told["index"]) == (kept[0][0], found.index)
    assert base64.b64decode(told["leaf"]) == leaf_hash(entry)
    log = api.world.guard.log
    proof.verify(proof.parse(told["proof"].encode()), leaf_hash(entry), log.origin, [log.verifier])


def test_without_a_checkpoint_there_is_no_proof_yet(api, client, kept):
    client.call("actors.whoami")
    assert client.call("receipts.verify", receipt=kept[0][1])["proof"] is None


def test_a_changed_receipt_fails_and_another_text_is_none(client, kept):
    client.call("actors.whoami")
    text = kept[0][1]
    with pytest.raises(VerificationFailed):
        client.call("receipts.verify", receipt=text[:30] + ("A" if text[30] != "A" else "B") + text[31:])
    with pytest.raises(InvalidInput):
        client.call("receipts.verify", receipt="nonsense")


def test_another_tenant_is_told_of_no_such_record(api, hot, client, kept):
    client.call("actors.whoami")
    elsewhere = api.world.token("globex", "svc:other", "role:member")
    with Client(Address(f"http://127.0.0.1:{hot.port}", elsewhere)) as made, pytest.raises(NotFound):
        made.call("receipts.verify", receipt=kept[0][1])


def test_a_record_that_was_taken_out_convicts_the_log(api, client, kept):
    client.call("actors.whoami")
    engine, hidden = api.world.guard.store.writer_engine, "UPDATE audit_index SET id = ? WHERE id = ?"
    with engine.begin() as tx:
        tx.exec_driver_sql(hidden, ("elsewhere", kept[0][0]))
    try:
        with pytest.raises(VerificationFailed, match="not in the log"):
            client.call("receipts.verify", receipt=kept[0][1])
    finally:
        with engine.begin() as tx:
            tx.exec_driver_sql(hidden, (kept[0][0], "elsewhere"))


def test_the_key_of_receipts_is_in_the_log_and_is_not_the_log_key(api):
    log = api.world.guard.log
    start = next(one for one in api.world.records(PLATFORM, action="services.start"))
    _, entry = entry_of(api, start.id)
    assert json.loads(entry)["b"]["data"]["receipts"] == log.receipts.verifier.encode()
    assert log.receipts.verifier.public != log.verifier.public
