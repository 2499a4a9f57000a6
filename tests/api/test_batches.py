"""Batches: every item answered in its place; a bad one costs its neighbours nothing; one record for all of them."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.audit import store

MANY = 1000


def plaintext(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def sealable(row: str, text: str = "ana@example.org", **other):
    return {"field": "customers.email", "context": {"row": row}, "plaintext": plaintext(text)} | other


def openable(row: str, ciphertext: str, **other):
    return {"field": "customers.email", "context": {"row": row}, "ciphertext": ciphertext} | other


BAD_ITEMS = {
    "no base64": (sealable("1", plaintext="%%%"), "GRD-VAL-001"),
    "base64 without padding": (sealable("1", plaintext="YQ"), "GRD-VAL-001"),
    "base64url": (sealable("1", plaintext="_-8="), "GRD-VAL-001"),
    "another context": (sealable("1", context={"subject": "u-1"}), "GRD-CRYPT-003"),
    "no context": (sealable("1", context={}), "GRD-CRYPT-003"),
    "one context too many": (sealable("1", context={"row": "1", "subject": "u-1"}), "GRD-CRYPT-003"),
}


@pytest.mark.parametrize(("bad", "code"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_bad_item_is_a_problem_in_its_place(api, bad, code, place):
    items = [sealable(str(row), f"p{row}@example.org") for row in range(5)]
    items[place] = bad
    answer = api("POST", "/api/v1/fields/encrypt", {"items": items})
    assert answer.status == 200
    results = answer.json["results"]
    assert [list(result) == ["problem"] for result in results] == [row == place for row in range(5)]
    assert results[place]["problem"]["code"] == code
    opened = api(
        "POST",
        "/api/v1/fields/decrypt",
        {
            "purpose": "billing",
            "items": [openable(str(row), results[row]["ciphertext"]) for row in range(5) if row != place],
        },
    )
    texts = [base64.b64decode(result["plaintext"]).decode() for result in opened.json["results"]]
    assert texts == [f"p{row}@example.org" for row in range(5) if row != place]


def test_each_way_of_failing_to_open_is_told_in_its_place(api):
    good = api.encrypt("ana@example.org", "bo@example.org")
    flipped = good[1][:-1] + ("A" if good[1][-1] != "A" else "B")
    items = [
        openable("0", good[0]),
        openable("1", good[0]),  # moved to another row
        openable("1", flipped),
        openable("1", "gd1."),
        openable("1", "wanda.canary@example.org"),
        openable("1", good[1], context={"row": 1}),  # a number is another row than the text
        openable("1", good[1]),
    ]
    results = api("POST", "/api/v1/fields/decrypt", {"purpose": "billing", "items": items}).json["results"]
    codes = [result.get("problem", {}).get("code") for result in results]
    assert codes[0] is codes[-1] is None
    assert codes[1] == codes[2] == codes[5] == "GRD-CRYPT-001"
    assert codes[3] == codes[4] == "GRD-CRYPT-002"
    assert "canary" not in json.dumps(results)
    texts = {result["problem"]["detail"] for result in results if result.get("problem", {}).get("code") == codes[1]}
    assert len(texts) == 1, "one text for every cause"


def test_fields_may_be_mixed_and_the_order_stays(api):
    fields = ["customers.email", "customers.phone", "customers.identity_number", "customers.email"]
    items = [sealable(str(row), f"value-{row}", field=field) for row, field in enumerate(fields)]
    results = api("POST", "/api/v1/fields/encrypt", {"items": items}).json["results"]
    opened = [
        api(
            "POST",
            "/api/v1/fields/decrypt",
            {"purpose": purpose, "items": [openable(str(row), results[row]["ciphertext"], field=fields[row])]},
        ).json["results"][0]
        for row, purpose in enumerate(["billing", "support", "identity_check", "billing"])
    ]
    assert [base64.b64decode(one["plaintext"]).decode() for one in opened] == [f"value-{row}" for row in range(4)]


def test_one_item_that_may_not_be_read_refuses_the_whole_batch(api):
    token = api.world.token("acme", "svc:billing", "role:billing-service")
    sealed = api.encrypt("ana@example.org")[0]
    items = [openable("0", sealed), openable("0", sealed, field="customers.identity_number")]
    answer = api("POST", "/api/v1/fields/decrypt", {"purpose": "billing", "items": items}, token=token)
    assert answer.status == 403
    assert "results" not in answer.json
    allowed = api("POST", "/api/v1/fields/decrypt", {"purpose": "billing", "items": items[:1]}, token=token)
    assert allowed.status == 200


def test_a_batch_is_one_record_with_its_counts(api):
    log, before = api.world.guard.log, api.world.guard.log.size
    items = [sealable(str(row)) for row in range(7)] + [sealable("7", plaintext="?"), sealable("8", context={})]
    api("POST", "/api/v1/fields/encrypt", {"items": items})
    with api.world.guard.store.read() as tx:
        records = [json.loads(entry)["b"] for entry in store.entries(tx, before, log.size)]
    assert [record["action"] for record in records] == ["fields.encrypt"]
    assert records[0]["data"]["items"] == 9
    assert records[0]["data"]["failed"] == {"grd_val_001": 1, "grd_crypt_003": 1}


@pytest.mark.parametrize("count", [1, MANY])
def test_a_batch_of_one_and_of_a_thousand_works(api, count):
    answer = api("POST", "/api/v1/fields/encrypt", {"items": [sealable(str(row)) for row in range(count)]})
    assert len({result["ciphertext"] for result in answer.json["results"]}) == count


@pytest.mark.parametrize("count", [0, MANY + 1])
def test_a_batch_of_none_or_of_more_is_refused(api, count):
    answer = api("POST", "/api/v1/fields/encrypt", {"items": [sealable(str(row)) for row in range(count)]})
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")


def test_index_tokens_come_in_order_and_are_equal_for_what_counts_as_equal(api):
    values = ["Ana@Example.org", " ana@example.org ", "bo@example.org"]
    items = [{"field": "customers.email", "index": "exact", "value": value} for value in values]
    items.insert(2, {"field": "customers.email", "index": "nope", "value": "wanda.canary"})
    answer = api("POST", "/api/v1/indexes/compute", {"purpose": "support", "items": items})
    results = answer.json["results"]
    assert results[0] == results[1] != results[3]
    assert list(results[2]) == ["problem"]
    assert b"canary" not in answer.body


@given(
    texts=st.lists(st.text(max_size=40).filter(lambda text: text.isprintable() or not text), min_size=1, max_size=6),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sealed_opens_again_in_any_order(api, texts, seed):
    sealed = list(enumerate(api.encrypt(*texts)))
    seed.shuffle(sealed)
    items = [openable(str(row), ciphertext) for row, ciphertext in sealed]
    results = api("POST", "/api/v1/fields/decrypt", {"purpose": "billing", "items": items}).json["results"]
    assert [base64.b64decode(result["plaintext"]).decode() for result in results] == [texts[row] for row, _ in sealed]
