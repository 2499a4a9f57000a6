"""Keysets and ciphertexts in both directions with Tink itself."""

import base64
import json
import secrets
from dataclasses import replace

import pytest
import tink
from tink import aead, daead, secret_key_access

from guard.errors import DoesNotOpen, InternalError, InvalidInput
from guard.vault.keys import Secret
from guard.vault.suites import DOES_NOT_OPEN
from guard.vault.tink import Keyset, Kind, TinkKey, parse_keyset, write_keyset
from guard.vault.versions import State

aead.register()
daead.register()
TEMPLATES = {
    Kind.AES256_GCM: aead.aead_key_templates.AES256_GCM,
    Kind.AES256_SIV: daead.deterministic_aead_key_templates.AES256_SIV,
    Kind.XAES: aead.aead_key_templates.XAES_256_GCM_192_BIT_NONCE,
}
OVERHEAD = {Kind.AES256_GCM: 33, Kind.AES256_SIV: 21, Kind.XAES: 45}
SIZES = {Kind.AES256_GCM: 32, Kind.AES256_SIV: 64, Kind.XAES: 32}
each_kind = pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)


def exported(handle):
    return tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)


def imported(keyset):
    return tink.json_proto_keyset_format.parse(write_keyset(keyset), secret_key_access.TOKEN)


def their_encrypt(handle, kind, plaintext, associated):
    if kind is Kind.AES256_SIV:
        return handle.primitive(daead.DeterministicAead).encrypt_deterministically(plaintext, associated)
    return handle.primitive(aead.Aead).encrypt(plaintext, associated)


def their_decrypt(handle, kind, ciphertext, associated):
    if kind is Kind.AES256_SIV:
        return handle.primitive(daead.DeterministicAead).decrypt_deterministically(ciphertext, associated)
    return handle.primitive(aead.Aead).decrypt(ciphertext, associated)


def key_of(kind, key_id=7, state=State.ACTIVE, *, raw=False):
    return TinkKey(key_id, kind, state, raw, Secret(secrets.token_bytes(SIZES[kind]), "k"))


@each_kind
def test_their_keyset_opens_their_ciphertexts_here(kind):
    handle = tink.new_keyset_handle(TEMPLATES[kind])
    keyset = parse_keyset(exported(handle))
    assert keyset.primary.kind is kind
    for plaintext in (b"", b"value", secrets.token_bytes(5000)):
        for associated in (b"", b"context"):
            ciphertext = their_encrypt(handle, kind, plaintext, associated)
            assert len(ciphertext) == len(plaintext) + OVERHEAD[kind]
            assert keyset.decrypt(associated, ciphertext) == plaintext
            with pytest.raises(DoesNotOpen):
                keyset.decrypt(associated + b"x", ciphertext)


@each_kind
def test_our_keyset_opens_our_ciphertexts_there(kind):
    keyset = Keyset((key_of(kind, 9, State.DECRYPT_ONLY), key_of(kind, 2**32 - 1)))
    handle = imported(keyset)
    for key in keyset.keys:
        for associated in (b"", b"context"):
            ciphertext = key.encrypt(associated, b"value", secrets.token_bytes)
            assert their_decrypt(handle, kind, ciphertext, associated) == b"value"
            with pytest.raises(tink.TinkError):
                their_decrypt(handle, kind, ciphertext, associated + b"x")
    assert keyset.decrypt(b"c", their_encrypt(handle, kind, b"theirs", b"c")) == b"theirs"


def test_deterministic_ciphertexts_are_the_same_bytes():
    handle = tink.new_keyset_handle(TEMPLATES[Kind.AES256_SIV])
    ours = parse_keyset(exported(handle)).primary.encrypt(b"c", b"value", secrets.token_bytes)
    assert ours == their_encrypt(handle, Kind.AES256_SIV, b"value", b"c")


@each_kind
def test_a_keyset_comes_back_as_it_went(kind):
    keys = (
        key_of(kind, 1),
        key_of(kind, 2, State.DECRYPT_ONLY, raw=True),
        key_of(kind, 3, State.RETIRED),
        replace(key_of(kind, 4, State.DESTROYED), material=Secret(b"", "gone")),
    )
    back = parse_keyset(write_keyset(Keyset(keys)))
    assert back.keys == keys
    assert [key.material for key in back.keys] == [key.material for key in keys]
    theirs = json.loads(exported(imported(Keyset(keys[:3]))))
    assert theirs["key"] == json.loads(write_keyset(Keyset(keys[:3])))["key"]


