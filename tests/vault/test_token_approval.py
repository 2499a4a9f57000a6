"""The second person: what somebody may not reveal alone, another approves, once, for exactly what was asked."""

import itertools

import pytest

from guard.errors import Conflict, Denied, NotFound
from tests.vault.tokenising import CARD, PHONE, till

VALUE = "4111111111111111"
NEEDED = "GRD-TOKEN-002"
persons = map("a-{}".format, itertools.count(1000))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with till(tmp_path_factory.mktemp("approval") / "home") as made:
        yield made


@pytest.fixture
def token(shop):
    return shop.token(VALUE, next(persons))


def asked(shop, *tokens, who="officer"):
    items = [{"field": CARD, "token": token} for token in tokens]
    return shop.call(who, "tokens.reveal", purpose="identity_check", items=items)["results"]


def test_who_asks_is_told_what_a_colleague_is_to_type(shop, token):
    [answer] = asked(shop, token)
    assert answer["problem"]["code"] == NEEDED
    request = answer["request"]
    typed = f"guard tokens approve {request} --field {CARD} --purpose identity_check"
    assert typed in answer["problem"]["detail"]
    assert token not in str(answer)
    [waiting] = [one for one in shop.call("colleague", "tokens.list_requests").data if one.id == request]
    assert (waiting.asked_by, waiting.tokens, waiting.field) == ("user:local|officer", 1, CARD)


def test_an_approved_reveal_shows_the_value_once(shop, token):
    request = asked(shop, token)[0]["request"]
    approved = shop.approve(request)
    assert approved.approved_by == "user:local|colleague"
    assert asked(shop, token) == [{"value": VALUE, "mask": "full"}]
    again = asked(shop, token)[0]
    assert again["problem"]["code"] == NEEDED
    assert again["request"] != request


def test_asking_again_while_it_waits_makes_no_second_request(shop, token):
    assert len({asked(shop, token)[0]["request"] for _ in range(3)}) == 1


def test_nobody_approves_what_he_asked_for(shop, token):
    request = asked(shop, token)[0]["request"]
    with pytest.raises(Denied, match="takes a second person"):
        shop.approve(request, "officer")
    assert asked(shop, token)[0]["problem"]["code"] == NEEDED


@pytest.mark.parametrize("who", ["clerk", "support", "billing", "storing", "privacy"])
def test_only_a_role_that_may_approves(shop, token, who):
    request = asked(shop, token)[0]["request"]
    with pytest.raises(Denied):
        shop.approve(request, who)


def test_an_approval_is_for_whoever_asked(shop, token):
    shop.approve(asked(shop, token)[0]["request"])
    assert asked(shop, token, who="colleague")[0]["problem"]["code"] == NEEDED
    assert asked(shop, token)[0]["value"] == VALUE


def test_an_approval_is_for_exactly_the_tokens_that_were_asked_for(shop, token):
    other = shop.token("5555555555554444", next(persons))
    shop.approve(asked(shop, token)[0]["request"])
    both = asked(shop, token, other)
    assert [one["problem"]["code"] for one in both] == [NEEDED, NEEDED]
    assert both[0]["request"] == both[1]["request"]
    shop.approve(both[0]["request"])
    assert [one["value"] for one in asked(shop, other, token)] == ["5555555555554444", VALUE]
    assert asked(shop, token)[0]["value"] == VALUE  # the first approval was not used up by the second


def test_an_approval_is_over_after_an_hour_and_a_request_after_a_day(shop, token):
    shop.approve(asked(shop, token)[0]["request"])
    shop.world.clock.advance(3601)
    request = asked(shop, token)[0]["request"]
    shop.world.clock.advance(24 * 3600 + 1)
    with pytest.raises(NotFound):
        shop.approve(request)
    assert request not in [one.id for one in shop.call("colleague", "tokens.list_requests").data]


def test_an_approval_is_given_once(shop, token):
    request = asked(shop, token)[0]["request"]
    shop.approve(request)
    with pytest.raises(Conflict):
        shop.approve(request)


@pytest.mark.parametrize(("field", "purpose"), [(PHONE, "identity_check"), (CARD, "identity_check")])
def test_field_and_purpose_are_those_of_the_request(shop, token, field, purpose):
    request = asked(shop, token)[0]["request"] if field == PHONE else "rvl_0198"
    with pytest.raises(NotFound):
        shop.approve(request, field=field, purpose=purpose)


def test_a_token_that_is_over_needs_no_approval_to_be_refused(shop, token):
    request = asked(shop, token)[0]["request"]
    shop.approve(request)
    shop.revoke(token)
    assert asked(shop, token)[0]["problem"]["code"] == "GRD-TOKEN-001"


def test_another_tenant_sees_and_approves_no_request(shop, token):
    request = asked(shop, token)[0]["request"]
    foreign = shop.world.hire("globex", "user:local|fay", "role:identity-officer")
    with pytest.raises(NotFound):
        shop.approve(request, foreign)
    assert shop.call(foreign, "tokens.list_requests").data == []


def test_the_records_say_who_asked_who_approved_and_what_was_shown(shop, token):
    row = shop.listed()[0].id
    request = asked(shop, token)[0]["request"]
    shop.approve(request)
    asked(shop, token)
    first, last = shop.records("tokens.reveal")[-2:]
    assert first["data"] == {"items": 1, "failed": {"grd_token_002": 1}, "purpose": "identity_check"}
    assert (last["data"]["approvals"], last["data"]["tokens"], last["data"]["shown"]) == (request, row, {"full": 1})
    approval = shop.records("tokens.approve")[-1]
    assert approval["actor"]["id"] == "user:local|colleague"
    assert approval["data"] == {
        "request": request,
        "purpose": "identity_check",
        "asked_by": "user:local|officer",
        "tokens": 1,
    }
