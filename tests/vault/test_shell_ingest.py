"""Write-only ingestion through the gate: a public key is published, sealed values come in, sealed ones go out."""

import json

import pytest

from guard.client.sealing import FieldSealer
from guard.errors import Denied, InvalidRequest
from guard.vault.envelope import SuiteId, header_of
from tests.vault.shop import EMAIL, PHONE, Shop, item, policies_with, world

FORMS = """
version: 1
table: forms
rows: 1000000
columns:
  answer: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [billing], ingest: x25519, pad: 16}
  person: {class: contact, suite: xaes, bind: [subject], mask: none, purposes: [billing], ingest: mlkem768_x25519}
  code: {class: contact, suite: siv, deterministic: true, entropy: 40, bind: [], mask: none, purposes: [billing],
         ingest: x25519}
"""
DOES_NOT_OPEN, NOT_SEALED, WRONG_CONTEXT = "GRD-CRYPT-001", "GRD-CRYPT-002", "GRD-CRYPT-003"
ANSWER = "forms.answer"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingest")
    with world(folder / "home", policies=policies_with(folder, "forms.yaml", FORMS)) as made:
        yield with_form(Shop(made))


def with_form(shop):
    shop.people["form"] = shop.world.hire(shop.tenant, "svc:form", "role:writing-service")
    return shop


def published(shop, field=ANSWER, who="form"):
    return shop.call(who, "fields.read_ingest_key", field=field).model_dump()


def taken_in(shop, ciphertext, context, field=ANSWER, who="form"):
    items = [{"field": field, "context": context, "ciphertext": ciphertext}]
    [result] = shop.call(who, "fields.ingest", items=items).model_dump(exclude_none=True)["results"]
    return result


def code_in(result):
    return result["problem"]["code"]


def test_a_value_comes_in_and_is_sealed_under_the_fields_own_key(shop):
    sealed = FieldSealer(published(shop)).seal("forty-two", row="7")
    assert header_of(sealed).suite is SuiteId.SEAL
    result = taken_in(shop, sealed, {"row": "7"})
    assert header_of(result["ciphertext"]).suite is SuiteId.CBL256
    assert result["key_version"] == 1
    assert shop.open(result["ciphertext"], "7", ANSWER) == "forty-two"
    assert shop.open(result["ciphertext"], "8", ANSWER) == DOES_NOT_OPEN


@pytest.mark.parametrize(
    ("field", "context", "suite"),
    [("forms.person", {"subject": "u-1"}, SuiteId.XAES), ("forms.code", {}, SuiteId.SIV)],
)
def test_each_kind_of_field_takes_values_in(shop, field, context, suite):
    key = published(shop, field)
    result = taken_in(shop, FieldSealer(key).seal("x1", **context), context, field)
    assert header_of(result["ciphertext"]).suite is suite
    items = [{"field": field, "context": context, "ciphertext": result["ciphertext"]}]
    [shown] = shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
    assert shown == {"plaintext": "eDE="}


@pytest.mark.parametrize("operation", ["fields.encrypt", "fields.decrypt", "fields.mask"])
def test_who_seals_has_no_right_to_read_nor_to_encrypt(shop, operation):
    part = {"plaintext": "eA=="} if operation == "fields.encrypt" else {"ciphertext": "gd1.AAAA"}
    rest = {} if operation == "fields.encrypt" else {"purpose": "billing"}
    with pytest.raises(Denied):
        shop.call("form", operation, items=[item(ANSWER, "1", **part)], **rest)


def test_what_is_on_its_way_in_is_read_by_nobody(shop):
    """Not even by the reader of the field: only ingestion opens it, and that gives it back sealed."""
    sealed = FieldSealer(published(shop)).seal("forty-two", row="1")
    assert shop.open(sealed, "1", ANSWER) == DOES_NOT_OPEN
    assert "forty-two" not in json.dumps(taken_in(shop, sealed, {"row": "1"}))


def test_a_value_of_another_cell_field_or_tenant_is_not_taken_in(shop):
    other = with_form(Shop(shop.world, "globex"))
    sealed = FieldSealer(published(shop)).seal("x", row="1")
    assert code_in(taken_in(shop, sealed, {"row": "2"})) == DOES_NOT_OPEN
    assert code_in(taken_in(shop, sealed, {"subject": "1"}, "forms.person")) == DOES_NOT_OPEN
    assert code_in(taken_in(other, sealed, {"row": "1"})) == DOES_NOT_OPEN
    assert code_in(taken_in(shop, sealed, {})) == WRONG_CONTEXT
    assert code_in(taken_in(shop, "plain", {"row": "1"})) == NOT_SEALED


def test_a_stored_value_is_not_taken_in_again(shop):
    stored = taken_in(shop, FieldSealer(published(shop)).seal("x", row="1"), {"row": "1"})["ciphertext"]
    assert code_in(taken_in(shop, stored, {"row": "1"})) == DOES_NOT_OPEN


def test_fields_without_ingestion_publish_nothing_and_take_nothing(shop):
    with pytest.raises(InvalidRequest, match="declare `ingest`"):
        published(shop, EMAIL)
    sealed = FieldSealer(published(shop)).seal("x", row="1")
    assert code_in(taken_in(shop, sealed, {"row": "1"}, PHONE)) == DOES_NOT_OPEN


def test_one_bad_value_spoils_no_other(shop):
    sealer = FieldSealer(published(shop))
    texts = [sealer.seal(f"v{row}", row=str(row)) for row in range(5)]
    texts[2] = texts[2][:-1] + ("A" if texts[2][-1] != "A" else "Q")
    items = [item(ANSWER, str(row), ciphertext=text) for row, text in enumerate(texts)]
    results = shop.call("storing", "fields.ingest", items=items).model_dump(exclude_none=True)["results"]
    assert [("problem" in one) for one in results] == [False, False, True, False, False]


def test_keys_rotate_and_what_was_sealed_before_still_comes_in(shop):
    old = published(shop)
    before = FieldSealer(old).seal("before", row="1")
    shop.rotate("forms.answer.ingest")
    new = published(shop)
    assert new["key_version"] == old["key_version"] + 1
    assert new["public_key"] != old["public_key"]
    for sealed in (before, FieldSealer(new).seal("after", row="1")):
        assert "ciphertext" in taken_in(shop, sealed, {"row": "1"})


def test_keys_survive_a_restart(tmp_path):
    policies = policies_with(tmp_path, "forms.yaml", FORMS)
    with world(tmp_path / "home", policies=policies) as made:
        shop = with_form(Shop(made))
        keys = {field: published(shop, field) for field in (ANSWER, "forms.person")}
        sealed = FieldSealer(keys["forms.person"]).seal("x", subject="u-1")
    with world(tmp_path / "home", policies=policies) as made:
        shop = with_form(Shop(made))
        assert {field: published(shop, field) for field in keys} == keys
        assert "ciphertext" in taken_in(shop, sealed, {"subject": "u-1"}, "forms.person")


def test_the_record_names_fields_counts_and_no_value(shop):
    taken_in(shop, FieldSealer(published(shop)).seal("forty-two", row="secret-row"), {"row": "secret-row"})
    with shop.world.guard.store.read() as tx:
        entries = list(tx.exec_driver_sql("SELECT entry FROM audit_entries").scalars())
    record = [one for one in map(json.loads, entries) if one["b"]["action"] == "fields.ingest"][-1]["b"]
    assert record["data"]["items"] == 1
    assert "forty-two" not in json.dumps(record)
    assert "secret-row" not in json.dumps(record)
