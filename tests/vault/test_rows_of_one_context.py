"""A batch of a deterministic field is sealed in one go: byte for byte what one value after the other gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import BodyTooLarge, InternalError
from guard.vault.envelope import MAX_ENVELOPE_BYTES, SuiteId, from_text, to_text, to_texts
from guard.vault.keys import KeyVersion, Secret
from guard.vault.sealing import Opener, Sealer
from guard.vault.suites import MAX_FIELD_BYTES
from guard.vault.versions import State

COLUMN = {"tenant": "acme", "table": "users", "column": "city"}


def siv(number=1, state=State.ACTIVE):
    material = Secret(bytes(range(number, number + 64)), "k")
    return KeyVersion(
        tenant="acme",
        name="users.city",
        key_id=bytes(8),
        version=number,
        suite=SuiteId.SIV,
        state=state,
        compromised=False,
        material=material,
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.sampled_from([0, 16, 64]))
def test_a_row_is_what_its_values_are_alone(values, step):
    sealer = Sealer(siv(), COLUMN, pad_step=step)
    together = sealer.seal_many(((), value) for value in values)
    assert together == [sealer.seal((), value) for value in values]
    opener = Opener(siv(), COLUMN)
    assert [opener.open((), text) for text in together] == values


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=70), max_size=30))
def test_texts_together_are_texts_alone(raws):
    assert to_texts(raws) == [to_text(raw) for raw in raws]
    assert [from_text(text) for text in to_texts(raws) if len(text) > 4] == [raw for raw in raws if raw]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 16_384, MAX_ENVELOPE_BYTES])
def test_texts_of_every_length_class(size):
    raw = bytes(byte % 256 for byte in range(size))
    assert to_texts([raw, b"\xfb\xff", raw]) == [to_text(raw), to_text(b"\xfb\xff"), to_text(raw)]


def test_one_value_too_large_spoils_no_neighbour():
    sealer = Sealer(siv(), COLUMN)
    small, large, fits = b"small", bytes(MAX_FIELD_BYTES + 1), bytes(MAX_FIELD_BYTES)
    first, refused, last = sealer.seal_many([((), small), ((), large), ((), fits)])
    assert (first, last) == (sealer.seal((), small), sealer.seal((), fits))
    assert isinstance(refused, BodyTooLarge)


def test_equal_values_are_equal_in_a_row_and_under_another_version_they_are_not():
    one, two = Sealer(siv(1), COLUMN), Sealer(siv(2), COLUMN)
    first = one.seal_many([((), b"a"), ((), b"b"), ((), b"a")])
    assert first[0] == first[2] != first[1]
    assert not set(first) & set(two.seal_many([((), b"a"), ((), b"b")]))


def test_a_value_that_names_a_cell_is_refused_where_the_column_has_none():
    sealer = Sealer(siv(), COLUMN)
    first, refused = sealer.seal_many([((), b"a"), (("17",), b"b")])
    assert first == sealer.seal((), b"a")
    assert isinstance(refused, InternalError)


def test_an_empty_row_is_nothing():
    assert Sealer(siv(), COLUMN).seal_many([]) == []
    assert to_texts([]) == []