@each_kind
def test_raw_keys_write_no_prefix_and_are_tried_in_order(kind):
    raw, other = key_of(kind, 1, raw=True), key_of(kind, 2, State.DECRYPT_ONLY, raw=True)
    keyset = Keyset((raw, other))
    handle = imported(keyset)
    for key in (raw, other):
        ciphertext = key.encrypt(b"c", b"value", secrets.token_bytes)
        assert len(ciphertext) == 5 + OVERHEAD[kind] - 5
        assert keyset.decrypt(b"c", ciphertext) == their_decrypt(handle, kind, ciphertext, b"c") == b"value"


@each_kind
def test_disabled_keys_open_nothing(kind):
    retired = key_of(kind, 1, State.RETIRED)
    ciphertext = retired.encrypt(b"", b"value", secrets.token_bytes)
    keyset = Keyset((key_of(kind, 2), retired))
    with pytest.raises(DoesNotOpen):
        keyset.decrypt(b"", ciphertext)
    with pytest.raises(tink.TinkError):
        their_decrypt(imported(keyset), kind, ciphertext, b"")


@each_kind
def test_every_flipped_bit_and_every_cut_is_one_answer(kind):
    keyset = Keyset((key_of(kind, 1), key_of(kind, 2, State.DECRYPT_ONLY, raw=True)))
    ciphertext = keyset.primary.encrypt(b"c", b"value", secrets.token_bytes)
    flipped = [bytearray(ciphertext) for _ in range(len(ciphertext) * 8)]
    for bit, one in enumerate(flipped):
        one[bit // 8] ^= 1 << bit % 8
    for bad in (*flipped, *(ciphertext[:size] for size in range(len(ciphertext))), ciphertext + b"\0"):
        with pytest.raises(DoesNotOpen) as caught:
            keyset.decrypt(b"c", bytes(bad))
        assert caught.value.detail == DOES_NOT_OPEN


def changed(**parts):
    document = json.loads(write_keyset(Keyset((key_of(Kind.AES256_GCM),))))
    for path, value in parts.items():
        *inner, last = path.split("__")
        place = document["key"][0]
        for step in inner:
            place = place[step]
        place[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"primaryKeyId": 7, "key": []}',
        '{"primaryKeyId": "7", "key": [{}]}',
        changed(keyId=8),
        changed(keyId=0),
        changed(keyId=2**32),
        changed(keyId=True),
        changed(status="UNKNOWN_STATUS"),
        changed(status="DISABLED"),
        changed(outputPrefixType="CRUNCHY"),
        changed(keyData__typeUrl="type.googleapis.com/google.crypto.tink.HmacKey"),
        changed(keyData__keyMaterialType="REMOTE"),
        changed(keyData__value="!"),
        changed(keyData__value=base64.b64encode(b"\x1a\x10" + bytes(16)).decode()),
        changed(keyData__value=base64.b64encode(b"\x08\x01\x1a\x20" + bytes(32)).decode()),
        changed(keyData__value=base64.b64encode(b"\x1a\x20" + bytes(33)).decode()),
        "x" * ((1 << 20) + 1),
    ],
    ids=lambda text: text[:30],
)
def test_keysets_that_are_refused(text):
    with pytest.raises(InvalidInput) as caught:
        parse_keyset(text)
    assert "AAAA" not in caught.value.detail


def test_two_keys_of_one_id_are_refused():
    with pytest.raises(InvalidInput, match="one id twice"):
        Keyset((key_of(Kind.XAES, 1), key_of(Kind.XAES, 1, State.DECRYPT_ONLY)))


def test_keys_without_a_state_or_size_of_tink_are_not_written():
    with pytest.raises(InternalError, match="no state in Tink"):
        write_keyset(Keyset((key_of(Kind.XAES, 1), key_of(Kind.XAES, 2, State.PRE_ACTIVE))))
    with pytest.raises(InternalError, match="has 32 bytes; 16 came"):
        write_keyset(Keyset((replace(key_of(Kind.XAES), material=Secret(bytes(16), "short")),)))
