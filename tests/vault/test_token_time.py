"""Time and tokens: ends to the microsecond, clocks that are set back, policies and grants that end in between."""

import pytest

from guard.errors import Denied, NotFound
from guard.vault.token_policy import Domain
from guard.vault.token_vault import _end, _later
from tests.vault.shop import policies_with
from tests.vault.tokenising import CARD, POLICY, Till, till
from tests.world import world

VALUE = "4111111111111111"
GONE, NEEDED, REFUSED = "GRD-TOKEN-001", "GRD-TOKEN-002", "GRD-AUTHZ-001"
HOUR = 3600
UNITS = 1_000_000


@pytest.fixture
def shop(tmp_path):
    with till(tmp_path / "home") as made:
        yield made


def held(shop):
    """How many rows still hold a value, and how many an index."""
    with shop.world.guard.store.read() as tx:
        return tuple(tx.exec_driver_sql("SELECT count(sealed), count(value_index) FROM vault_tokens").one())


# ends


@pytest.mark.parametrize(
    ("held_us", "wanted_us", "longest_us", "end_us"),
    [
        (None, None, None, None),
        (None, 5, None, None),  # who asks for less later shortens nobody's token
        (5, None, None, None),
        (5, 9, None, 9),
        (9, 5, None, 9),
        (None, None, 7, 7),  # made before the domain declared an end
        (None, 5, 7, 7),
        (5, 7, 7, 7),
        (5, 6, 7, 6),
        (20, 7, 7, 7),  # made while the domain allowed more
        (20, 5, 7, 7),
        (7, 7, 7, 7),
    ],
)
def test_the_end_of_a_token_that_is_asked_for_again(held_us, wanted_us, longest_us, end_us):
    assert _later(held_us, wanted_us, longest_us) == end_us


@pytest.mark.parametrize(
    ("declared", "asked", "end_us"),
    [(None, None, None), (None, 3, 13), (5, None, 15), (5, 3, 13), (5, 8, 15), (5, 5, 15)],
)
def test_the_end_of_a_new_token_is_the_sooner_of_the_two(declared, asked, end_us):
    assert _end(10 * UNITS, Domain("d", ttl_seconds=declared), asked) == (end_us and end_us * UNITS)


@pytest.mark.parametrize("seconds", [1, 59, HOUR, 2 * HOUR])
@pytest.mark.parametrize("early_us", [20, 1, 0, -1])
def test_every_length_of_life_ends_at_its_microsecond(shop, seconds, early_us):
    issued = shop.issue(VALUE, "ana", "refunds", ttl_seconds=seconds)
    shop.world.clock.now_us = issued["expires_us"] - early_us
    shown = shop.shown(issued["token"])
    # The gate reads the clock more than once, a microsecond each: within the last ones either answer is right.
    assert shown == (VALUE if early_us == 20 else GONE) or early_us == 1


def test_a_domain_that_declares_an_end_later_ends_the_tokens_that_are_asked_for_again(tmp_path):
    with till(tmp_path / "home") as shop:
        token = shop.token(VALUE, "ana")
        assert shop.issue(VALUE, "ana")["expires_us"] is None
    shorter = POLICY.replace("checkout: {form: random}\n", "checkout: {form: random, ttl_hours: 1}\n")
    assert shorter != POLICY
    policies = policies_with(tmp_path, "payments.yaml", shorter)
    with world(tmp_path / "home", policies=policies, runbooks=tmp_path / "runbooks") as made:
        shop = Till(made)
        again = shop.issue(VALUE, "ana")
        assert again["token"] == token
        assert 0 < again["expires_us"] - made.clock.now_us <= HOUR * UNITS
        made.clock.advance(HOUR + 1)
        assert shop.shown(token) == GONE
        assert shop.token(VALUE, "ana") != token


@pytest.mark.parametrize(("before", "after"), [(48, 1), (1, 48)])
def test_a_domain_whose_end_changes_gives_what_it_declares_today(tmp_path, before, after):
    def declared(hours):
        return POLICY.replace("ttl_hours: 2", f"ttl_hours: {hours}")

    with till(tmp_path / "home"):
        ends = []
    for hours in (before, after):
        policies = policies_with(tmp_path, "payments.yaml", declared(hours))
        with world(tmp_path / "home", policies=policies, runbooks=tmp_path / "runbooks") as made:
            answer = Till(made).issue(VALUE, "ana", "refunds")
            ends.append((answer["token"], round((answer["expires_us"] - made.clock.now_us) / UNITS / HOUR)))
    assert [end for _, end in ends] == [before, after]
    assert ends[0][0] == ends[1][0]


# clocks that are set back


@pytest.mark.parametrize("back", [1, HOUR, 30 * 24 * HOUR])
def test_a_token_that_was_refused_as_over_does_not_come_back_with_the_clock(shop, back):
    token = shop.token(VALUE, "ana", "refunds")
    shop.world.clock.advance(2 * HOUR + 1)
    assert shop.shown(token) == GONE
    assert held(shop) == (0, 0)
    shop.world.clock.advance(-back)
    assert shop.shown(token) == GONE
    assert shop.token(VALUE, "ana", "refunds") != token


def test_a_token_that_was_swept_does_not_come_back_with_the_clock(shop):
    token, kept = shop.token(VALUE, "ana", "refunds"), shop.token(VALUE, "ana")
    shop.world.clock.advance(2 * HOUR + 1)
    shop.world.call("tokens.sweep")
    shop.world.clock.advance(-3 * HOUR)
    assert (shop.shown(token), shop.shown(kept)) == (GONE, VALUE)


