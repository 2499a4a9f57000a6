"""Tokens over HTTP: statuses, what is refused and how, and that nothing submitted comes back where it is not shown."""

import json
import threading

import pytest

FIELD, DOMAIN = "customers.email", "delivery"
VALUE = "canary@example.org"
ITEM = {"field": FIELD, "domain": DOMAIN, "subject": "u-1", "value": VALUE}
ISSUE, REVEAL, REVOKE = (f"/api/v1/tokens/{verb}" for verb in ("issue", "reveal", "revoke"))


@pytest.fixture(scope="module")
def delivery(api):
    return api.world.token("acme", "svc:delivery", "role:delivery-service")


@pytest.fixture(scope="module")
def support(api):
    return api.world.token("acme", "user:local|sue", "role:support")


@pytest.fixture
def token(api):
    return api("POST", ISSUE, {"items": [ITEM]}).json["results"][0]["token"]


def reveal(api, token, who, purpose="delivery"):
    return api("POST", REVEAL, {"purpose": purpose, "items": [{"field": FIELD, "token": token}]}, token=who)


def test_a_token_is_issued_revealed_by_role_and_revoked(api, token, delivery, support):
    assert reveal(api, token, delivery).json == {"results": [{"value": VALUE, "mask": "full"}]}
    assert reveal(api, token, support, "support").json == {"results": [{"value": "c****@e******.org", "mask": "email"}]}
    gone = api("POST", REVOKE, {"items": [{"field": FIELD, "token": token}]})
    assert (gone.status, gone.json) == (200, {"results": [{"state": "revoked"}]})
    answer = reveal(api, token, delivery)
    assert answer.status == 200  # the batch was answered; its item has a problem
    assert answer.json["results"][0]["problem"]["code"] == "GRD-TOKEN-001"


@pytest.mark.parametrize(
    ("purpose", "status"),
    [("delivery", 403), ("billing", 403), ("identity_check", 403), ("canary", 403), ("support", 200)],
)
def test_a_purpose_that_is_not_the_roles_is_403(api, token, support, purpose, status):
    answer = reveal(api, token, support, purpose)
    assert answer.status == status
    assert VALUE.encode() not in answer.all_bytes
    assert token.encode() not in answer.all_bytes


BAD_ITEMS = {
    "no object": "x",
    "no field": {name: value for name, value in ITEM.items() if name != "field"},
    "no subject": {name: value for name, value in ITEM.items() if name != "subject"},
    "a field of another form": ITEM | {"field": "Customers"},
    "a path as the field": ITEM | {"field": "../../x"},
    "a domain of another form": ITEM | {"domain": "Delivery now"},
    "no value": ITEM | {"value": ""},
    "a number as the value": ITEM | {"value": 7},
    "too long a value": ITEM | {"value": VALUE * 300},
    "too long a person": ITEM | {"subject": VALUE * 20},
    "a time to live of nothing": ITEM | {"ttl_seconds": 0},
    "a time to live of text": ITEM | {"ttl_seconds": "9"},
    "a fraction of a second": ITEM | {"ttl_seconds": 1.5},
    "once as a number": ITEM | {"single_use": 1},
    "a mask": ITEM | {"mask": "full"},
    "a token of his own": ITEM | {"token": "tok_" + "a" * 26},
}


@pytest.mark.parametrize("bad", BAD_ITEMS)
def test_an_item_of_another_form_is_422_and_not_repeated(api, bad):
    answer = api("POST", ISSUE, {"items": [ITEM, BAD_ITEMS[bad]]})
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")
    assert all(one["pointer"].startswith("/items/1") for one in answer.json["errors"])
    assert VALUE.encode() not in answer.all_bytes
    assert b"u-1" not in answer.all_bytes


@pytest.mark.parametrize("path", [ISSUE, REVEAL, REVOKE])
@pytest.mark.parametrize("count", [0, 201])
def test_a_batch_has_1_to_200_items(api, path, count):
    item = ITEM if path == ISSUE else {"field": FIELD, "token": "tok_canary"}
    body = {"items": [item] * count} | ({"purpose": "delivery"} if path == REVEAL else {})
    answer = api("POST", path, body)
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")
    assert b"canary" not in answer.all_bytes


@pytest.mark.parametrize("given", ["", "x", "t" * 257, 7, None, ["tok_a"], {"b64": "dG9r"}])
def test_a_token_of_another_form_is_422_and_not_repeated(api, given):
    answer = api("POST", REVEAL, {"purpose": "delivery", "items": [{"field": FIELD, "token": given}]})
    assert (answer.status, answer.code) == (422, "GRD-VAL-001")
    assert b"ttt" not in answer.all_bytes


@pytest.mark.parametrize(
    "text", ["tok_canary", "canary' OR 1=1 --", "canary\x00", "canary\u202e", "ｔｏｋ_canary", "canary\n"]
)
def test_a_text_that_is_no_token_is_a_problem_and_not_repeated(api, delivery, text):
    answer = reveal(api, text, delivery)
    assert answer.json["results"][0]["problem"]["code"] == "GRD-STORE-404"
    assert b"canary" not in answer.all_bytes


def test_values_of_every_script_and_length_come_back_as_they_went_in(api, delivery):
    values = [
        "x",
        " ",
        "漢字かな",
        "e\u0301",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",
        "a\x00b",
        "\r\n",
        "x" * 4096,
    ]
    items = [ITEM | {"value": value, "subject": f"s-{number}"} for number, value in enumerate(values)]
    issued = api("POST", ISSUE, {"items": items}).json["results"]
    asked = [{"field": FIELD, "token": one["token"]} for one in issued]
    shown = api("POST", REVEAL, {"purpose": "delivery", "items": asked}, token=delivery).json["results"]
    assert [one["value"] for one in shown] == values


def test_a_lone_surrogate_is_refused(api):
    answer = api("POST", ISSUE, json.dumps({"items": [ITEM]}).replace(VALUE, "\\ud800").encode())
    assert answer.status in {400, 422}


def test_two_forms_of_a_character_are_two_values(api):
    items = [ITEM | {"value": value, "subject": "forms"} for value in ("\u00e9", "e\u0301", " \u00e9")]
    issued = [one["token"] for one in api("POST", ISSUE, {"items": items}).json["results"]]
    assert len(set(issued)) == 3


def test_of_many_requests_for_one_use_one_wins(api, delivery):
    for number in range(5):
        item = ITEM | {"single_use": True, "subject": f"once-{number}"}
        token = api("POST", ISSUE, {"items": [item]}).json["results"][0]["token"]
        answers, gate = [], threading.Barrier(6)

        def ask(token=token, answers=answers, gate=gate):
            gate.wait()
            answers.append(reveal(api, token, delivery).json["results"][0])

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert [one["value"] for one in answers if "value" in one] == [VALUE]
        assert [one["problem"]["code"] for one in answers if "problem" in one] == ["GRD-TOKEN-001"] * 5


def test_a_planted_token_s_answer_is_like_any_other_in_every_byte_but_the_ids(api, delivery):
    planted = api("POST", "/api/v1/honey/tokens", ITEM | {"subject": "nobody"}).json["token"]
    real = api("POST", ISSUE, {"items": [ITEM | {"subject": "somebody"}]}).json["results"][0]["token"]
    answers = [reveal(api, token, delivery) for token in (planted, real)]
    assert answers[0].body == answers[1].body
    assert answers[0].headers.keys() == answers[1].headers.keys()
    found = api("GET", "/api/v1/incidents").json["data"]
    assert [one["title"].count("svc:delivery") for one in found if "planted token" in one["title"]] == [1]


def test_api_tokens_stay_what_they_were(api):
    made = api("POST", "/api/v1/tokens", {"subject": "svc:x"}).json
    assert made["token"].startswith("grd_")
    assert made["handle"] in [one["handle"] for one in api("GET", "/api/v1/tokens?limit=500").json["data"]]
    assert api("POST", f"/api/v1/tokens/{made['handle']}/revoke", {}).status == 200
