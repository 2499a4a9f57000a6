"""Keysets and backups that somebody made to do harm: each is one sentence, and none of its text comes back."""

import base64
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidInput
from guard.vault import foreign_json, tink_binary
from guard.vault.imported import Format, Imported, Use, decode, described, made, parse
from guard.vault.keys import Secret
from guard.vault.openbao import MAX_VERSIONS, parse_backup
from guard.vault.tink import MAX_KEYS, MAX_KEYSET_BYTES, Keyset, Kind, TinkKey, parse_keyset, write_keyset
from guard.vault.versions import State

URL = "type.googleapis.com/google.crypto.tink."
HEADS = {
    "AesGcmKey": (b"\x1a\x20", 32),
    "AesSivKey": (b"\x12\x40", 64),
    "XAesGcmKey": (b"\x12\x02\x08\x0c\x1a\x20", 32),
}
SIZES = {Kind.AES256_GCM: 32, Kind.AES256_SIV: 64, Kind.XAES: 32}
CANARY = b"canary-of-thirty-two-bytes-here!"
CLEAR, LIMIT, SEALED = "a cleartext keyset of Tink in JSON", "at most 1048576 bytes", "under this KEK"
BACKUP = "the backup of a Transit key of type"


def b64(raw):
    return base64.b64encode(raw).decode()


def value(kind, fill=CANARY):
    head, size = HEADS[kind]
    return b64(head + (fill * 2)[:size])


def entry(key_id=7, kind="AesGcmKey", **changed):
    data = {"typeUrl": URL + kind, "value": value(kind), "keyMaterialType": "SYMMETRIC"}
    whole = {"keyData": data, "status": "ENABLED", "keyId": key_id, "outputPrefixType": "TINK"}
    for name, new in changed.items():
        (data if name in data else whole)[name] = new
    return whole


def keyset(*entries, primary=7):
    return json.dumps({"primaryKeyId": primary, "key": list(entries)})


def without(name):
    found = entry()
    (found["keyData"] if name in found["keyData"] else found).pop(name)
    return found


def test_the_usual_keyset_is_taken_so_that_the_refusals_mean_something():
    for kind in HEADS:
        assert parse_keyset(keyset(entry(kind=kind))).primary.kind is Kind(kind)


