"""Sealing in the client under a field's public key: whoever seals here cannot read it back.

HPKE base mode (RFC 9180) over the canonical context of the cell, in the envelope of sealed values; the server writes
both out as well and the tests hold the two to each other. Law: nothing secret is needed here and nothing is kept.
"""

import base64
import struct
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PublicKey, Suite

from guard.errors import InvalidInput

PREFIX: Final = b"guard/ctx/1\0"
TEXT_PREFIX: Final = "gd1."

_LATTICE_BYTES: Final = 1184
_PADDED: Final = 2
_FLAGS_AT: Final = 3
_TEXT: Final = b"\x01"
_INTEGER: Final = b"\x03"
_X25519: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_HYBRID: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class FieldSealer:
    """Seals values of one field: `FieldSealer(client.call("fields.read_ingest_key", field="customers.email"))`."""

    def __init__(self, key: Mapping[str, Any]) -> None:
        """*key* is the answer of `fields.read_ingest_key`.

        Raises:
            InvalidInput: it is no such answer.
        """
        try:
            self._names = tuple(sorted(key["bind"]))
            self._shared = {name: str(key[name]) for name in ("tenant", "table", "column")}
            self._header = bytes.fromhex(key["header"])
            self._pad_step = int(key["pad_step"])
            self._encrypt = _encryptor(key["kem"], base64.b64decode(key["public_key"], validate=True))
        except (KeyError, TypeError, ValueError):
            raise InvalidInput(
                "Expected the answer of fields.read_ingest_key, got another; ask for it again."
            ) from None

    def seal(self, value: str | bytes, **cell: str | int) -> str:
        """The sealed text of one value for the cell `row=...` or `subject=...`, as the field's policy binds it.

        Raises:
            InvalidInput: the cell is not named by exactly what the policy binds, or a name is empty.
        """
        if tuple(sorted(cell)) != self._names or "" in cell.values():
            raise InvalidInput(f"Expected a cell named by {', '.join(self._names) or 'nothing'}; correct it.")
        plaintext, header = value.encode() if isinstance(value, str) else value, self._header
        if self._pad_step:
            plaintext += b"\x80" + bytes(-(len(plaintext) + 1) % self._pad_step)
            header = header[:_FLAGS_AT] + bytes([header[_FLAGS_AT] | _PADDED]) + header[_FLAGS_AT + 1 :]
        raw = header + self._encrypt(plaintext, _context(header, self._shared | cell))
        return TEXT_PREFIX + b2a_base64(raw, newline=False).decode().translate({43: "-", 47: "_", 61: None})


def _encryptor(kem: str, public: bytes) -> Callable[[bytes, bytes], bytes]:
    if kem == "x25519":
        simple = X25519PublicKey.from_public_bytes(public)
        return lambda plaintext, info: _X25519.encrypt(plaintext, simple, info)
    if kem != "mlkem768_x25519":
        raise ValueError
    hybrid = MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:_LATTICE_BYTES]),
        X25519PublicKey.from_public_bytes(public[_LATTICE_BYTES:]),
    )
    return lambda plaintext, info: _HYBRID.encrypt(plaintext, hybrid, info)


def _context(header: bytes, fields: Mapping[str, str | int]) -> bytes:
    parts = [PREFIX, header, struct.pack(">I", len(fields))]
    for name in sorted(fields):
        parts += (_sized(name.encode()), _value(fields[name]))
    return b"".join(parts)


def _value(value: str | int) -> bytes:
    try:
        if isinstance(value, str):
            return _TEXT + _sized(value.encode())
        return _INTEGER + _sized(value.to_bytes(8, "big", signed=True))
    except (UnicodeEncodeError, OverflowError):
        raise InvalidInput("Expected a cell named by valid text or a 64-bit number; correct it.") from None


def _sized(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw
