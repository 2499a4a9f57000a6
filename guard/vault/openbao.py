"""Key backups and ciphertexts of the Transit engine of OpenBao and Vault, read for import; nothing is written here.

Backup: base64 of JSON {policy {name, type, derived, convergent_encryption, keys {"1": {key, ...}}, ...}}. Ciphertext:
`vault:v<version>:` and standard base64 of nonce 12 | ciphertext | tag 16, with the associated data as given. A derived
key is HKDF-SHA256 (RFC 5869) of the stored one, no salt, the context as info: 32 bytes, or 64 for convergent
encryption, of which the first half encrypts. Law: one spelling per ciphertext; versions with a sign, a leading zero or
beyond 32 bits are refused (v0 is 1, as in the peer), and so is base64 that is not canonical. No I/O.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from guard.errors import DoesNotOpen, InvalidEnvelope, InvalidInput, NotFound
from guard.vault import foreign_json
from guard.vault.keys import Secret
from guard.vault.suites import DOES_NOT_OPEN, MAX_FIELD_BYTES

MAX_BACKUP_CHARACTERS: Final = 16 << 20
"""A key of ten thousand versions; above it no memory is spent."""
MAX_VERSIONS: Final = 10_000
"""All are read for each request; ten thousand take 62 ms (measured). Turned hourly, a key has them in a year."""
MAX_VERSION: Final = (1 << 32) - 1

_CIPHERTEXT: Final = re.compile(r"vault:v(0|[1-9][0-9]{0,9}):([A-Za-z0-9+/]*={0,2})")
_MAX_CIPHERTEXT_CHARACTERS: Final = (MAX_FIELD_BYTES + 64) * 4 // 3 + 32
_NONCE: Final = 12
_TAG: Final = 16
_HKDF: Final = 1  # the number that a policy's `kdf` has for it; 0 is an older one over HMAC counters
_CONVERGENT_BYTES: Final = 64


class KeyType(IntEnum):
    """The symmetric types by their number in a backup."""

    AES256_GCM96 = 0
    CHACHA20_POLY1305 = 5
    AES128_GCM96 = 8


_KEY_BYTES: Final = {KeyType.AES256_GCM96: 32, KeyType.CHACHA20_POLY1305: 32, KeyType.AES128_GCM96: 16}


def parse_ciphertext(text: str) -> tuple[int, bytes]:
    """Version and body of a ciphertext.

    Raises:
        InvalidEnvelope: another form, or a spelling that is not the canonical one.
    """
    found = _CIPHERTEXT.fullmatch(text) if len(text) <= _MAX_CIPHERTEXT_CHARACTERS else None
    if found is None or int(found[1]) > MAX_VERSION:
        raise InvalidEnvelope("Expected vault:v<version>: and standard base64, got another text.")
    try:
        body = base64.b64decode(found[2], validate=True)
    except ValueError:
        body = b""
    if base64.b64encode(body).decode() != found[2]:
        raise InvalidEnvelope("Expected standard base64 in its one canonical spelling after the version, got another.")
    return int(found[1]) or 1, body


@dataclass(frozen=True, slots=True)
class Backup:
    """A named key with its versions."""

    name: str
    type: KeyType
    derived: bool
    convergent: bool
    min_decryption_version: int
    keys: Mapping[int, Secret] = field(compare=False)

    def decrypt(self, text: str, *, associated: bytes = b"", context: bytes = b"") -> bytes:
        """The plaintext of a ciphertext of the peer; *context* belongs to derived keys only.

        Raises:
            InvalidEnvelope: as `parse_ciphertext`.
            NotFound: the version is not in the backup, or below the least that may decrypt.
            DoesNotOpen: any other key, associated data, context or body.
        """
        version, body = parse_ciphertext(text)
        if version not in self.keys or version < self.min_decryption_version:
            raise NotFound(f"There is no usable version {version} of {self.name} in this backup.")
        if len(body) < _NONCE + _TAG or self.derived != bool(context):
            raise DoesNotOpen(DOES_NOT_OPEN)
        cipher = ChaCha20Poly1305 if self.type is KeyType.CHACHA20_POLY1305 else AESGCM
        try:
            return cipher(self._key(version, context)).decrypt(body[:_NONCE], body[_NONCE:], associated)
        except InvalidTag:
            raise DoesNotOpen(DOES_NOT_OPEN) from None

    def _key(self, version: int, context: bytes) -> bytes:
        key, size = self.keys[version].expose(), _KEY_BYTES[self.type]
        if not self.derived:
            return key
        length = _CONVERGENT_BYTES if self.convergent else size
        return HKDF(SHA256(), length, salt=None, info=context).derive(key)[:size]


def parse_backup(text: str) -> Backup:
    """The key of a backup.

    Raises:
        InvalidInput: no backup of a symmetric key, or one whose derivation is not HKDF.
    """
    if len(text) > MAX_BACKUP_CHARACTERS:
        raise InvalidInput(f"Expected a backup of at most {MAX_BACKUP_CHARACTERS} characters, got {len(text)}.")
    try:
        return _backup(foreign_json.loads(base64.b64decode(text, validate=True))["policy"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput(
            "Expected the backup of a Transit key of type aes256-gcm96, aes128-gcm96 or chacha20-poly1305 (symmetric), "
            "got another text; export it again."
        ) from None


def _backup(policy: dict[str, Any]) -> Backup:
    number, name, derived = policy["type"], policy["name"], policy["derived"]
    convergent, least = policy["convergent_encryption"], policy["min_decryption_version"]
    if type(name) is not str or {type(derived), type(convergent)} != {bool} or {type(least), type(number)} != {int}:
        raise ValueError
    if (derived and policy["kdf"] != _HKDF) or not 1 <= len(policy["keys"]) <= MAX_VERSIONS:
        raise ValueError
    kind = KeyType(number)
    keys = {}
    for version, entry in policy["keys"].items():
        material = base64.b64decode(entry["key"], validate=True)
        if not re.fullmatch(r"[1-9][0-9]{0,9}", version) or len(material) != _KEY_BYTES[kind]:
            raise ValueError
        if int(version) > MAX_VERSION:  # no ciphertext can name it
            raise ValueError
        keys[int(version)] = Secret(material, f"{name} version {version} of a Transit backup")
    return Backup(name, kind, derived, convergent, least, keys)