HOSTILE = {
    "nothing": ("", CLEAR),
    "null": ("null", CLEAR),
    "a number": ("7", CLEAR),
    "a list": ("[]", CLEAR),
    "no keys": (keyset(), "1 to 1000 keys"),
    "keys that are an object": (json.dumps({"primaryKeyId": 7, "key": {"0": entry()}}), "1 to 1000 keys"),
    "keys that are text": (json.dumps({"primaryKeyId": 7, "key": "x" * 10}), "1 to 1000 keys"),
    "no primary": (json.dumps({"key": [entry()]}), CLEAR),
    "a primary that is missing": (keyset(entry(), primary=8), "one enabled primary key"),
    "a primary of another type": (keyset(entry(), primary="7"), "1 to 1000 keys"),
    "a primary that is true": (keyset(entry(key_id=1), primary=True), "1 to 1000 keys"),
    "a primary with a point": (keyset(entry(), primary=7.0), "1 to 1000 keys"),
    "a primary that is disabled": (keyset(entry(status="DISABLED")), "one enabled primary key"),
    "a primary that is destroyed": (keyset(entry(status="DESTROYED")), "one enabled primary key"),
    "one id twice": (keyset(entry(), entry(kind="XAesGcmKey")), "one id twice"),
    "one id twice, one destroyed": (keyset(entry(), entry(status="DESTROYED")), "one id twice"),
    "the id 0": (keyset(entry(key_id=0), primary=0), CLEAR),
    "an id below 0": (keyset(entry(key_id=-1), primary=-1), CLEAR),
    "an id of 33 bits": (keyset(entry(key_id=1 << 32), primary=1 << 32), CLEAR),
    "an id of a million digits": ('{"primaryKeyId":' + "9" * 1_000_000 + ',"key":[]}', CLEAR),
    "an id that is true": (keyset(entry(key_id=True), primary=1), CLEAR),
    "a status of its own": (keyset(entry(status="enabled")), CLEAR),
    "a status that is a list": (keyset(entry(status=[])), CLEAR),
    "a prefix of CRUNCHY": (keyset(entry(outputPrefixType="CRUNCHY")), CLEAR),
    "a prefix that is null": (keyset(entry(outputPrefixType=None)), CLEAR),
    "an asymmetric key": (keyset(entry(keyMaterialType="ASYMMETRIC_PRIVATE")), CLEAR),
    "a remote key": (keyset(entry(keyMaterialType="REMOTE")), CLEAR),
    "another algorithm": (keyset(entry(typeUrl=URL + "ChaCha20Poly1305Key")), CLEAR),
    "a signing key": (keyset(entry(typeUrl=URL + "Ed25519PrivateKey")), CLEAR),
    "a type without its address": (keyset(entry(typeUrl="AesGcmKey")), CLEAR),
    "a type of another address": (keyset(entry(typeUrl="evil.example/" + URL + "AesGcmKey")), CLEAR),
    "a type twice": (keyset(entry(typeUrl=URL + URL + "AesGcmKey")), CLEAR),
    "a type that is a number": (keyset(entry(typeUrl=7)), CLEAR),
    "a type that is null": (keyset(entry(typeUrl=None)), CLEAR),
    "a type that is a list": (keyset(entry(typeUrl=[URL + "AesGcmKey"])), CLEAR),
    "a value that is a number": (keyset(entry(value=7)), CLEAR),
    "a value that is null": (keyset(entry(value=None)), CLEAR),
    "a value of nothing": (keyset(entry(value="")), CLEAR),
    "a value of 16 bytes": (keyset(entry(value=b64(b"\x1a\x10" + CANARY[:16]))), CLEAR),
    "a value with more behind it": (keyset(entry(value=b64(b"\x1a\x20" + CANARY + b"\x08\x01"))), CLEAR),
    "a value of version 1": (keyset(entry(value=b64(b"\x08\x01\x1a\x20" + CANARY))), CLEAR),
    "a value of another kind": (keyset(entry(value=value("AesSivKey"))), CLEAR),
    "a value in the alphabet of URLs": (keyset(entry(value="GiA" + "_-" * 21 + "=")), CLEAR),
    "a value with spaces": (keyset(entry(value=" " + value("AesGcmKey"))), CLEAR),
    "an XAES salt of 8": (keyset(entry(kind="XAesGcmKey", value=b64(b"\x12\x02\x08\x08\x1a\x20" + CANARY))), CLEAR),
    "a key that is a list": (keyset([7]), CLEAR),
    "a key that is text": (keyset("key"), CLEAR),
    "a key that is null": (keyset(None), CLEAR),
    "key data that is text": (json.dumps({"primaryKeyId": 7, "key": [entry() | {"keyData": "x"}]}), CLEAR),
    "nested without end": ("[" * 100_000, CLEAR),
    "a key nested without end": ('{"primaryKeyId":7,"key":[' + '{"keyData":' * 50_000, CLEAR),
    "the primary named twice": (keyset(entry())[:-1] + ',"primaryKeyId":7}', CLEAR),
    "the keys named twice": (keyset(entry())[:-1] + ',"key":[]}', CLEAR),
    "NaN": (keyset(entry(), primary=float("nan")), CLEAR),
    "Infinity": (keyset(entry(key_id=float("inf"))), CLEAR),
    "1001 keys": (keyset(*(entry(number) for number in range(1, MAX_KEYS + 2))), "1 to 1000 keys"),
    "100,000 keys": (keyset(*[entry()] * 100_000), LIMIT),
    "a mebibyte of spaces": (" " * (MAX_KEYSET_BYTES + 1), LIMIT),
    "an encrypted keyset": ('{"encryptedKeyset":"AAAA","keysetInfo":{}}', CLEAR),
} | {f"no {name}": (keyset(without(name)), CLEAR) for name in [*entry(), *entry()["keyData"]]}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_keyset_is_one_sentence_without_a_byte_of_it(name):
    text, sentence = HOSTILE[name]
    with pytest.raises(InvalidInput) as caught:
        parse_keyset(text)
    assert sentence in caught.value.detail
    assert len(caught.value.detail) < 200
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert value("AesGcmKey")[3:20] not in caught.value.detail


