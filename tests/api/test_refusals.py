"""Over every routed operation: who has no token gets 401 before a byte of the body counts; who has no role is refused."""

import pytest

from guard.access import tokens
from guard.catalogue import collect
from guard.rooms import ROOMS

ROUTED = {name: item for name, item in collect(ROOMS).items() if item.path}
PARTS = {
    "decision": "dec_0198",
    "evidence": "evd_0198",
    "export": "exp_0198",
    "erasure": "ers_0198",
    "grant": "grt_0198",
    "hold": "hld_0198",
    "honey": "hny_0198",
    "handle": "0123456789AB",
    "incident": "inc_0198",
    "index": "0",
    "job": "job_0198",
    "slot": "passphrase-0a1b2c",
    "field": "customers.email",
    "key": "customers.email",
    "lease": "lse_019a0000-0000-7000-8000-000000000000",
    "level": "0",
    "log": "main",
    "n": "0",
    "name": "customers.email.exact",
    "matter": "case-17",
    "plan": "region-outage",
    "request": "rvl_0198",
    "run": "run_0198",
    "source": "customers",
    "stream": "shop",
    "tile": "000",
    "version": "1",
}
QUERIES = {"checkpoints.prove": "?first=0&second=1"}
NO_BEARER = "Expected 'Authorization: Bearer grd_...', got none that is valid; get a token."
WRONG_TOKENS = {
    "none": None,
    "not a token": "Bearer hello",
    "another scheme": "Basic YTpi",
    "empty": "",
    "of the right form": "Bearer grd_svc_0123456789AB0123456789ABCDEFGHIJKLMNOPQRST000000",
    "twice the word": "Bearer Bearer x",
    "not ASCII": "Bearer gr\xe4",
    "a thousand words": "Bearer " + "a " * 1000,
}


def address(name: str) -> str:
    """The path of an operation with made-up parameters, and the query that it needs."""
    return ROUTED[name].path.format_map(PARTS) + QUERIES.get(name, "")


def refusals(api, name: str, **wanted: object):
    return api.world.records("system", action=name, **wanted)


@pytest.mark.parametrize("name", sorted(ROUTED))
def test_no_token_is_401_even_where_the_body_is_malformed(api, name):
    item = ROUTED[name]
    answer = api(item.method, address(name), b'{"broken', token=None, kind="text/plain")
    assert (answer.status, answer.code) == (401, "GRD-AUTHN-001")
    assert answer.headers["www-authenticate"] == "Bearer"
    newest = refusals(api, name)[0]
    assert (newest.actor, newest.status, newest.code) == ("nobody", "refused", "GRD-AUTHN-001")


@pytest.mark.parametrize("name", sorted(ROUTED))
def test_no_role_is_403_or_404_and_on_record(api, name):
    item = ROUTED[name]
    answer = api(item.method, address(name), dict(item.example) if item.method != "GET" else b"", token=api.nobody)
    assert (answer.status, answer.code) == ((404, "GRD-STORE-404") if item.hides else (403, "GRD-AUTHZ-001"))
    if not item.hides:
        assert answer.json["missing_permission"] == item.permission
    records = api.world.records("acme", action=name, actor="user:local|noor")
    assert (records[0].status, records[0].code, records[0].allowed) == ("refused", answer.code, False)


@pytest.mark.parametrize("name", sorted(ROUTED))
def test_without_a_token_not_a_byte_of_the_body_is_asked_for(api, name):
    item = ROUTED[name]
    refused = api(item.method, address(name), parts=[b"x" * 1000] * 3, token=None)
    assert (refused.status, refused.received) == (401, 0)
    assert api(item.method, address(name), parts=[b"{}", b""], token=api.full).received > 0


@pytest.mark.parametrize("credential", WRONG_TOKENS.values(), ids=WRONG_TOKENS.keys())
def test_every_wrong_token_gets_one_and_the_same_text(api, credential):
    headers = [] if credential is None else [("authorization", credential.encode().decode("latin-1"))]
    answer = api("GET", "/api/v1/whoami", token=None, headers=headers)
    assert answer.status == 401
    expected = tokens.REFUSED if (credential or "").startswith("Bearer") else NO_BEARER
    assert answer.json["detail"] == expected


def test_revoked_and_expired_tokens_are_refused_from_the_next_request_on(api):
    root = api.world.gate.identify(f"Bearer {api.full}", "test")
    minted = api.world.call("tokens.create", root, subject="svc:billing", expires_in_seconds=60)
    assert api("GET", "/api/v1/whoami", token=minted.token).status == 403  # known, and without a role
    api.world.call("tokens.revoke", root, handle=minted.handle)
    assert api("GET", "/api/v1/whoami", token=minted.token).status == 401
    brief = api.world.call("tokens.create", root, subject="svc:billing", expires_in_seconds=60).token
    api.world.clock.advance(61)
    assert api("GET", "/api/v1/whoami", token=brief).status == 401


def test_a_one_time_token_can_do_nothing_but_be_exchanged_and_that_once(api):
    root = api.world.gate.identify(f"Bearer {api.full}", "test")
    once = api.world.call("tokens.create", root, subject="user:local|ana", kind="one").token
    assert api("GET", "/api/v1/keys", token=once).status == 403
    personal = api("POST", "/api/v1/tokens/exchange", {}, token=once)
    assert personal.status == 200
    assert api("GET", "/api/v1/keys", token=personal.json["token"]).status == 200
    assert api("POST", "/api/v1/tokens/exchange", {}, token=once).status == 401


def test_what_lies_in_another_tenant_looks_the_same_as_what_does_not_exist(api):
    stranger = api.world.token("globex", "user:local|gil", "role:everything")
    opened = api("POST", "/api/v1/incidents", {"title": "Down"}).json["id"]
    there = api("GET", f"/api/v1/incidents/{opened}", token=stranger)
    nowhere = api("GET", "/api/v1/incidents/inc_0198", token=stranger)
    assert there.status == nowhere.status == 404
    assert there.json["detail"].replace(opened, "X") == nowhere.json["detail"].replace("inc_0198", "X")
    named = api("GET", "/api/v1/tokens?tenant=acme", token=stranger)
    unknown = api("GET", "/api/v1/tokens?tenant=nowhere", token=stranger)
    assert (named.status, named.json["detail"]) == (unknown.status, unknown.json["detail"])
    assert named.status == 404
