"""The part of a field's policy that is about tokens: what is read, what is refused with its line, and who sees what."""

import itertools

import pytest

from guard.errors import InvalidPolicy
from guard.vault.mask import MASKS
from guard.vault.policy import parse
from guard.vault.token_policy import ORDER, Need, Rule, TokenPolicy

TABLE = """\
version: 1
table: payments
columns:
  card:
    class: payment
    suite: cbl256
    bind: [row]
    mask: last4
    purposes: [support, billing]
    tokens:
      domains: {DOMAINS}
      reveal: [{REVEAL}]
"""
RANDOM = "{checkout: {form: random}}"
SUPPORT = "{role: support, purpose: support, mask: last4}"


def read(domains=RANDOM, reveal=SUPPORT):
    [policy] = parse(TABLE.replace("{DOMAINS}", domains).replace("{REVEAL}", reveal), "payments.yaml")
    return policy


def test_what_is_declared_is_read():
    same = '{form: same, alphabet: "0123456789", min_length: 13, keep_first: 6, luhn: fails, ttl_hours: 2}'
    policy = read(f"{{a: {{form: random, single_use: true}}, b: {same}}}", SUPPORT.replace("}", ", needs: [step_up]}"))
    first, second = policy.tokens.domains["a"], policy.tokens.domains["b"]
    assert (first.format, first.single_use, first.ttl_seconds) == (None, True, None)
    assert (second.format.keep_first, second.luhn_fails, second.ttl_seconds, second.single_use) == (
        6,
        True,
        7200,
        False,
    )
    assert policy.tokens.rules == (Rule("support", "support", "last4", frozenset({Need.STEP_UP})),)
    assert policy.index_keys == {"payments.card#tokens"}


def test_a_field_without_tokens_needs_no_key_for_them():
    text = TABLE[: TABLE.index("    tokens:")]
    [policy] = parse(text, "payments.yaml")
    assert policy.tokens is None
    assert policy.index_keys == set()


@pytest.mark.parametrize(
    ("domains", "reveal", "expected"),
    [
        ("{}", SUPPORT, "1 to 32 domains"),
        ("[x]", SUPPORT, "a mapping of keys to values"),
        ("{Big: {form: random}}", SUPPORT, "the name of a domain in lower case"),
        ("{a: {}}", SUPPORT, "'form: random' or 'form: same'"),
        ("{a: {form: other}}", SUPPORT, "'form: random' or 'form: same'"),
        ("{a: {form: random, alphabet: abc}}", SUPPORT, "one of the keys form, single_use, ttl_hours"),
        ("{a: {form: same}}", SUPPORT, "the key 'alphabet' here"),
        ('{a: {form: same, alphabet: "01", min_length: 8}}', SUPPORT, "at least 1000000 values"),
        ('{a: {form: same, alphabet: "00123", min_length: 20}}', SUPPORT, "different characters"),
        ('{a: {form: same, alphabet: "abcdefghij", min_length: 9, luhn: fails}}', SUPPORT, "'luhn: fails' beside"),
        ('{a: {form: same, alphabet: "0123456789", min_length: 9, luhn: true}}', SUPPORT, "'luhn: fails' beside"),
        ("{a: {form: random, ttl_hours: 0}}", SUPPORT, "an integer from 1 to 87600"),
        ("{a: {form: random, single_use: 1}}", SUPPORT, "true or false"),
        (RANDOM, "{role: support, purpose: marketing, mask: last4}", "a purpose of the column (billing, support)"),
        (RANDOM, "{role: support, purpose: support, mask: half}", "a mask (email, full, last4, none, partial)"),
        (RANDOM, "{role: 'role:support', purpose: support, mask: none}", "without 'role:'"),
        (RANDOM, "{role: support, purpose: support}", "the key 'mask' here"),
        (RANDOM, "{role: support, purpose: support, mask: full, needs: [luck]}", "a need (second_person, step_up)"),
        (RANDOM, f"{SUPPORT}, {SUPPORT.replace('last4', 'full')}", "each role and purpose once"),
    ],
)
def test_what_is_unsafe_or_unknown_is_refused_with_its_line(domains, reveal, expected):
    with pytest.raises(InvalidPolicy) as caught:
        read(domains, reveal)
    assert expected in caught.value.detail
    assert 10 <= caught.value.extra["line"] <= 12


def test_the_order_of_masks_names_every_mask_from_nothing_to_all():
    assert sorted(ORDER) == sorted(MASKS)
    assert (ORDER[0], ORDER[-1]) == ("none", "full")


HELD = ("support", "clerk", "officer", "auditor")
RULES = (
    Rule("support", "care", "last4"),
    Rule("clerk", "care", "partial"),
    Rule("officer", "care", "full", frozenset({Need.SECOND_PERSON})),
    Rule("auditor", "audit", "none"),
)


@pytest.mark.parametrize(
    "roles",
    [held for count in range(5) for held in itertools.combinations(HELD, count)],
    ids="+".join,
)
def test_of_all_rules_that_hold_the_one_that_shows_most_decides(roles):
    policy = TokenPolicy({}, RULES)
    rank = {"support": 1, "clerk": 2, "officer": 3}
    best = max((role for role in roles if role in rank), key=rank.get, default=None)
    chosen = policy.choose([f"role:{role}" for role in roles], "care")
    assert (chosen.role if chosen else None) == best
    assert policy.choose([f"role:{role}" for role in roles], "other") is None


def test_of_two_rules_that_show_alike_the_one_that_needs_less_decides():
    easy, hard = Rule("a", "p", "full"), Rule("b", "p", "full", frozenset({Need.SECOND_PERSON}))
    for rules in ((easy, hard), (hard, easy)):
        assert TokenPolicy({}, rules).choose(["role:a", "role:b"], "p") is easy


def test_a_role_is_compared_whole():
    policy = TokenPolicy({}, RULES)
    assert policy.choose(["support", "role:suppor", "role:supporter", "role:role:support"], "care") is None
