"""Tokens and bait over HTTP from a hostile side: names that are values, wrong doors, other tenants, half-made bodies."""

import json

import pytest

FIELD, DOMAIN = "customers.email", "delivery"
CANARY = "canary-88@example.org"
ITEM = {"field": FIELD, "domain": DOMAIN, "subject": "h-1", "value": CANARY}
ISSUE, REVEAL, REVOKE = (f"/api/v1/tokens/{verb}" for verb in ("issue", "reveal", "revoke"))
APPROVE = "/api/v1/tokens/requests/{}/approve"
BAIT_TOKEN, BAIT_ROW, BAIT = "/api/v1/honey/tokens", "/api/v1/honey/rows", "/api/v1/honey"
NUMBER, CHECK = "customers.identity_number", "identity_check"


@pytest.fixture(scope="module")
def officers(api):
    return [api.world.token("acme", f"user:local|off{n}", "role:identity-officer") for n in (1, 2)]


@pytest.fixture(scope="module")
def clerk(api):
    return api.world.token("acme", "user:local|clerk", "role:identity-clerk")


@pytest.fixture
def number(api):
    item = {"field": NUMBER, "domain": CHECK, "subject": "h-2", "value": "1234567890"}
    return api("POST", ISSUE, {"items": [item]}).json["results"][0]["token"]


def ask(api, token, who, field=NUMBER, purpose=CHECK):
    return api("POST", REVEAL, {"purpose": purpose, "items": [{"field": field, "token": token}]}, token=who)


# bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"items": null}',
        b'{"items": {}}',
        b'{"items": [null]}',
        b'{"items": ["canary-88"]}',
        b'{"items": [{"canary-88": 1}], "canary-88": 2}',
        b'{"items": [{"value": "canary-88"}]}\x00',
        b'\xff{"items": "canary-88"}',
        b'{"items": "' + b"canary-88" * 5000 + b'"}',
        b"[" * 20_000,
    ],
    ids=range(13),
)
@pytest.mark.parametrize("path", [ISSUE, REVEAL, REVOKE, BAIT_TOKEN, BAIT_ROW])
def test_a_body_of_another_form_is_refused_with_a_sentence_and_no_value(api, path, body):
    answer = api("POST", path, body)
    assert answer.status in {400, 413, 422}
    assert answer.json["detail"].rstrip().endswith(".")
    assert answer.json["code"].startswith("GRD-")
    assert b"canary-88canary-88" not in answer.all_bytes


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [ISSUE, REVEAL, REVOKE, BAIT_TOKEN, BAIT_ROW])
def test_by_another_method_nothing_is_done(api, method, path):
    answer = api(method, path, {"items": [ITEM]} if method != "GET" else b"")
    assert answer.status in {404, 405}
    assert CANARY.encode() not in answer.all_bytes


@pytest.mark.parametrize("path", [ISSUE, REVEAL, REVOKE, BAIT_TOKEN, BAIT_ROW, BAIT, APPROVE.format("rvl_0198")])
@pytest.mark.parametrize("token", ["", "grd_canary88", "tok_" + "a" * 26])
def test_without_a_credential_nothing_is_read(api, path, token):
    answer = api("POST" if path != BAIT else "GET", path, {"items": [ITEM]} if path != BAIT else b"", token=token)
    assert answer.status == 401
    assert b"canary" not in answer.all_bytes


@pytest.mark.parametrize("path", [ISSUE, REVEAL, REVOKE, BAIT_TOKEN, BAIT_ROW])
def test_who_holds_no_role_may_do_nothing_and_learns_nothing(api, path):
    bodies = {
        ISSUE: {"items": [ITEM]},
        REVEAL: {"purpose": DOMAIN, "items": [{"field": FIELD, "token": "tok_canary88"}]},
        REVOKE: {"items": [{"field": FIELD, "token": "tok_canary88"}]},
        BAIT_TOKEN: ITEM,
        BAIT_ROW: {"field": FIELD, "context": {"row": "canary88"}},
    }
    answer = api("POST", path, bodies[path], token=api.nobody)
    assert (answer.status, answer.code) == (403, "GRD-AUTHZ-001")
    assert b"canary" not in answer.all_bytes


def test_of_a_name_that_stands_twice_in_an_item_one_answer_comes_and_it_is_whole(api):
    """Both readers of the body must see the same item: a role is judged by the field that is revealed."""
    body = json.dumps({"items": [ITEM]}).replace('"domain"', '"field": "customers.identity_number", "domain"')
    answer = api("POST", ISSUE, body.encode())
    results = answer.json.get("results")
    assert answer.status in {400, 422} or results[0]["problem"]["code"] == "GRD-VAL-001"


