"""Wrapped keys: fixed bytes, and that a wrap opens only in its own place."""

import hashlib
import hmac
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import Conflict, DoesNotOpen, InternalError, WrongRootKey
from guard.vault import wrap
from guard.vault.suites import DOES_NOT_OPEN
from guard.vault.wrap import Place

PARENT = bytes(range(64))
CHILD = bytes(range(32))
PLACE = Place("acme", "field", bytes.fromhex("0011223344556677"), 1, bytes.fromhex("8899aabbccddeeff"), 3)

ids = st.binary(max_size=10)
versions = st.integers(0, 2**32 - 1)
places = st.builds(
    Place,
    st.text(alphabet="ab\0é", max_size=4),
    st.text(alphabet="ab\0", max_size=4),
    ids,
    versions,
    ids,
    versions,
)


def lp(raw):
    return struct.pack(">I", len(raw)) + raw


def test_associated_data_is_the_frozen_form():
    expected = (
        b"guard/wrap/1\0"
        + lp(b"acme")
        + lp(b"field")
        + lp(PLACE.parent_id)
        + struct.pack(">I", 1)
        + lp(PLACE.child_id)
        + struct.pack(">I", 3)
    )
    assert PLACE.encode() == expected


def test_frozen_vector():
    assert wrap.wrap(PARENT, PLACE, CHILD).hex() == VECTOR
    assert wrap.unwrap(PARENT, PLACE, bytes.fromhex(VECTOR)) == CHILD


VECTOR = "3d454adfb737de6984f8773ef75b4bb330ad2b3c34d581f31d182d471861eec84153181fb79ac76af2abd245d89fb2af"


def test_wrap_is_siv_under_the_parent():
    assert wrap.wrap(PARENT, PLACE, CHILD) == AESSIV(PARENT).encrypt(CHILD, [PLACE.encode()])


@pytest.mark.parametrize("size", [32, 64, 96])
def test_there_and_back(size):
    child = bytes(reversed(range(size)))
    wrapped = wrap.wrap(PARENT, PLACE, child)
    assert len(wrapped) == size + 16
    unwrapped = wrap.unwrap(PARENT, PLACE, wrapped)
    assert isinstance(unwrapped, bytearray)
    assert unwrapped == child
    assert wrap.unwrap(bytearray(PARENT), PLACE, wrap.wrap(PARENT, PLACE, bytearray(child))) == child


@pytest.mark.parametrize("size", [0, 16, 31, 33, 48, 65])
def test_children_of_another_length_are_refused(size):
    with pytest.raises(InternalError, match=f"32, 64 or 96 bytes; {size} came"):
        wrap.wrap(PARENT, PLACE, bytes(size))


@pytest.mark.parametrize("size", [0, 32, 48, 63, 65])
def test_parents_of_another_length_are_refused(size):
    with pytest.raises(InternalError, match=f"64 bytes; {size} came"):
        wrap.wrap(bytes(size), PLACE, CHILD)
    with pytest.raises(InternalError, match=f"64 bytes; {size} came"):
        wrap.unwrap(bytes(size), PLACE, bytes(48))


@pytest.mark.parametrize("version", [-1, 2**32])
def test_versions_are_u32(version):
    for place in (replace(PLACE, parent_version=version), replace(PLACE, child_version=version)):
        with pytest.raises(InternalError, match="32-bit"):
            place.encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": "globex"},
        {"tenant": ""},
        {"purpose": "index"},
        {"parent_id": bytes(8)},
        {"parent_version": 2},
        {"child_id": bytes(8)},
        {"child_version": 4},
        {"parent_id": PLACE.child_id, "child_id": PLACE.parent_id},
        {"tenant": "acmef", "purpose": "ield"},
    ],
    ids=repr,
)
def test_a_wrap_that_was_moved_does_not_open(changed):
    wrapped = wrap.wrap(PARENT, PLACE, CHILD)
    with pytest.raises(DoesNotOpen, match=DOES_NOT_OPEN):
        wrap.unwrap(PARENT, replace(PLACE, **changed), wrapped)


