"""Keysets and ciphertexts of Tink (developers.google.com/tink/wire-format): read and written, both ways.

Ciphertext: 0x01 | key id u32 big-endian | AES-GCM nonce 12, ciphertext, tag 16; or AES-SIV siv 16, ciphertext; or XAES
nonce 24, ciphertext, tag 16. A key of the prefix type RAW writes the part after the prefix alone. Keyset: the JSON form
of Tink's protocol buffers, whose `value` is one small message per key; only the three key types below are known.
Law: the prefix is a hint and authenticated by nothing, so it chooses keys and proves none; two keys of one id are
refused. A cleartext keyset is key material: whoever hands one out asks a second person first. No I/O.
"""

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from guard.errors import DoesNotOpen, InternalError, InvalidInput
from guard.vault import foreign_json, xaes
from guard.vault.keys import Secret
from guard.vault.suites import DOES_NOT_OPEN, Random
from guard.vault.versions import State

MAX_KEYS: Final = 1000
"""A keyset of daily rotations over three years; each unmatched RAW key costs one try per ciphertext."""
MAX_KEYSET_BYTES: Final = 1 << 20

_PREFIX: Final = struct.Struct(">BI")
_START: Final = 1
_GCM_NONCE: Final = 12
_TAG: Final = 16
_XAES_SALT: Final = b"\x12\x02\x08\x0c"  # XAesGcmParams {salt_size: 12}, the one size that is XAES-256-GCM
_URL: Final = "type.googleapis.com/google.crypto.tink."
_U32_END: Final = 1 << 32


class Kind(Enum):
    """Key types by their name in a keyset."""

    AES256_GCM = "AesGcmKey"
    AES256_SIV = "AesSivKey"
    XAES = "XAesGcmKey"


_HEADS: Final = {Kind.AES256_GCM: b"\x1a\x20", Kind.AES256_SIV: b"\x12\x40", Kind.XAES: _XAES_SALT + b"\x1a\x20"}
"""The bytes of the protocol buffer in front of the key: field number, wire type 2 and length; version 0 is absent."""
_STATUS: Final = {
    "ENABLED": State.DECRYPT_ONLY,
    "DISABLED": State.RETIRED,
    "DESTROYED": State.DESTROYED,
}


@dataclass(frozen=True, slots=True)
class TinkKey:
    """One key of a keyset. `material` is empty where the state is destroyed."""

    key_id: int
    kind: Kind
    state: State
    raw: bool
    """Its ciphertexts have no prefix."""
    material: Secret = field(compare=False)

    @property
    def prefix(self) -> bytes:
        """What its ciphertexts begin with."""
        return b"" if self.raw else _PREFIX.pack(_START, self.key_id)

    def encrypt(self, associated: bytes, plaintext: bytes, random: Random) -> bytes:
        """A ciphertext that Tink opens under this key."""
        prefix = self.prefix
        key = self.material.expose()
        if self.kind is Kind.AES256_SIV:
            return prefix + AESSIV(key).encrypt(plaintext, [associated])
        if self.kind is Kind.XAES:
            nonce = random(xaes.NONCE_BYTES)
            return prefix + nonce + xaes.encrypt(key, nonce, associated, plaintext)
        nonce = random(_GCM_NONCE)
        return prefix + nonce + AESGCM(key).encrypt(nonce, plaintext, associated)

    def decrypt(self, associated: bytes, body: bytes) -> bytes:
        """The plaintext of what stands after the prefix; InvalidTag for everything else."""
        key = self.material.expose()
        if self.kind is Kind.AES256_SIV:
            return AESSIV(key).decrypt(body, [associated])
        if self.kind is Kind.XAES:
            return xaes.decrypt(key, associated, body)
        if len(body) < _GCM_NONCE + _TAG:
            raise InvalidTag
        return AESGCM(key).decrypt(body[:_GCM_NONCE], body[_GCM_NONCE:], associated)