@pytest.mark.parametrize("purpose", ["", "Support", "support ", "*", "**", "../support", "all", "tokens", "s" * 300, 7])
def test_a_purpose_that_is_none_reveals_nothing(api, purpose):
    token = api("POST", ISSUE, {"items": [ITEM]}).json["results"][0]["token"]
    support = api.world.token("acme", "user:local|sue", "role:support")
    answer = ask(api, token, support, FIELD, purpose)
    assert answer.status in {403, 422}
    assert CANARY.encode() not in answer.all_bytes
    assert token.encode() not in answer.all_bytes


# the second person


def test_from_asking_to_seeing_over_http(api, officers, number):
    first, second = officers
    asked = ask(api, number, first).json["results"][0]
    request = asked["request"]
    body = {"field": NUMBER, "purpose": CHECK}
    alone = api("POST", APPROVE.format(request), body, token=first)
    assert (alone.status, alone.json["detail"]) == (
        403,
        "You asked for this reveal; approving it takes a second person.",
    )
    assert api("POST", APPROVE.format(request), body, token=second).json["approved_by"] == "user:local|off2"
    assert api("POST", APPROVE.format(request), body, token=second).status == 409
    assert ask(api, number, second).json["results"][0]["problem"]["code"] == "GRD-TOKEN-002"
    assert ask(api, number, first).json["results"] == [{"value": "1234567890", "mask": "full"}]
    assert ask(api, number, first).json["results"][0]["problem"]["code"] == "GRD-TOKEN-002"
    assert api("POST", APPROVE.format(request), body, token=second).status == 404


def test_the_lesser_role_sees_less_and_needs_nobody(api, clerk, number):
    [answer] = ask(api, number, clerk).json["results"]
    assert answer == {"value": "****7890", "mask": "last4"}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"purpose": "delivery"}, 403),
        ({"field": FIELD}, 404),
        ({"field": "no.field"}, 404),
        ({"purpose": ""}, 422),
        ({"mask": "full"}, 422),
        ({"approved_by": "user:local|off1"}, 422),
        ({"request": "rvl_0198"}, 422),
    ],
    ids=str,
)
def test_an_approval_of_something_else_is_refused_and_approves_nothing(api, officers, number, change, status):
    first, second = officers
    request = ask(api, number, first).json["results"][0]["request"]
    answer = api("POST", APPROVE.format(request), {"field": NUMBER, "purpose": CHECK} | change, token=second)
    assert answer.status == status
    assert ask(api, number, first).json["results"][0]["request"] == request


@pytest.mark.parametrize("request_id", ["rvl_0198", "x", "tok_" + "a" * 26, "..%2F..%2Fx", "%00", "a" * 300])
def test_an_approval_of_no_request_is_refused(api, officers, request_id):
    answer = api("POST", APPROVE.format(request_id), {"field": NUMBER, "purpose": CHECK}, token=officers[1])
    assert answer.status in {400, 404, 422}
    assert b"Traceback" not in answer.all_bytes


# bait


def test_bait_of_one_tenant_is_nothing_in_another(api):
    planted = api("POST", BAIT_TOKEN, ITEM | {"subject": "nobody-h"}).json
    foreign = api.world.token("globex", "user:local|gus", "role:analyst")
    assert planted["id"] not in [one["id"] for one in api("GET", BAIT, token=foreign).json["data"]]
    assert api("POST", f"{BAIT}/{planted['id']}/remove", {}, token=foreign).status == 404
    billing = api.world.token("globex", "svc:del", "role:delivery-service")
    [answer] = ask(api, planted["token"], billing, FIELD, DOMAIN).json["results"]
    assert answer["problem"]["code"] == "GRD-STORE-404"
    found = api("GET", "/api/v1/incidents").json["data"]
    assert not any(planted["id"] in one["title"] for one in found)


@pytest.mark.parametrize("query", ["?limit=0", "?limit=-1", "?limit=x", "?limit=100000", "?field=a"])
def test_a_list_of_bait_that_is_asked_for_wrongly_is_422(api, query):
    assert api("GET", BAIT + query).status == 422


@pytest.mark.parametrize("query", ["?limit=0", "?limit=x", "?field=canary", "?field=a.b.c", "?token=canary"])
def test_a_list_of_tokens_that_is_asked_for_wrongly_is_422_and_repeats_nothing(api, query):
    answer = api("GET", f"/api/v1/tokens/issued{query}")
    assert answer.status == 422
    assert b'"canary"' not in answer.body