def test_a_thousand_keys_are_taken_and_the_primary_is_found_among_them():
    found = parse_keyset(keyset(*(entry(number) for number in range(1, MAX_KEYS + 1)), primary=501))
    assert (len(found.keys), found.primary.key_id) == (MAX_KEYS, 501)


def policy(**changed):
    whole = {
        "name": "orders",
        "type": 0,
        "derived": False,
        "kdf": 1,
        "convergent_encryption": False,
        "min_decryption_version": 1,
        "keys": {"1": {"key": b64(CANARY)}},
    }
    whole |= changed
    return b64(json.dumps({"policy": whole}).encode())


def keys(*versions, **changed):
    return policy(keys={str(version): {"key": b64(CANARY)} | changed for version in versions})


BACKUPS = {
    "a list": b64(b"[]"),
    "a policy that is a list": b64(b'{"policy": []}'),
    "no policy": b64(b'{"policies": {}}'),
    "bytes that are no text": b64(b"\xff\xfe\x00"),
    "base64 of URLs": policy().replace("e", "_"),
    "base64 without its end": policy().rstrip("=")[:-1],
    "lines": policy()[:40] + "\n" + policy()[40:],
    "a type that is false": policy(type=False),
    "a type with a point": policy(type=0.0),
    "a type that is text": policy(type="aes256-gcm96"),
    "an ed25519 key": policy(type=2),
    "a type of nobody": policy(type=99),
    "a name that is null": policy(name=None),
    "a least version that is true": policy(min_decryption_version=True),
    "derived by the old function": policy(derived=True, kdf=0),
    "derived that is text": policy(derived="false"),
    "convergent that is null": policy(convergent_encryption=None),
    "version 0": keys(0),
    "a version below 0": keys(-1),
    "version 01": keys("01"),
    "a version in other digits": keys("１"),
    "a version of 33 bits": keys(1 << 32),
    "a version with a line": keys("1\n"),
    "keys that are null": policy(keys=None),
    "keys that are text": policy(keys="1"),
    "a key that is null": keys(1, key=None),
    "a key of 16 bytes": keys(1, key=b64(CANARY[:16])),
    "a key of 31 bytes": keys(1, key=b64(CANARY[:31])),
    "a key that is no object": policy(keys={"1": b64(CANARY)}),
    "too many versions": keys(*range(1, MAX_VERSIONS + 2)),
    "a version twice": b64(b'{"policy":' + base64.b64decode(policy())[11:-2].replace(b'"1":', b'"1":{},"1":') + b"}}"),
    "the policy twice": b64(b'{"policy":{},' + base64.b64decode(policy())[1:]),
    "nested without end": b64(b'{"policy":' * 100_000),
}


@pytest.mark.parametrize("name", BACKUPS)
def test_a_hostile_backup_is_one_sentence_without_a_byte_of_it(name):
    with pytest.raises(InvalidInput) as caught:
        parse_backup(BACKUPS[name])
    assert BACKUP in caught.value.detail
    assert b64(CANARY)[:12] not in caught.value.detail


def test_the_usual_backup_is_taken_so_that_the_refusals_mean_something():
    assert sorted(parse_backup(policy()).keys) == [1]
    assert sorted(parse_backup(keys((1 << 32) - 1)).keys) == [(1 << 32) - 1]
    assert len(parse_backup(keys(*range(1, MAX_VERSIONS + 1))).keys) == MAX_VERSIONS


def field(number, wire, body):
    return bytes([number << 3 | wire]) + body


def sized(number, body):
    return field(number, 2, bytes([len(body)]) + body)


def buffer(primary=b"\x07", **changed):
    parts = {
        "url": sized(1, (URL + "AesGcmKey").encode()),
        "value": sized(2, b"\x1a\x20" + CANARY),
        "material": field(3, 0, b"\x01"),
        "status": field(2, 0, b"\x01"),
        "id": field(3, 0, b"\x07"),
        "prefix": field(4, 0, b"\x01"),
    } | changed
    data = sized(1, parts["url"] + parts["value"] + parts["material"])
    body = data + parts["status"] + parts["id"] + parts["prefix"]
    return field(1, 0, primary) + field(2, 2, bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) + body)