def test_in_a_batch_what_is_over_is_emptied_and_its_neighbours_are_not(shop):
    tokens = [shop.token(VALUE, f"u-{number}", ("checkout", "refunds")[number % 2]) for number in range(6)]
    shop.world.clock.advance(2 * HOUR + 1)
    items = [{"field": CARD, "token": token} for token in tokens]
    results = shop.call("billing", "tokens.reveal", purpose="billing", items=items)["results"]
    assert [one.get("value", "") for one in results] == [VALUE, ""] * 3
    assert held(shop) == (3, 3)


def test_whom_the_policy_shows_nothing_empties_nothing(shop):
    """The answer to a role that no rule names says nothing of the token, and does nothing to it."""
    token = shop.token(VALUE, "ana", "refunds")
    shop.world.clock.advance(2 * HOUR + 1)
    assert shop.shown(token, "stranger") == REFUSED
    assert held(shop) == (1, 1)


def test_a_clock_that_is_set_back_lets_a_live_token_live(shop):
    token = shop.token(VALUE, "ana", "refunds")
    shop.world.clock.advance(-365 * 24 * HOUR)
    assert shop.shown(token) == VALUE
    assert shop.token(VALUE, "ana", "refunds") == token


def test_a_token_for_one_use_and_a_revoked_one_stay_over_at_any_time(shop):
    once, revoked = shop.token(VALUE, "ana", "receipts"), shop.token(VALUE, "ana")
    assert shop.shown(once) == VALUE
    shop.revoke(revoked)
    for seconds in (-(10**6), 10**7, -(10**7)):
        shop.world.clock.advance(seconds)
        assert (shop.shown(once), shop.shown(revoked)) == (GONE, GONE)


def test_an_approval_that_was_used_is_not_good_again_when_the_clock_is_set_back(shop):
    token = shop.token(VALUE, "ana")
    shop.approve(shop.reveal(token, "officer")["request"])
    assert shop.shown(token, "officer") == VALUE
    shop.world.clock.advance(-7200)
    assert shop.shown(token, "officer") == NEEDED


# ends of requests and approvals


@pytest.mark.parametrize(("seconds", "shown"), [(0, VALUE), (HOUR - 1, VALUE), (HOUR, NEEDED), (2 * HOUR, NEEDED)])
def test_an_approval_is_good_for_an_hour_from_when_it_was_given(shop, seconds, shown):
    token = shop.token(VALUE, "ana")
    request = shop.reveal(token, "officer")["request"]
    shop.world.clock.advance(23 * HOUR)  # late, and the hour is a whole one still
    shop.approve(request)
    shop.world.clock.advance(seconds)
    assert shop.shown(token, "officer") == shown


@pytest.mark.parametrize(("seconds", "waits"), [(0, True), (24 * HOUR - 1, True), (24 * HOUR, False)])
def test_a_request_waits_for_a_day(shop, seconds, waits):
    request = shop.reveal(shop.token(VALUE, "ana"), "officer")["request"]
    shop.world.clock.advance(seconds)
    assert [one.id for one in shop.call("colleague", "tokens.list_requests").data] == ([request] if waits else [])
    if waits:
        assert shop.approve(request).id == request
    else:
        with pytest.raises(NotFound, match="see guard tokens requests"):
            shop.approve(request)


def test_a_token_that_ends_between_asking_and_approval_is_shown_to_nobody(shop):
    token = shop.token(VALUE, "ana", "refunds")
    request = shop.reveal(token, "officer")["request"]
    shop.world.clock.advance(2 * HOUR + 1)
    shop.approve(request)
    assert shop.shown(token, "officer") == GONE


def test_a_person_who_is_forgotten_between_asking_and_approval_stays_forgotten(shop):
    token = shop.token(VALUE, "ana")
    request = shop.reveal(token, "officer")["request"]
    shop.forget("ana")
    shop.approve(request)
    assert shop.shown(token, "officer") == GONE


# grants that end


def lent(shop, subject, role, seconds):
    admin = shop.world.hire("acme", "user:local|adm", "role:tenant-admin")
    actor = shop.world.hire("acme", subject, "role:member")
    shop.call(admin, "grants.add", member=subject, role=role, expires_in_seconds=seconds)
    return actor


def test_a_role_that_was_lent_reveals_until_its_end(shop):
    token, temp = shop.token(VALUE, "ana"), lent(shop, "user:local|temp", "role:support", HOUR)
    assert shop.shown(token, temp, "support") == "****1111"
    shop.world.clock.advance(HOUR + 1)
    with pytest.raises(Denied):
        shop.shown(token, temp, "support")


def test_an_approval_serves_nobody_whose_role_has_ended(shop):
    token, temp = shop.token(VALUE, "ana"), lent(shop, "user:local|temp", "role:identity-officer", HOUR)
    request = shop.reveal(token, temp, "identity_check")["request"]
    shop.world.clock.advance(HOUR - 60)
    shop.approve(request)
    shop.world.clock.advance(61)
    with pytest.raises(Denied):
        shop.shown(token, temp, "identity_check")


def test_who_keeps_a_lesser_role_sees_by_that_one_once_the_greater_has_ended(shop):
    token, temp = shop.token(VALUE, "ana"), lent(shop, "user:local|temp", "role:identity-officer", HOUR)
    temp = shop.world.hire("acme", "user:local|temp", "role:identity-clerk")
    request = shop.reveal(token, temp, "identity_check")["request"]
    shop.approve(request)
    shop.world.clock.advance(HOUR + 1)
    assert shop.reveal(token, temp, "identity_check") == {"value": "4****1", "mask": "partial"}


def test_whose_role_has_ended_approves_nothing(shop):
    temp = lent(shop, "user:local|temp", "role:identity-officer", HOUR)
    request = shop.reveal(shop.token(VALUE, "ana"), "officer")["request"]
    shop.world.clock.advance(HOUR + 1)
    with pytest.raises(Denied):
        shop.approve(request, temp)
