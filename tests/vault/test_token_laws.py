"""Laws of tokens as properties: who sees what by brute force, hashes that never collide, texts that say nothing."""

import os
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidRequest
from guard.vault.formats import Format
from guard.vault.honey import Honey, mark, row_parts
from guard.vault.keys import Secret
from guard.vault.mask import MASKS, characters
from guard.vault.mask import mask as masked
from guard.vault.token_policy import ORDER, Domain, Need, Rule, TokenPolicy
from guard.vault.tokens import Life, Standing, draw, luhn, parted, payload, reference, value_index

KEY = bytes(range(32))
ROLES, PURPOSES = ("support", "clerk", "officer"), ("care", "audit")
DIGITS = string.digits
rules = st.builds(
    Rule,
    st.sampled_from(ROLES),
    st.sampled_from(PURPOSES),
    st.sampled_from(ORDER),
    st.frozensets(st.sampled_from(list(Need))),
)
times = st.none() | st.integers(0, 6)


def never(_token):
    return False


# who sees what


@given(st.lists(rules, max_size=8), st.sets(st.sampled_from(ROLES)), st.sampled_from(PURPOSES))
@settings(max_examples=300)
def test_no_rule_that_holds_shows_more_than_the_chosen_one(given_rules, roles, purpose):
    chosen = TokenPolicy({}, tuple(given_rules)).choose([f"role:{role}" for role in roles], purpose)
    holding = [rule for rule in given_rules if rule.purpose == purpose and rule.role in roles]
    if not holding:
        assert chosen is None
        return
    assert chosen in holding
    assert not [rule for rule in holding if ORDER.index(rule.mask) > ORDER.index(chosen.mask)]
    alike = [rule for rule in holding if rule.mask == chosen.mask]
    assert len(chosen.needs) == min(len(rule.needs) for rule in alike)


@given(st.lists(rules, max_size=6), st.sets(st.sampled_from(ROLES)), st.randoms(use_true_random=False))
def test_the_order_in_which_rules_stand_changes_no_mask(given_rules, roles, shuffle):
    held = [f"role:{role}" for role in roles]
    before = TokenPolicy({}, tuple(given_rules)).choose(held, "care")
    shuffle.shuffle(given_rules)
    after = TokenPolicy({}, tuple(given_rules)).choose(held, "care")
    assert (before and (before.mask, len(before.needs))) == (after and (after.mask, len(after.needs)))


@given(st.text(max_size=40), st.sampled_from(sorted(set(MASKS) - {"full", "email"})))
@settings(max_examples=400)
def test_of_any_text_at_most_half_the_characters_are_shown(text, name):
    seen, whole = masked(name, text), characters(text.strip())
    left = list(whole)
    shown = 0
    for one in characters(seen):
        if one != "*" and one in left:
            left.remove(one)
            shown += 1
    assert shown * 2 <= len(whole)


@given(st.text(string.ascii_letters + DIGITS, max_size=3), st.sampled_from(sorted(set(MASKS) - {"full"})))
def test_of_a_value_under_four_characters_nothing_is_shown(text, name):
    assert set(masked(name, text)) == {"*"}


@given(st.text(DIGITS, min_size=8, max_size=60), st.sampled_from(["last4", "partial", "none"]))
def test_a_masked_value_does_not_tell_its_length(text, name):
    assert len(masked(name, text)) == len(masked(name, text + "0"))


# how tokens stand


@given(st.booleans(), st.booleans(), times, times, times, st.integers(0, 6))
@settings(max_examples=400)
def test_a_token_is_live_only_where_nothing_ended_it(held, single_use, expires_us, revoked_us, used_us, now_us):
    life = Life(held, single_use, expires_us, revoked_us, used_us)
    over = expires_us is not None and expires_us <= now_us
    spent = single_use and used_us is not None
    live = held and revoked_us is None and not over and not spent
    assert (life.standing(now_us) is Standing.LIVE) is live


@given(st.booleans(), st.booleans(), times, times, times, st.integers(0, 5))
def test_time_alone_ends_a_token_and_never_begins_one(held, single_use, expires_us, revoked_us, used_us, now_us):
    life = Life(held, single_use, expires_us, revoked_us, used_us)
    if life.standing(now_us) is not Standing.LIVE:
        assert life.standing(now_us + 1) is not Standing.LIVE


# texts that say nothing


