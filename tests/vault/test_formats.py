"""Fields that keep their format: the frozen vector, what is hidden and what is kept, and which values are refused."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import DoesNotOpen, InvalidContext, InvalidPolicy, InvalidRequest, KeyStateConflict
from guard.vault import context, formats
from guard.vault.envelope import SuiteId
from guard.vault.formats import Format, FormatOpener, FormatSealer
from guard.vault.keys import KeyVersion, Secret
from guard.vault.suites import DOES_NOT_OPEN
from guard.vault.versions import State

DIGITS = Format("0123456789", 10)
COLUMN = {"tenant": "acme", "table": "users", "column": "phone"}
HANZI = "".join(chr(0x4E00 + number) for number in range(2000))


def key_of(material=bytes(range(32)), **parts):
    given = {"version": 3, "tenant": "acme", "state": State.ACTIVE} | parts
    key_id = bytes.fromhex("0011223344556677")
    return KeyVersion(key_id, "users.phone", suite=SuiteId.FF1, material=Secret(material, "k"), **given)


def test_golden_vector():
    cell = COLUMN | {"subject": "u-17"}
    associated = context.encode(key_of().header, cell)
    assert formats.tweak(associated).hex() == "4e14f279c161e8694163e2940035007f"
    assert FormatSealer(DIGITS, key_of(), cell).seal((), b"4155550123") == "6801029433"
    assert FormatOpener(DIGITS, key_of(), COLUMN, ("subject",)).open(("u-17",), "6801029433") == b"4155550123"


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Format("0123456789", 16, 6, 4), "4242420000004242"),
        (Format("0123456789", 12, 0, 4), "424200004242"),
        (Format("0123456789", 6), "000000"),
        (Format("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", 4), "AB12XYZ"),
        (Format("01", 20), "01" * 15),
        (Format(HANZI, 2), HANZI[7:40]),
        (Format("0123456789", 6), "7" * 256),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_kept_stays_and_the_rest_changes_within_the_alphabet(form, value):
    sealed = FormatSealer(form, key_of(), COLUMN, ("row",)).seal(("1",), value.encode())
    assert len(sealed) == len(value)
    assert set(sealed) <= set(form.alphabet)
    assert sealed[: form.keep_first] == value[: form.keep_first]
    assert sealed[len(sealed) - form.keep_last :] == value[len(value) - form.keep_last :]
    assert sealed != value
    assert FormatOpener(form, key_of(), COLUMN, ("row",)).open(("1",), sealed).decode() == value


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_there_and_back(data):
    first, last = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 6))
    form = Format("0123456789", 6 + first + last, first, last)
    value = data.draw(st.text("0123456789", min_size=form.min_length, max_size=40))
    row = data.draw(st.text(min_size=1, max_size=10))
    sealed = FormatSealer(form, key_of(), COLUMN, ("row",)).seal((row,), value.encode())
    assert FormatOpener(form, key_of(), COLUMN, ("row",)).open((row,), sealed).decode() == value


def test_every_part_of_the_context_changes_the_value():
    base = COLUMN | {"row": "1"}
    value = b"0123456789012345"
    cells = [base, base | {"row": "2"}, base | {"row": 1}, base | {"column": "fax"}, base | {"table": "people"}]
    sealed = {FormatSealer(DIGITS, key_of(), cell).seal((), value) for cell in cells}
    sealed |= {FormatSealer(DIGITS, key_of(version=version), base).seal((), value) for version in (1, 2)}
    sealed.add(FormatSealer(DIGITS, key_of(bytes(32)), base).seal((), value))
    assert len(sealed) == 8


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"415555012",
        b"4" * 257,
        b"415-555-0123",
        b" 4155550123",
        b"4155550123\n",
        "４１５５５５０１２３".encode(),
        "٤١٥٥٥٥٠١٢٣".encode(),
        b"\xff4155550123",
        b"415555012\xc3",
        b"\0" * 10,
    ],
)
def test_values_of_another_form_are_refused_and_not_repeated(raw):
    sealer = FormatSealer(DIGITS, key_of(), COLUMN, ("row",))
    with pytest.raises(InvalidRequest) as caught:
        sealer.seal(("1",), raw)
    assert raw.decode("latin-1").strip() not in caught.value.detail or not raw.strip()
    [answer] = sealer.seal_many([(("1",), raw)])
    assert isinstance(answer, InvalidRequest)
    assert answer.__traceback__ is None
    with pytest.raises(DoesNotOpen) as closed:
        FormatOpener(DIGITS, key_of(), COLUMN, ("row",)).open(("1",), raw.decode("latin-1"))
    assert closed.value.detail == DOES_NOT_OPEN


def test_the_replacement_character_in_an_alphabet_hides_no_broken_bytes():
    form = Format("0123456789\ufffd", 8)
    sealer = FormatSealer(form, key_of(), COLUMN, ("row",))
    assert len(sealer.seal(("1",), "1234567\ufffd".encode())) == 8
    with pytest.raises(InvalidRequest):
        sealer.seal(("1",), b"1234567\xff")


@pytest.mark.parametrize(
    ("alphabet", "sizes"),
    [
        ("", (10,)),
        ("0", (30,)),
        ("00123", (30,)),
        ("0123456789", (5,)),
        ("0123456789", (10, 3, 2)),
        ("01", (19,)),
        ("0123456789", (10, 5, 6)),
        ("0\n1", (30,)),
        ("01\ud800", (30,)),
    ],
)
def test_unsafe_formats_are_refused(alphabet, sizes):
    with pytest.raises(InvalidPolicy, match="expected a"):
        Format(alphabet, *sizes)


def test_states_and_tenants_are_obeyed():
    with pytest.raises(KeyStateConflict, match="seals no new values"):
        FormatSealer(DIGITS, key_of(state=State.DECRYPT_ONLY), COLUMN)
    with pytest.raises(KeyStateConflict, match="does not open"):
        FormatOpener(DIGITS, key_of(state=State.RETIRED), COLUMN)
    with pytest.raises(KeyStateConflict):
        FormatOpener(DIGITS, key_of(compromised=True), COLUMN)
    FormatOpener(DIGITS, key_of(compromised=True), COLUMN, compromised_granted=True)
    with pytest.raises(InvalidContext, match="its own tenant"):
        FormatSealer(DIGITS, key_of(tenant="globex"), COLUMN)
    with pytest.raises(DoesNotOpen):
        FormatOpener(DIGITS, key_of(tenant="globex"), COLUMN)


def test_a_bad_row_in_a_batch_spoils_no_other():
    sealer = FormatSealer(DIGITS, key_of(), COLUMN, ("row",))
    answers = sealer.seal_many([(("1",), b"4155550123"), (("",), b"4155550123"), (("2",), b"4155550123")])
    assert [isinstance(one, str) for one in answers] == [True, False, True]


def test_the_tweak_is_a_hash_of_the_whole_context():
    assert formats.tweak(b"x") == hashlib.sha256(b"x").digest()[:16]