def test_every_flipped_bit():
    wrapped = wrap.wrap(PARENT, PLACE, CHILD)
    for bit in range(len(wrapped) * 8):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DoesNotOpen, match=DOES_NOT_OPEN):
            wrap.unwrap(PARENT, PLACE, bytes(changed))


def test_another_parent_and_other_lengths_do_not_open():
    wrapped = wrap.wrap(PARENT, PLACE, CHILD)
    with pytest.raises(DoesNotOpen):
        wrap.unwrap(bytes(64), PLACE, wrapped)
    for size in [*range(len(wrapped)), len(wrapped) + 1, 79, 80, 81, 1000]:
        with pytest.raises(DoesNotOpen):
            wrap.unwrap(PARENT, PLACE, wrapped[:size].ljust(size, b"\0"))


def test_an_authentic_wrap_of_a_strange_length_does_not_open():
    wrapped = AESSIV(PARENT).encrypt(bytes(16), [PLACE.encode()])
    with pytest.raises(DoesNotOpen):
        wrap.unwrap(PARENT, PLACE, wrapped)


@given(places, places)
@settings(max_examples=300)
def test_equal_bytes_mean_equal_places(one, other):
    assert (one.encode() == other.encode()) == (one == other)


@given(st.text(alphabet="ab", max_size=3), st.text(alphabet="ab", max_size=3), st.integers(0, 3))
def test_shifting_characters_between_parts_changes_the_bytes(tenant, purpose, cut):
    whole = tenant + purpose
    shifted = replace(PLACE, tenant=whole[:cut], purpose=whole[cut:])
    here = replace(PLACE, tenant=tenant, purpose=purpose)
    assert (shifted.encode() == here.encode()) == (shifted == here)


# Key-check value


def test_key_check_value_is_the_frozen_form():
    message = b"guard/kcv/1\0" + lp(b"file") + struct.pack(">I", 7)
    assert wrap.key_check_value(PARENT, "file", 7) == hmac.new(PARENT, message, hashlib.sha256).digest()[:16]
    assert wrap.key_check_value(PARENT, "file", 1).hex() == "6eaf1334dc14dbf49ad39dd387aa7495"


def test_the_right_secret_passes():
    wrap.check_secret(bytearray(PARENT), "file", 1, wrap.key_check_value(PARENT, "file", 1))


@pytest.mark.parametrize(
    ("secret", "slot_id", "version"),
    [(bytes(64), "file", 1), (PARENT[:63], "file", 1), (PARENT, "kms", 1), (PARENT, "file", 2), (b"", "file", 1)],
)
def test_any_other_secret_is_noticed(secret, slot_id, version):
    expected = wrap.key_check_value(PARENT, "file", 1)
    with pytest.raises(WrongRootKey) as caught:
        wrap.check_secret(secret, slot_id, version, expected)
    assert caught.value.extra == {"slot_id": slot_id, "version": version}


@pytest.mark.parametrize("expected", [b"", bytes(15), bytes(16), bytes(17)])
def test_a_damaged_key_check_value_is_noticed(expected):
    with pytest.raises(WrongRootKey):
        wrap.check_secret(PARENT, "file", 1, expected)


# Key ids


def test_key_id_is_taken_from_the_randomness():
    assert wrap.new_key_id(b"abcdefghijklmnop", set()) == b"abcdefgh"


def test_a_taken_key_id_is_passed_over():
    assert wrap.new_key_id(b"abcdefghijklmnop", {b"abcdefgh"}) == b"ijklmnop"


@pytest.mark.parametrize(("randomness", "taken"), [(b"", set()), (b"1234567", set()), (b"\0" * 800, {bytes(8)})])
def test_no_free_key_id_is_an_error(randomness, taken):
    with pytest.raises(Conflict, match="No unused key id"):
        wrap.new_key_id(randomness, taken)