def check_digit(digits):
    """Luhn's, from the other end and by a table."""
    doubled = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    total = 0
    for place, digit in enumerate(digits[::-1]):
        total += doubled[int(digit)] if place % 2 == 0 else int(digit)
    return str(-total % 10)


@given(st.text(DIGITS, min_size=1, max_size=40))
def test_luhns_check_agrees_with_another_way_to_compute_it(digits):
    assert luhn(digits + check_digit(digits))
    assert not luhn(digits + str((int(check_digit(digits)) + 1) % 10))


def test_tokens_of_a_value_in_two_domains_agree_in_as_many_places_as_chance_has_it():
    form = Format(DIGITS, 10)
    seeded = random.Random(7)
    equal = 0
    for _ in range(2000):
        first, second = (draw(Domain(name, form), "1234567890", seeded.randbytes, never) for name in ("a", "b"))
        equal += sum(one == other for one, other in zip(first, second, strict=True))
    assert 1800 < equal < 2200  # 2000 of 20,000; five deviations are 212


def test_a_hidden_place_agrees_with_its_value_as_often_as_chance_has_it():
    form = Format(DIGITS, 12, 2, 2)
    seeded = random.Random(11)
    counts = [0] * 12
    for _ in range(3000):
        for place, (one, other) in enumerate(
            zip("123456789012", draw(Domain("a", form), "123456789012", seeded.randbytes, never), strict=True)
        ):
            counts[place] += one == other
    assert counts[:2] + counts[-2:] == [3000] * 4
    assert all(215 < count < 385 for count in counts[2:-2]), counts  # 300; five deviations are 82


@given(st.lists(st.text(DIGITS, min_size=10, max_size=16), max_size=20))
def test_drawn_tokens_never_meet_and_never_are_their_value(values):
    taken, domain = set(), Domain("a", Format(DIGITS, 10))
    for value in values:
        token = draw(domain, value, os.urandom, taken.__contains__)
        assert token not in taken
        assert token != value
        taken.add(token)


@given(st.text(min_size=1, max_size=60).filter(lambda text: not set(text) <= set(DIGITS)))
def test_whatever_is_no_text_of_the_alphabet_is_refused_and_not_repeated(value):
    with pytest.raises(InvalidRequest) as caught:
        draw(Domain("a", Format(DIGITS, 10)), value, os.urandom, never)
    assert len(value) < 4 or value not in caught.value.detail


# hashes


short = st.text(max_size=4)
indexed = st.tuples(st.integers(1, 3), short, short, st.binary(max_size=3), short)


@given(indexed, indexed)
@settings(max_examples=300)
def test_two_values_share_an_index_only_if_everything_is_equal(first, second):
    assert (value_index(KEY, *first) == value_index(KEY, *second)) is (first == second)


@given(st.tuples(st.integers(1, 3), short, short), st.tuples(st.integers(1, 3), short, short))
def test_two_tokens_share_a_reference_only_if_everything_is_equal(first, second):
    assert (reference(KEY, *first) == reference(KEY, *second)) is (first == second)


bound = st.lists(st.tuples(st.sampled_from(["row", "subject"]), short | st.binary(max_size=3)), max_size=2)


@given(short, bound, short, bound)
@settings(max_examples=300)
def test_two_rows_share_a_mark_only_if_they_are_one(table, first, other, second):
    marks = [mark(KEY, "acme", "row", *row_parts(name, parts)) for name, parts in ((table, first), (other, second))]
    assert (marks[0] == marks[1]) is ((table, first) == (other, second))


@given(st.sets(st.text("ab", min_size=1, max_size=3), max_size=5), st.sets(st.text("ab", min_size=1, max_size=3)))
def test_exactly_what_is_planted_is_found_in_its_tenant_only(planted, asked):
    honey = Honey(Secret(KEY, "k"), [("acme", mark(KEY, "acme", "token", row)) for row in planted])
    assert {row for row in asked if honey.planted_token("acme", row)} == planted & asked
    assert not any(honey.planted_token("globex", row) for row in asked)
    assert not any(honey.planted_row("acme", row, []) for row in asked)


@given(st.text(), st.text())
def test_a_payload_cannot_be_cut_elsewhere(token, value):
    raw = payload(token, value)
    assert parted(raw) == (token, value)
    assert len(raw) == 4 + len(token.encode()) + len(value.encode())
