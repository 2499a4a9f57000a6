"""Masks: what is shown, how much of it, and that nothing shown is dangerous to show."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.vault.mask import MASKS, characters, mask

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1e9\U0001f1ea"
THUMB = "\U0001f44d\U0001f3fd"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("full", "alice@example.org", "alice@example.org"),
        ("full", "", ""),
        ("none", "alice@example.org", "******"),
        ("none", "", "******"),
        ("email", "alice@example.org", "a****@e******.org"),
        ("email", "al@example.org", "a****@e******.org"),
        ("email", "a@example.org", "*****@e******.org"),
        ("email", "alice@x.org", "a****@*******.org"),
        ("email", "alice@mail.example.co.uk", "a****@m******.uk"),
        ("email", " alice@example.org ", "a****@e******.org"),
        ("email", '"a@b"@example.org', '"****@e******.org'),
        ("email", "zoë@bücher.example", "z****@b******.example"),
        ("email", "alice", "******"),
        ("email", "", "******"),
        ("email", "@example.org", "******"),
        ("email", "alice@", "******"),
        ("email", "alice@localhost", "******"),
        ("email", "alice@.org", "******"),
        ("email", "alice@example.", "******"),
        ("email", "alice@10.0.0.1", "******"),
        ("email", "alice@example." + "x" * 25, "******"),
        ("email", "alice@example.o g", "******"),
        ("partial", "", "******"),
        ("partial", "abc", "******"),
        ("partial", "abcd", "a*****"),
        ("partial", "abcdefg", "a*****"),
        ("partial", "abcdefgh", "a****h"),
        ("partial", "a very long value indeed", "a****d"),
        ("partial", " abc ", "******"),
        ("last4", "", "******"),
        ("last4", "1234567", "******"),
        ("last4", "12345678", "****5678"),
        ("last4", "4155550123", "****0123"),
        ("last4", "+1 415 555-0123", "****0123"),
        ("last4", "       1", "******"),
    ],
)
def test_masks(name, value, shown):
    assert mask(name, value) == shown


def test_names():
    assert set(MASKS) == {"full", "partial", "email", "last4", "none"}
    with pytest.raises(KeyError):
        mask("half", "x")


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("", []),
        ("ab", ["a", "b"]),
        ("e\u0301a", ["é", "a"]),
        ("q\u0301a", ["q\u0301", "a"]),
        (FAMILY + "a", [FAMILY, "a"]),
        (FLAG + FLAG, [FLAG, FLAG]),
        (THUMB, [THUMB]),
        ("नि", ["नि"]),
        ("\u0301a", ["\u0301", "a"]),
    ],
)
def test_characters_are_what_a_reader_counts(text, split):
    assert characters(text) == split


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("partial", FAMILY + "abcdefg", FAMILY + "****g"),
        ("partial", FLAG + "abcdef" + THUMB, FLAG + "****" + THUMB),
        ("partial", "q\u0301bcdefgh", "q\u0301****h"),
        ("partial", "\u202eabcdefg", "*****g"),  # right-to-left override
        ("partial", "\x1b[31mabcd", "*****d"),  # terminal escape
        ("partial", "\u200babcdefg", "*****g"),  # zero-width space
        ("partial", "\u0301abcdefg", "*****g"),  # a mark without a letter
        ("partial", "a" + "\u0301" * 40 + "bcdefgh", "*****h"),  # a pile of marks
        ("partial", "\U0001f3f4\U000e0067\U000e0062abcdefg", "*****g"),  # invisible tags
        ("last4", "12345\u202e78", "****5*78"),
        ("last4", "1234567890\x07", "****890*"),
        ("email", "\u202ealice@example.org", "*****@e******.org"),
    ],
)
def test_what_is_not_safe_to_show_is_a_star(name, value, shown):
    assert mask(name, value) == shown


masked = st.sampled_from(["partial", "email", "last4", "none"])
any_text = st.text(max_size=30)


def length_class(value):
    count = len(characters(value.strip()))
    return 0 if count < 4 else 1 if count < 8 else 2


@given(masked.filter(lambda name: name != "email"), any_text)
@settings(max_examples=300)
def test_length_of_the_output_tells_the_class_at_most(name, value):
    width = len(characters(mask(name, value)))
    assert width == {"none": (6, 6, 6), "partial": (6, 6, 6), "last4": (6, 6, 8)}[name][length_class(value)]


@given(masked, st.text(alphabet="abcdefghij", min_size=1, max_size=30))
@settings(max_examples=300)
def test_at_most_half_is_shown(name, value):
    shown = mask(name, value).replace("*", "")
    assert len(shown) * 2 <= len(value)


@given(st.text(alphabet="abcdefghij", min_size=2, max_size=30), st.text(alphabet="abcdefghij", min_size=2, max_size=30))
@settings(max_examples=100)
def test_email_shows_two_letters_and_the_last_label(local, domain):
    assert mask("email", f"{local}@{domain}.org") == f"{local[0]}****@{domain[0]}******.org"


@given(masked, any_text)
@settings(max_examples=400)
def test_no_control_character_gets_through(name, value):
    for one in mask(name, value):
        assert one == "\u200d" or unicodedata.category(one)[0] != "C"


@given(
    masked, st.text(alphabet="abcdefgh@.", min_size=8, max_size=16), st.text(alphabet="qrstuv", min_size=3, max_size=8)
)
@settings(max_examples=200)
def test_the_middle_never_shows(name, edge, middle):
    assert middle not in mask(name, edge + middle + edge)