BUFFERS = {
    "nothing": b"",
    "a number without an end": b"\x08" + b"\xff" * 11,
    "a number cut off": b"\x08\x80",
    "a length beyond the end": b"\x12\x7f\x00",
    "a length of 63 bits": b"\x12" + b"\xff" * 8 + b"\x7f",
    "a field that nobody knows": buffer() + field(3, 0, b"\x01"),
    "a field of another wire type": field(1, 2, b"\x01\x07"),
    "a group": b"\x0b\x0c",
    "fixed numbers": b"\x0d\x00\x00\x00\x00",
    "a status of 0": buffer(status=field(2, 0, b"\x00")),
    "a status of 4": buffer(status=field(2, 0, b"\x04")),
    "no status": buffer(status=b""),
    "a prefix of LEGACY": buffer(prefix=field(4, 0, b"\x02")),
    "a prefix of CRUNCHY": buffer(prefix=field(4, 0, b"\x04")),
    "an asymmetric key": buffer(material=field(3, 0, b"\x02")),
    "no url": buffer(url=b""),
    "a url of no text": buffer(url=sized(1, b"\xff\xfe")),
    "a key of no size": buffer(value=b""),
    "no id": buffer(id=b""),
    "the id 0": buffer(id=field(3, 0, b"\x00")),
    "another primary": buffer(primary=b"\x08"),
    "one id twice": buffer() + buffer()[2:],
    "a byte behind": buffer() + b"\x08",
}


def sealed_text(raw):
    return json.dumps({"encryptedKeyset": b64(raw)})


@pytest.mark.parametrize("name", BUFFERS)
def test_a_hostile_buffer_under_the_right_kek_is_refused(name):
    with pytest.raises(InvalidInput) as caught:
        tink_binary.parse_encrypted(sealed_text(BUFFERS[name]), lambda raw: raw)
    assert CANARY.decode() not in caught.value.detail


def test_the_usual_buffer_is_taken_so_that_the_refusals_mean_something():
    found = tink_binary.parse_encrypted(sealed_text(buffer()), lambda raw: raw)
    assert (found.primary.key_id, found.primary.material.expose()) == (7, CANARY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"encryptedKeyset": 7}',
        '{"encryptedKeyset": null}',
        '{"encryptedKeyset": ["AAAA"]}',
        '{"encryptedKeyset": "AA"}',
        '{"encryptedKeyset": "AAAA", "encryptedKeyset": "AAAA"}',
        '{"encryptedKeyset": "\u00e9"}',
        "[" * 100_000,
        " " * (2 * MAX_KEYSET_BYTES + 1),
    ],
    ids=range(10),
)
def test_no_encrypted_keyset_reaches_the_kek_in_another_form(text):
    asked = []
    with pytest.raises(InvalidInput, match=SEALED):
        tink_binary.parse_encrypted(text, asked.append)
    assert asked == []


