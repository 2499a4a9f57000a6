"""Fields through the gate: binding, purposes, batches, masks, blind indexes, and what the record says of them."""

import base64
import json
import re

import pytest

from guard.errors import Denied, InvalidRequest, NotFound, PurposeRefused
from tests.vault.shop import EMAIL, ORDERS, PHONE, Shop, b64, item, policies_with, shown, world

DOES_NOT_OPEN, NOT_SEALED, WRONG_CONTEXT = "GRD-CRYPT-001", "GRD-CRYPT-002", "GRD-CRYPT-003"
NOT_FOUND, INVALID = "GRD-STORE-404", "GRD-VAL-001"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A tenant with the shipped fields and with fields of every other kind."""
    folder = tmp_path_factory.mktemp("fields")
    with world(folder / "home", policies=policies_with(folder, "orders.yaml", ORDERS)) as made:
        yield Shop(made)


@pytest.fixture(scope="module")
def other(shop):
    return Shop(shop.world, "globex")


def last_record(shop, action):
    """The newest record of an action as its JSON body."""
    entry = next(one for one in entries(shop) if one["action"] == action)
    return entry["data"]


def entries(shop):
    """Bodies of every record, newest first."""
    with shop.world.guard.store.read() as tx:
        rows = tx.exec_driver_sql("SELECT entry FROM audit_entries ORDER BY idx DESC").scalars()
        return [json.loads(row)["b"] for row in rows]


def orders(shop, name, context, **rest):
    return {"field": f"orders.{name}", "context": context, **rest}


# binding


def test_a_value_opens_in_its_own_place_only(shop, other):
    sealed = shop.seal("ana@example.org", rows=["7"])[0]
    assert shop.open(sealed, "7") == "ana@example.org"
    assert shop.open(sealed, "8") == DOES_NOT_OPEN
    assert other.open(sealed, "7") in {DOES_NOT_OPEN, NOT_FOUND}
    assert shop.open(sealed, "7", PHONE, "delivery") == DOES_NOT_OPEN


@pytest.mark.parametrize("place", range(4, 60, 7))
def test_a_changed_character_does_not_open(shop, place):
    sealed = shop.seal("ana@example.org")[0]
    changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
    assert shop.open(changed) in {DOES_NOT_OPEN, NOT_SEALED, NOT_FOUND}


def test_the_record_counts_what_did_not_open_by_code(shop, other):
    first, second = shop.seal("ana", "ben")
    foreign = other.seal("eve")[0]
    items = [
        item(EMAIL, "1", ciphertext=first),
        item(EMAIL, "2", ciphertext=first),  # a swapped row
        item(EMAIL, "1", ciphertext=second),  # and the other
        item(EMAIL, "1", ciphertext=foreign),
        item(EMAIL, "1", ciphertext="no sealed value"),
        {**item(EMAIL, "1", ciphertext=first), "context": {"subject": "1"}},
    ]
    results = shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
    codes = [shown(one) for one in results]
    assert codes[0] == "ana"
    assert codes[1:3] == [DOES_NOT_OPEN] * 2
    assert codes[4:] == [NOT_SEALED, WRONG_CONTEXT]
    data = last_record(shop, "fields.decrypt")
    counted = {code.lower().replace("-", "_"): codes.count(code) for code in codes[1:]}
    assert data["failed"] == counted
    assert data["items"] == 6
    assert data["purpose"] == "billing"


def test_a_value_of_another_tenant_looks_like_one_that_never_was(shop, other):
    sealed = other.seal("ana@example.org")[0]
    stranger = "gd1." + base64.urlsafe_b64encode(b"\x47\x01\x01\x00" + bytes(80)).decode().rstrip("=")
    items = [item(EMAIL, "1", ciphertext=sealed), item(EMAIL, "1", ciphertext=stranger)]
    problems = [
        one["problem"] for one in shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
    ]
    assert problems[0]["code"] == problems[1]["code"]
    assert other.tenant not in json.dumps(problems)


CONTEXTS = {
    "note": ({"subject": "u-1"}, {"subject": "u-2"}),
    "both": ({"row": "1", "subject": "u-1"}, {"row": "1", "subject": "u-2"}),
    "code": ({}, None),
    "city": ({}, None),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_each_way_of_binding_opens_with_its_own_context(shop, name):
    own, foreign = CONTEXTS[name]
    made = shop.call("storing", "fields.encrypt", items=[orders(shop, name, own, plaintext=b64("Zürich"))])
    sealed = made["results"][0]["ciphertext"]
    contexts = [own, *([foreign] if foreign else []), {"row": "1", "extra": "2"}]
    items = [orders(shop, name, context, ciphertext=sealed) for context in contexts]
    answers = shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
    expected = ["Zürich", *([DOES_NOT_OPEN] if foreign else []), WRONG_CONTEXT]
    assert [shown(one) for one in answers] == expected


def test_equal_values_look_different_unless_the_policy_says_deterministic(shop):
    for field, context in ((EMAIL, {"row": "1"}), ("orders.note", {"subject": "u"}), ("orders.code", {})):
        items = [{"field": field, "context": context, "plaintext": b64("same")}] * 50
        answers = shop.call("storing", "fields.encrypt", items=items)["results"]
        assert len({one["ciphertext"] for one in answers}) == 50
    items = [orders(shop, "city", {}, plaintext=b64("same"))] * 3
    answers = shop.call("storing", "fields.encrypt", items=items)["results"]
    assert len({one["ciphertext"] for one in answers}) == 1


def test_padding_hides_the_length_within_a_step(shop):
    lengths = {len(value) for value in shop.seal("1", "12345678901", field=PHONE)}
    assert len(lengths) == 1


# purposes


def test_the_role_decides_before_the_field_policy(shop):
    sealed = shop.seal("ana")[0]
    with pytest.raises(Denied) as raised:
        shop.open(sealed, who="billing", purpose="delivery")
    assert raised.value.extra["missing_permission"] == "fields.decrypt"
    assert raised.value.extra["resource"] == f"fields/{EMAIL}/delivery"


def test_a_purpose_that_the_field_does_not_name_is_refused_although_the_role_allows_it(shop):
    sealed = shop.seal("079", field=PHONE)[0]
    with pytest.raises(PurposeRefused) as raised:
        shop.open(sealed, field=PHONE, who="billing")
    assert "delivery, support" in raised.value.detail
    assert last_code(shop) == "GRD-CRYPT-004"


def last_code(shop):
    return entries(shop)[0]["result"].get("code")


def test_one_field_without_the_purpose_refuses_the_whole_batch(shop):
    mail, phone = shop.seal("ana")[0], shop.seal("079", field=PHONE)[0]
    items = [item(EMAIL, "1", ciphertext=mail), item(PHONE, "1", ciphertext=phone)]
    with pytest.raises(PurposeRefused):
        shop.call("billing", "fields.decrypt", purpose="billing", items=items)


@pytest.mark.parametrize(
    ("who", "name"),
    [("keys", "fields.decrypt"), ("support", "fields.decrypt"), ("storing", "fields.mask"), ("billing", "fields.mask")],
)
def test_who_has_no_such_role_opens_nothing(shop, who, name):
    sealed = shop.seal("ana")[0]
    with pytest.raises(Denied):
        shop.call(who, name, purpose="support", items=[item(EMAIL, "1", ciphertext=sealed)])


# batches


def test_a_mixed_batch_is_answered_in_order_and_one_bad_item_spoils_no_other(shop):
    items = [
        item(EMAIL, "1", plaintext=b64("ana")),
        item(PHONE, "1", plaintext=b64("079")),
        item(EMAIL, "2", plaintext="not base64"),
        item(EMAIL, "3", plaintext=b64("")),
        {**item(EMAIL, "4", plaintext=b64("ben")), "context": {}},
        item(EMAIL, "", plaintext=b64("eve")),
        item(PHONE, "5", plaintext=b64("078")),
        item(EMAIL, "6", plaintext="YQ==é"),
    ]
    answers = shop.call("storing", "fields.encrypt", items=items)["results"]
    codes = [one.get("problem", {}).get("code") for one in answers]
    assert codes == [None, None, INVALID, None, WRONG_CONTEXT, WRONG_CONTEXT, None, INVALID]
    good = [place for place, code in enumerate(codes) if code is None]
    back = [
        shop.open(answers[at]["ciphertext"], items[at]["context"]["row"], items[at]["field"], "delivery") for at in good
    ]
    assert back == ["ana", "079", "", "078"]
    assert last_record(shop, "fields.encrypt")["failed"] == {"grd_val_001": 2, "grd_crypt_003": 2}


def test_a_batch_of_a_thousand_keeps_its_order(shop):
    values = [f"person{number}@example.org" for number in range(1000)]
    sealed = shop.seal(*values)
    items = [item(EMAIL, str(number), ciphertext=one) for number, one in enumerate(sealed, 1)]
    answers = shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
    assert [shown(one) for one in answers] == values
    with pytest.raises(InvalidRequest):
        shop.seal(*values, "one more")


def test_an_empty_batch_and_an_unknown_field_are_refused(shop):
    with pytest.raises(InvalidRequest):
        shop.call("storing", "fields.encrypt", items=[])
    with pytest.raises(InvalidRequest) as raised:
        shop.call("storing", "fields.encrypt", items=[item("customers.shoe_size", "1", plaintext="YQ==")])
    assert "customers.shoe_size" in raised.value.detail


def test_a_value_of_a_megabyte_is_sealed_and_a_larger_one_is_not(shop):
    large = "x" * (1 << 20)
    sealed = shop.seal(large)[0]
    assert shop.open(sealed) == large
    answer = shop.call("storing", "fields.encrypt", items=[item(EMAIL, "1", plaintext=b64(large + "x"))])["results"][0]
    assert answer["problem"]["code"] == "GRD-HTTP-413"


# masks and indexes


@pytest.mark.parametrize(
    ("field", "value", "seen"),
    [
        (EMAIL, "ana.costa@example.org", "a****@e******.org"),
        (PHONE, "+41791234567", "****4567"),
        (EMAIL, "no address", "******"),
        (PHONE, "\x1b]0;x\x07 12345678", "****5678"),
    ],
)
def test_support_sees_the_mask_of_the_policy(shop, field, value, seen):
    sealed = shop.seal(value, field=field)[0]
    answer = shop.call("support", "fields.mask", purpose="support", items=[item(field, "1", ciphertext=sealed)])
    assert answer["results"] == [{"masked": seen}]


def test_bytes_that_are_no_text_have_no_mask(shop):
    raw = base64.b64encode(b"\xff\xfe\x00").decode()
    sealed = shop.call("storing", "fields.encrypt", items=[item(EMAIL, "1", plaintext=raw)])["results"][0]["ciphertext"]
    answer = shop.call("support", "fields.mask", purpose="support", items=[item(EMAIL, "1", ciphertext=sealed)])
    assert shown(answer["results"][0]) == DOES_NOT_OPEN


def test_a_field_that_support_may_not_see_is_refused_even_masked(shop):
    sealed = shop.seal("1", field="customers.identity_number")[0]
    with pytest.raises(PurposeRefused):
        shop.call(
            "support",
            "fields.mask",
            purpose="support",
            items=[item("customers.identity_number", "1", ciphertext=sealed)],
        )


def tokens(shop, value, purpose="support", who="support", field=EMAIL, index="exact"):
    asked = [{"field": field, "index": index, "value": value}]
    answer = shop.call(who, "indexes.compute", purpose=purpose, items=asked)["results"][0]
    return [one["token"] for one in answer["tokens"]] if "tokens" in answer else answer["problem"]["code"]


def test_a_blind_index_finds_any_spelling_and_survives_the_rotation_of_the_field_key(shop, other):
    stored = tokens(shop, "Ana@Example.org", "store", "storing")[0]
    shop.rotate()
    assert tokens(shop, "  ANA@example.ORG ") == [stored]
    assert tokens(shop, "ben@example.org") != [stored]
    assert tokens(other, "ana@example.org") != [stored]
    assert len(stored) == 6  # 18 bits in three bytes


@pytest.mark.parametrize(
    ("index", "value", "code"),
    [
        ("exact", "   ", INVALID),
        ("exact", "no address", INVALID),
        ("unknown", "ben@example.org", INVALID),
        ("exact", "ben@example.org", None),
    ],
)
def test_an_item_of_an_index_is_answered_in_its_place(shop, index, value, code):
    asked = [
        {"field": EMAIL, "index": "exact", "value": "ana@example.org"},
        {"field": EMAIL, "index": index, "value": value},
    ]
    answers = shop.call("support", "indexes.compute", purpose="support", items=asked)["results"]
    assert "tokens" in answers[0]
    assert answers[1].get("problem", {}).get("code") == code


def test_search_tokens_need_the_purpose_too(shop):
    with pytest.raises(Denied):
        tokens(shop, "ana", "billing", "billing")
    with pytest.raises(PurposeRefused):
        tokens(shop, "1", field="customers.identity_number", index="unique")
    assert len(tokens(shop, "1", "store", "storing", "customers.identity_number", "unique")[0]) == 32


def test_the_list_of_fields_says_how_each_is_handled(shop):
    listed = {one.name: one for one in shop.call("support", "fields.list").data}
    assert list(listed) == sorted(listed)
    mail, city, code = listed[EMAIL], listed["orders.city"], listed["orders.code"]
    assert (mail.suite, mail.bind, mail.mask, mail.indexes) == ("cbl256", ["row"], "email", ["exact"])
    assert (city.suite, city.bind) == ("siv", [])
    assert (code.key, code.purposes) == ("orders.shared", ["billing"])


def test_fields_that_share_a_key_are_still_apart(shop):
    made = shop.call("storing", "fields.encrypt", items=[orders(shop, "code", {}, plaintext=b64("4711"))])
    sealed = made["results"][0]["ciphertext"]
    moved = [orders(shop, "both", {"row": "1", "subject": "u"}, ciphertext=sealed)]
    answer = shop.call("billing", "fields.decrypt", purpose="billing", items=moved)["results"][0]
    assert shown(answer) == DOES_NOT_OPEN


def test_a_tenant_without_keys_seals_nothing(shop):
    nobody = shop.world.hire("system", "svc:shop", "role:storing-service")
    with pytest.raises(NotFound):
        shop.world.call("fields.encrypt", nobody, items=[item(EMAIL, "1", plaintext="YQ==")])


def test_no_answer_of_a_problem_repeats_what_was_sent(shop):
    secret = "canary-4711"
    items = [
        item(EMAIL, "1", ciphertext=secret),
        item(EMAIL, secret, ciphertext=shop.seal("ana")[0]),
        {**item(EMAIL, "1", ciphertext="gd1.x"), "context": {secret: "1"}},
    ]
    answers = shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
    assert all("problem" in one for one in answers)
    assert not re.search(secret, json.dumps(answers))
