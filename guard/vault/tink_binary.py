"""Keysets of Tink that are encrypted under a key-encrypting key (KEK): read and written.

The text is the JSON of `EncryptedKeyset`: base64 of the ciphertext, and `keysetInfo`, which names the keys without
their bytes. The plaintext is the protocol buffer `Keyset {1: primary id, 2: key {1: data {1: url, 2: value, 3: kind},
2: status, 3: id, 4: prefix}}`, encrypted by an AEAD of Tink with no associated data. Law: `keysetInfo` is authenticated
by nothing, so it is written for others and never read; unknown fields of a buffer are refused, since a field that is
skipped could say that a key is none of these. No I/O.
"""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from guard.errors import InvalidInput
from guard.vault import foreign_json
from guard.vault.tink import MAX_KEYSET_BYTES, Keyset, parse_keyset, write_keyset

STATUS: Final = {1: "ENABLED", 2: "DISABLED", 3: "DESTROYED"}
PREFIX: Final = {1: "TINK", 3: "RAW"}
SYMMETRIC: Final = {1: "SYMMETRIC"}
_VARINT, _BYTES = 0, 2
_MAX_VARINT_BYTES: Final = 10
_MORE: Final = 0x80  # set in each byte of a number but the last
_REFUSED: Final = "Expected an encrypted keyset of Tink in JSON under this KEK, got another text; export it again."

Fields = dict[int, list[Any]]


def write_encrypted(keyset: Keyset, encrypt: Callable[[bytes], bytes]) -> str:
    """The keyset as Tink reads it with the KEK that *encrypt* uses."""
    document = json.loads(write_keyset(keyset))
    info = [
        {
            "typeUrl": one["keyData"]["typeUrl"],
            "status": one["status"],
            "keyId": one["keyId"],
            "outputPrefixType": one["outputPrefixType"],
        }
        for one in document["key"]
    ]
    sealed = base64.b64encode(encrypt(to_binary(document))).decode()
    return json.dumps(
        {"encryptedKeyset": sealed, "keysetInfo": {"primaryKeyId": document["primaryKeyId"], "keyInfo": info}}
    )


def parse_encrypted(text: str, decrypt: Callable[[bytes], bytes]) -> Keyset:
    """The keys of an encrypted keyset.

    Raises:
        InvalidInput: no JSON of this form, or no keyset in it.
        DoesNotOpen: what *decrypt* raises for another KEK.
    """
    if len(text) > 2 * MAX_KEYSET_BYTES:
        raise InvalidInput(_REFUSED)
    try:
        sealed = base64.b64decode(foreign_json.loads(text)["encryptedKeyset"], validate=True)
    except (ValueError, KeyError, TypeError):
        raise InvalidInput(_REFUSED) from None
    raw = decrypt(sealed)
    try:
        document = from_binary(raw)
    except (ValueError, KeyError, IndexError):
        raise InvalidInput(_REFUSED) from None
    return parse_keyset(json.dumps(document))


def to_binary(document: dict[str, Any]) -> bytes:
    """The protocol buffer of a keyset in JSON."""
    parts = [_number(1, document["primaryKeyId"])]
    for key in document["key"]:
        data = _bytes(1, key["keyData"]["typeUrl"].encode())
        data += _bytes(2, base64.b64decode(key["keyData"]["value"])) + _number(3, 1)
        body = _bytes(1, data) + _number(2, _code(STATUS, key["status"])) + _number(3, key["keyId"])
        parts.append(_bytes(2, body + _number(4, _code(PREFIX, key["outputPrefixType"]))))
    return b"".join(parts)


def from_binary(raw: bytes) -> dict[str, Any]:
    """A keyset in JSON from its protocol buffer; ValueError, KeyError or IndexError for anything else."""
    top = _fields(raw, {1: _VARINT, 2: _BYTES})
    return {"primaryKeyId": _last(top, 1), "key": [_key(one) for one in top.get(2, [])]}


def _key(raw: bytes) -> dict[str, Any]:
    found = _fields(raw, {1: _BYTES, 2: _VARINT, 3: _VARINT, 4: _VARINT})
    data = _fields(_last(found, 1), {1: _BYTES, 2: _BYTES, 3: _VARINT})
    return {
        "keyData": {
            "typeUrl": _last(data, 1).decode(),
            "value": base64.b64encode(data.get(2, [b""])[-1]).decode(),  # a destroyed key has none
            "keyMaterialType": SYMMETRIC[_last(data, 3)],
        },
        "status": STATUS[_last(found, 2)],
        "keyId": _last(found, 3),
        "outputPrefixType": PREFIX[_last(found, 4)],
    }


def _code(names: dict[int, str], name: str) -> int:
    return next(number for number, known in names.items() if known == name)


def _last(found: Fields, number: int) -> Any:
    return found[number][-1]  # as protocol buffers have it, the last one counts


def _fields(raw: bytes, known: dict[int, int]) -> Fields:
    found: Fields = {}
    reader = _Reader(raw)
    for number, kind in reader.tags():
        if known.get(number) != kind:
            raise ValueError
        found.setdefault(number, []).append(reader.varint() if kind == _VARINT else reader.take(reader.varint()))
    return found


class _Reader:
    """Reads a protocol buffer from its beginning."""

    __slots__ = ("_at", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def tags(self) -> Iterator[tuple[int, int]]:
        """Field number and wire type of each field; its value is read before the next one is asked for."""
        while self._at < len(self._raw):
            tag = self.varint()
            yield tag >> 3, tag & 7

    def varint(self) -> int:
        """The next number."""
        number = 0
        for place in range(_MAX_VARINT_BYTES):
            byte = self._raw[self._at]
            self._at += 1
            number |= (byte & ~_MORE) << 7 * place
            if byte < _MORE:
                return number
        raise ValueError

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size > len(self._raw) - self._at:
            raise ValueError
        self._at += size
        return self._raw[self._at - size : self._at]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= _MORE:
        out.append(number % _MORE | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value