# properties

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = [("primaryKeyId",), ("key",), ("key", 0)]
PLACES += [("key", 0, name) for name in entry()] + [("key", 0, "keyData", name) for name in entry()["keyData"]]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_whatever_stands_in_the_place_of_a_part_a_keyset_is_taken_or_refused(place, new):
    document = json.loads(keyset(entry()))
    at = document
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = new
    try:
        found = parse_keyset(json.dumps(document))
    except InvalidInput:
        return
    assert parse_keyset(write_keyset(found)) == found


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["type", "name", "derived", "kdf", "convergent_encryption", "min_decryption_version", "keys"]), JSON
)
def test_whatever_stands_in_the_place_of_a_part_a_backup_is_taken_or_refused(name, new):
    try:
        found = parse_backup(policy(**{name: new}))
    except InvalidInput:
        return
    assert all(len(one) == 32 for one in found.keys.values()) or name == "type"
    assert described(Imported(found, ""))


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200) | st.integers(0, len(buffer()) * 8 - 1))
def test_no_buffer_ends_in_another_error_than_the_three(change):
    raw = bytearray(buffer())
    if isinstance(change, int):
        raw[change // 8] ^= 1 << change % 8
    else:
        raw = bytearray(change)
    with contextlib.suppress(InvalidInput):  # anything else ends the test
        tink_binary.parse_encrypted(sealed_text(bytes(raw)), lambda raw: raw)


def keysets():
    kinds = st.sampled_from(list(Kind))
    states = st.sampled_from([State.DECRYPT_ONLY, State.RETIRED, State.DESTROYED])
    one = st.tuples(st.integers(1, (1 << 32) - 1), kinds, states, st.booleans(), st.binary(min_size=64, max_size=64))

    def build(parts):
        made_keys = [
            TinkKey(
                key_id,
                kind,
                State.ACTIVE if place == 0 else state,
                raw,
                Secret(material[: SIZES[kind]] if place == 0 or state is not State.DESTROYED else b"", "k"),
            )
            for place, (key_id, kind, state, raw, material) in enumerate(parts)
        ]
        return Keyset(tuple(made_keys))

    return st.lists(one, min_size=1, max_size=6, unique_by=lambda parts: parts[0]).map(build)


def same(left, right):
    return left == right and [key.material.expose() for key in left.keys] == [
        key.material.expose() for key in right.keys
    ]


@settings(max_examples=150, deadline=None)
@given(keysets())
def test_json_and_buffer_give_back_what_was_written(one):
    assert same(parse_keyset(write_keyset(one)), one)
    text = tink_binary.write_encrypted(one, lambda raw: raw[::-1])
    assert same(tink_binary.parse_encrypted(text, lambda raw: raw[::-1]), one)
    shown = json.loads(text)["keysetInfo"]
    assert shown["primaryKeyId"] == one.primary.key_id
    assert "value" not in json.dumps(shown)


@settings(max_examples=100, deadline=None)
@given(keysets(), st.sampled_from(list(Use)), st.integers(0, 255))
def test_what_is_kept_comes_back_whole_and_a_rotation_loses_nothing(one, use, fill):
    numbers = iter(range(1 << 20, 1 << 21))

    def random(size):
        return (next(numbers).to_bytes(4, "big") + bytes([fill]) * size)[:size]

    kept = made(one, {}, random, use)
    back = decode(kept.encode())
    assert same(back.keyset, one)
    assert back.use is use
    assert back.nonce_keys.keys() == {key.key_id for key in one.keys if key.kind is Kind.AES256_GCM}
    turned = decode(back.rotated(random).encode())
    assert turned.use is use
    assert turned.keyset.primary.key_id not in {key.key_id for key in one.keys}
    assert turned.keyset.primary.kind is one.primary.kind
    old = {key.key_id: (key.state, key.material.expose()) for key in turned.keyset.keys[:-1]}
    for key in one.keys:
        assert old[key.key_id] == (State.DECRYPT_ONLY if key is one.primary else key.state, key.material.expose())


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_the_reader_agrees_with_the_usual_one_where_no_name_comes_twice(document):
    text = json.dumps(document)
    assert foreign_json.loads(text) == json.loads(text)


@pytest.mark.parametrize("text", ['{"a":1,"a":1}', '[{"b":{"a":1,"a":2}}]', '{"a":1,"\\u0061":2}', "NaN", "-Infinity"])
def test_the_reader_refuses_what_two_readers_take_differently(text):
    with pytest.raises(ValueError):
        foreign_json.loads(text)


@pytest.mark.parametrize(
    ("form", "text", "sentence"),
    [
        (Format.OPENBAO, policy(), "which only opens"),
        (Format.TINK, keyset(entry(kind="AesSivKey")), "which Tink refuses"),
        (Format.TINK, keyset(entry(), entry(8, kind="AesSivKey", status="DISABLED")), "which Tink refuses"),
    ],
)
def test_what_cannot_wrap_keysets_is_no_kek(form, text, sentence):
    parse(form, text, bytes, Use.VALUES)
    with pytest.raises(InvalidInput, match=sentence):
        parse(form, text, bytes, Use.KEYSETS)
