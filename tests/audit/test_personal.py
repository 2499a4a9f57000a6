"""Commitments and sealed rows: the golden value, the formula that a stranger checks, and places that do not fit."""

import base64
import hashlib
import json
import os

import pytest
import rfc8785
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from guard.audit.canonical import canonical
from guard.audit.personal import IV_BYTES, MARK_BYTES, committed, parted, seal, sealable, unseal
from guard.errors import StoreDamaged

RECORD = "01998a5e-0000-7000-8000-000000000001"
OTHER = "01998a5e-0000-7000-8000-000000000002"
KEY, MARK, IV = bytes(range(32)), b"\xa5" * MARK_BYTES, b"\x01" * IV_BYTES
NONCE = bytes(range(32))
VALUES = st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans()


def stranger(nonce, value):
    """The check of an opening as somebody makes it who has none of our code."""
    digest = hashlib.sha256(b"\x02" + nonce + rfc8785.dumps(value)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_the_golden_commitment_of_the_format():
    assert committed(NONCE + canonical("alice@example.com")) == "2EK1OSLAqRqmH5-pje4upiu2JHK63TvLuorvvT2KVTQ"


@given(VALUES)
def test_a_stranger_s_check_agrees_for_every_value(value):
    assert committed(NONCE + canonical(value)) == stranger(NONCE, value)


@given(VALUES, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_two_nonces_make_one_value_look_like_two(value, one, two):
    text = canonical(value)
    assert (committed(one + text) == committed(two + text)) == (one == two)


@given(VALUES, VALUES)
def test_a_commitment_binds_to_its_value(one, two):
    same = (type(one), one) == (type(two), two)
    assert (committed(NONCE + canonical(one)) == committed(NONCE + canonical(two))) == same


@given(VALUES, st.binary(min_size=32, max_size=32))
def test_what_is_sealed_comes_back(value, nonce):
    sealed = seal(KEY, MARK, IV, (RECORD, "reason"), nonce + canonical(value))
    assert parted(unseal(KEY, (RECORD, "reason"), sealed)) == (nonce, value)


def test_the_row_has_the_form_that_is_written_down():
    """Mark, iv, then AES-256-GCM with the domain, the record's 16 bytes, and the field's name with its length."""
    text = NONCE + canonical("alice@example.com")
    place = b"guard/audit/sealed/v1\0" + bytes.fromhex(RECORD.replace("-", "")) + b"\x00\x06reason"
    sealed = seal(KEY, MARK, IV, (RECORD, "reason"), text)
    assert sealed == MARK + IV + AESGCM(KEY).encrypt(IV, text, place)


@pytest.mark.parametrize(
    ("key", "place"),
    [(os.urandom(32), (RECORD, "reason")), (KEY, (OTHER, "reason")), (KEY, (RECORD, "title"))],
    ids=["another key", "another record", "another field"],
)
def test_a_row_opens_in_its_own_place_only(key, place):
    sealed = seal(KEY, MARK, IV, (RECORD, "reason"), NONCE + b'"x"')
    with pytest.raises(StoreDamaged, match="to open in its record"):
        unseal(key, place, sealed)


def test_no_bit_behind_the_mark_can_be_turned():
    sealed = seal(KEY, MARK, IV, (RECORD, "reason"), NONCE + b'"x"')
    for at in range(MARK_BYTES * 8, len(sealed) * 8):
        changed = bytearray(sealed)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(StoreDamaged):
            unseal(KEY, (RECORD, "reason"), bytes(changed))


@pytest.mark.parametrize("length", [0, 8, 19, 20, 35])
def test_a_row_that_was_cut_is_told_as_damaged(length):
    sealed = seal(KEY, MARK, IV, (RECORD, "reason"), NONCE + b'"x"')
    with pytest.raises(StoreDamaged):
        unseal(KEY, (RECORD, "reason"), sealed[:length])


def test_an_error_says_the_field_and_no_value():
    sealed = seal(KEY, MARK, IV, (RECORD, "reason"), NONCE + b'"canary"')
    with pytest.raises(StoreDamaged) as caught:
        unseal(KEY, (RECORD, "reason"), sealed[:-1])
    assert "reason" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_map_is_sealed_as_its_json_text_in_one_order():
    """Answers of a form have keys and numbers that a record's own profile refuses."""
    text = sealable({"Zahl": 1.5, "a": {"c": [1], "b": None}})
    assert text == sealable({"a": {"b": None, "c": [1]}, "Zahl": 1.5})
    assert json.loads(text) == {"Zahl": 1.5, "a": {"b": None, "c": [1]}}


@pytest.mark.parametrize("value", ["text", "", 17, True, False])
def test_what_a_record_may_hold_is_sealed_as_it_is(value):
    assert sealable(value) is value
