import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.detect.event import (
    FIELDS,
    KEYWORD_VIEWS,
    Event,
    Fields,
    LineIds,
    inert,
    length_prefixed,
    request_event_id,
    value_getter,
)
from guard.detect.user import user_key
from tests.detect.building import event


def test_an_event_has_its_identity_and_then_the_columns_of_the_parser():
    assert Event._fields == ("eid", "tenant", "stream", *Fields._fields)


def test_every_sigma_field_names_attributes_that_events_have():
    sample = event(0, user="u", path="/a.php")
    for name, field in FIELDS.items():
        for view in (*field.views, *([field.value] if field.value else [])):
            assert hasattr(sample, view), (name, view)
    assert all(hasattr(sample, view) for view in KEYWORD_VIEWS)


def test_nothing_that_may_hold_secrets_is_a_value_to_group_by_or_count():
    assert {field.value for field in FIELDS.values()}.isdisjoint({"target", "decoded"})
    with pytest.raises(KeyError):
        value_getter("cs-uri")


def test_an_event_cannot_be_changed():
    with pytest.raises(AttributeError):
        event(0).ip = "203.0.113.9"


def test_printing_an_event_shows_nobody():
    shown = repr(event(5, ip="203.0.113.77", user="alice", path="/reset?token=s3cret"))
    assert "ts=5" in shown
    assert not any(word in shown for word in ("203.0.113.77", "alice", "s3cret", "reset"))


@pytest.mark.parametrize(
    ("path", "extension"),
    [
        ("/a.PHP", "php"),
        ("/a.tar.gz", "gz"),
        ("/a", None),
        ("/a.b/c", None),
        ("/a.", None),
        ("/.env", "env"),
        (None, None),
    ],
)
def test_extension(path, extension):
    assert event(0, path=path).extension == extension


def test_line_ids_depend_on_place_and_words_only():
    ids = LineIds("t", "web", b"fp")
    known = ids.at(0, b"line")
    assert len(known) == 16
    assert known == LineIds("t", "web", b"fp").at(0, b"line")
    others = [
        ids.at(1, b"line"),
        ids.at(0, b"line2"),
        LineIds("u", "web", b"fp").at(0, b"line"),
        LineIds("t", "wex", b"fp").at(0, b"line"),
        LineIds("t", "web", b"fq").at(0, b"line"),
        LineIds("tw", "eb", b"fp").at(0, b"line"),
    ]
    assert len({known, *others}) == 7


def test_line_id_is_blake2b_over_length_prefixed_parts():
    from hashlib import blake2b

    parts = length_prefixed(b"t", b"web", b"fp", (7).to_bytes(8, "big"), b"line")
    assert LineIds("t", "web", b"fp").at(7, b"line") == blake2b(parts, digest_size=16).digest()


def test_one_request_id_is_one_event_per_tenant():
    assert request_event_id("t", "r1") == request_event_id("t", "r1")
    assert len({request_event_id("t", "r1"), request_event_id("t", "r2"), request_event_id("u", "r1")}) == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 茶", "plain ünïcode 茶"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("a\x00\x7f\x9b", "a\\x00\\x7f\\x9b"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("line\u2028para\u2029", "line\\u2028para\\u2029"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
    ],
)
def test_inert_text_cannot_move_a_terminal(text, shown):
    assert inert(text) == shown


def test_one_account_has_one_key_however_it_is_typed():
    assert {user_key(name) for name in ("Alice", "ALICE ", " alice", "\uff21\uff4c\uff49\uff43\uff45")} == {"alice"}
    assert user_key("alice") != user_key("alicia")
    assert user_key("Stra\u00dfe") == user_key("STRASSE")


@given(st.text(max_size=30))
def test_an_account_key_is_its_own_key(name):
    key = user_key(name)
    assert user_key(key) == key
    assert user_key(f"  {name}\t") == key
    assert key == key.strip()


@given(st.text(max_size=30))
def test_inert_text_stays_as_it_is_and_holds_nothing_active(text):
    shown = inert(text)
    assert inert(shown) == shown
    assert not any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in shown)
    assert not any(
        unicodedata.bidirectional(char) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        for char in shown
    )
    assert shown == text or any(not char.isprintable() for char in text)


@given(
    st.lists(
        st.tuples(
            st.text(max_size=3), st.text(max_size=3), st.binary(max_size=3), st.integers(0, 300), st.binary(max_size=3)
        ),
        max_size=8,
        unique=True,
    )
)
def test_different_places_have_different_ids(places):
    ids = {LineIds(tenant, stream, fp).at(offset, line) for tenant, stream, fp, offset, line in places}
    assert len(ids) == len(places)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_length_prefixes_keep_lists_apart(one, other):
    assert (length_prefixed(*one) == length_prefixed(*other)) == (one == other)