@dataclass(frozen=True, slots=True)
class Keyset:
    """Keys in their order; exactly one of them is active."""

    keys: tuple[TinkKey, ...]

    def __post_init__(self) -> None:
        """Raises InvalidInput for two keys of one id, or for no or two active ones."""
        if len({key.key_id for key in self.keys}) != len(self.keys):
            raise InvalidInput("Expected keys with different ids in a keyset, got one id twice.")
        if sum(key.state is State.ACTIVE for key in self.keys) != 1:
            raise InvalidInput("Expected a keyset with one enabled primary key, got another number.")

    @property
    def primary(self) -> TinkKey:
        """The key that seals."""
        return next(key for key in self.keys if key.state is State.ACTIVE)

    def decrypt(self, associated: bytes, ciphertext: bytes) -> bytes:
        """The plaintext of a ciphertext of any key that may open.

        Raises:
            DoesNotOpen: no key opens it.
        """
        for key, body in self._candidates(ciphertext):
            try:
                return key.decrypt(associated, body)
            except InvalidTag:
                continue
        raise DoesNotOpen(DOES_NOT_OPEN)

    def _candidates(self, ciphertext: bytes) -> Iterator[tuple[TinkKey, bytes]]:
        usable = [key for key in self.keys if key.state in {State.ACTIVE, State.DECRYPT_ONLY}]
        if len(ciphertext) >= _PREFIX.size and ciphertext[0] == _START:
            key_id = _PREFIX.unpack_from(ciphertext)[1]
            yield from ((one, ciphertext[_PREFIX.size :]) for one in usable if not one.raw and one.key_id == key_id)
        yield from ((one, ciphertext) for one in usable if one.raw)


def parse_keyset(text: str | bytes) -> Keyset:
    """The keys of a cleartext keyset in JSON.

    Raises:
        InvalidInput: no JSON of this form, over 1 MiB or 1000 keys, or a key type, size or prefix that is not known.
    """
    if len(text) > MAX_KEYSET_BYTES:
        raise InvalidInput(f"Expected a keyset of at most {MAX_KEYSET_BYTES} bytes, got {len(text)}.")
    try:
        document = foreign_json.loads(text)
        entries, primary = document["key"], document["primaryKeyId"]
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_KEYS or type(primary) is not int:
            raise InvalidInput(f"Expected a keyset of 1 to {MAX_KEYS} keys, got another; export it again.")
        return Keyset(tuple(_parse_key(entry, primary) for entry in entries))
    except (ValueError, KeyError, TypeError, AttributeError):  # of whatever stands where a text or a key should
        raise InvalidInput("Expected a cleartext keyset of Tink in JSON, got another text; export it again.") from None


def _parse_key(entry: dict[str, Any], primary: int) -> TinkKey:
    key_id, data, state = entry["keyId"], entry["keyData"], _STATUS[entry["status"]]
    head, _, name = data["typeUrl"].rpartition(_URL)
    if head or data["typeUrl"] == name:
        raise ValueError
    kind = Kind(name)
    raw = {"TINK": False, "RAW": True}[entry["outputPrefixType"]]
    if type(key_id) is not int or not 0 < key_id < _U32_END or data["keyMaterialType"] != "SYMMETRIC":
        raise ValueError
    material = b"" if state is State.DESTROYED else _parse_value(kind, data["value"])
    if key_id == primary and state is State.DECRYPT_ONLY:
        state = State.ACTIVE
    return TinkKey(key_id, kind, state, raw, Secret(material, f"Tink key {key_id}"))


def _parse_value(kind: Kind, text: str) -> bytes:
    value, head = base64.b64decode(text, validate=True), _HEADS[kind]
    if not value.startswith(head) or len(value) != len(head) + head[-1]:
        raise ValueError
    return value[len(head) :]


def write_keyset(keyset: Keyset) -> str:
    """The cleartext keyset in JSON, as Tink reads it. It holds the keys themselves."""
    return json.dumps({"primaryKeyId": keyset.primary.key_id, "key": [_entry(key) for key in keyset.keys]})


def _entry(key: TinkKey) -> dict[str, Any]:
    status = {State.ACTIVE: "ENABLED"} | {state: name for name, state in _STATUS.items()}
    if key.state not in status:
        raise InternalError(f"A key that is {key.state.value} has no state in Tink.")
    head = _HEADS[key.kind]
    if key.state is not State.DESTROYED and len(key.material) != head[-1]:
        raise InternalError(f"A key of {key.kind.value} has {head[-1]} bytes; {len(key.material)} came.")
    value = b"" if key.state is State.DESTROYED else head + key.material.expose()
    return {
        "keyData": {
            "typeUrl": _URL + key.kind.value,
            "value": base64.b64encode(value).decode(),
            "keyMaterialType": "SYMMETRIC",
        },
        "status": status[key.state],
        "keyId": key.key_id,
        "outputPrefixType": "RAW" if key.raw else "TINK",
    }
