"""Keys of other systems while they are at work: what was imported, what it opens, what it may seal.

Kept as JSON {format, text, nonce_keys, use}: the keyset or backup as it came, and for each AES-GCM key of Tink that
seals a key of its own for hedged nonces (see `gcm96`). Law: a Transit key opens and never seals, since what it sealed
would be read by nobody here; GCM with 96-bit nonces is for ciphertexts of other systems alone, and each one is counted.
A KEK touches no values: whoever may seal values under it could seal a keyset of his own making and bring it in alone.
No I/O.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from guard.errors import Conflict, DoesNotOpen, InvalidEnvelope, InvalidInput, NotFound
from guard.vault import gcm96, openbao, tink
from guard.vault.gcm96 import Block, Counter
from guard.vault.keys import Secret
from guard.vault.openbao import Backup
from guard.vault.suites import DOES_NOT_OPEN, MAX_FIELD_BYTES, Random
from guard.vault.tink import Keyset, Kind, TinkKey
from guard.vault.versions import State

NOT_BASE64: Final = "Expected a ciphertext in standard padded base64, got another form; encode it again."
_MAX_CHARACTERS: Final = (MAX_FIELD_BYTES + 64) * 4 // 3 + 4
_KEY_BYTES: Final = {Kind.AES256_GCM: 32, Kind.AES256_SIV: 64, Kind.XAES: 32}
_ID_BYTES: Final = 4
_ID_TRIES: Final = 64


class Format(Enum):
    """Where keys may come from."""

    TINK = "tink"
    OPENBAO = "openbao"


class Use(Enum):
    """What an imported key serves."""

    VALUES = "values"
    KEYSETS = "keysets"


@dataclass(frozen=True, slots=True)
class Imported:
    """A keyset or a backup, and the keys of hedged nonces by key id."""

    keys: Keyset | Backup
    text: str = field(repr=False)
    nonce_keys: Mapping[int, Secret] = field(default_factory=dict, compare=False)
    use: Use = Use.VALUES

    @property
    def format(self) -> Format:
        """Where it came from."""
        return Format.TINK if isinstance(self.keys, Keyset) else Format.OPENBAO

    @property
    def keyset(self) -> Keyset:
        """The keyset of Tink.

        Raises:
            Conflict: it is a key of Transit.
        """
        if isinstance(self.keys, Backup):
            raise Conflict(
                "Expected a keyset of Tink, got a Transit key, which only opens; move its values to a field."
            )
        return self.keys

    def encode(self) -> bytes:
        """The form that is kept. It holds the keys themselves."""
        nonces = {str(key_id): base64.b64encode(key.expose()).decode() for key_id, key in self.nonce_keys.items()}
        kept = {"format": self.format.value, "text": self.text, "nonce_keys": nonces, "use": self.use.value}
        return json.dumps(kept).encode()

    def open(self, ciphertext: str, associated: bytes, derivation: bytes) -> bytes:
        """The plaintext of one ciphertext.

        Raises:
            DoesNotOpen: another key, version, associated data, derivation context or body; one text for all of them.
            InvalidEnvelope: no ciphertext of this format.
        """
        if isinstance(self.keys, Backup):
            try:
                return self.keys.decrypt(ciphertext, associated=associated, context=derivation)
            except NotFound:  # the version stands in the ciphertext, and a changed one must not answer otherwise
                raise DoesNotOpen(DOES_NOT_OPEN) from None
        if derivation:
            raise DoesNotOpen(DOES_NOT_OPEN)
        return self.keys.decrypt(associated, _decoded(ciphertext))

    def sealer(self, block: Callable[[], Block], random: Random) -> Callable[[bytes, bytes], bytes]:
        """A function (associated data, plaintext) -> ciphertext under the primary key; *block* reserves nonces."""
        key = self.keyset.primary
        if key.kind is not Kind.AES256_GCM:
            return lambda associated, plaintext: key.encrypt(associated, plaintext, random)
        nonce_key = self.nonce_keys[key.key_id].expose()
        sealer = gcm96.Sealer(key.material.expose(), nonce_key, Counter(block), random)
        return lambda associated, plaintext: key.prefix + sealer.seal(associated, plaintext)

    def rotated(self, random: Random) -> "Imported":
        """With a new primary key of the same kind; those before it only open.

        Raises:
            Conflict: it is a key of Transit, or holds as many keys as a keyset may.
        """
        old = self.keyset
        if len(old.keys) >= tink.MAX_KEYS:
            raise Conflict(f"Expected a keyset below {tink.MAX_KEYS} keys, got a full one; import a new keyset.")
        taken, kind = {key.key_id for key in old.keys}, old.primary.kind
        key_id = _fresh_id(random, taken)
        fresh = TinkKey(key_id, kind, State.ACTIVE, old.primary.raw, Secret(random(_KEY_BYTES[kind]), f"Tink {key_id}"))
        older = (replace(key, state=State.DECRYPT_ONLY) if key == old.primary else key for key in old.keys)
        return made(Keyset((*older, fresh)), self.nonce_keys, random, self.use)


def parse(form: Format, text: str, random: Random, use: Use = Use.VALUES) -> Imported:
    """A keyset or backup as it comes from elsewhere.

    Raises:
        InvalidInput: it has not this form, or cannot serve this.
    """
    if form is Format.OPENBAO:
        if use is Use.KEYSETS:
            raise InvalidInput("Expected a keyset of Tink as a KEK, got a backup of a Transit key, which only opens.")
        return Imported(openbao.parse_backup(text.strip()), text.strip())
    keyset = tink.parse_keyset(text)
    if use is Use.KEYSETS and any(key.kind is Kind.AES256_SIV for key in keyset.keys):
        raise InvalidInput("Expected a KEK of AES-GCM or XAES, got a keyset with AES-SIV, which Tink refuses.")
    return made(keyset, {}, random, use)


def made(keyset: Keyset, nonce_keys: Mapping[int, Secret], random: Random, use: Use = Use.VALUES) -> Imported:
    """A keyset with a nonce key for each AES-GCM key that lacks one."""
    lacking = [key.key_id for key in keyset.keys if key.kind is Kind.AES256_GCM and key.key_id not in nonce_keys]
    fresh = {key_id: Secret(random(gcm96.KEY_BYTES), f"nonce key {key_id}") for key_id in lacking}
    return Imported(keyset, tink.write_keyset(keyset), {**nonce_keys, **fresh}, use)


def decode(raw: bytes) -> Imported:
    """What `Imported.encode` wrote."""
    document = json.loads(raw)
    nonces = {
        int(key_id): Secret(base64.b64decode(key), f"nonce key {key_id}")
        for key_id, key in document["nonce_keys"].items()
    }
    text = document["text"]
    if Format(document["format"]) is Format.OPENBAO:
        return Imported(openbao.parse_backup(text), text)
    return Imported(tink.parse_keyset(text), text, nonces, Use(document["use"]))


def described(imported: Imported) -> Sequence[dict[str, Any]]:
    """Each key by id, kind and state; nothing of its bytes."""
    if isinstance(imported.keys, Backup):
        backup, newest = imported.keys, max(imported.keys.keys)
        usable = range(backup.min_decryption_version, newest + 1)
        states = {version: "decrypt_only" if version in usable else "retired" for version in sorted(backup.keys)}
        kind = backup.type.name.lower() + ("_convergent" if backup.convergent else "_derived" if backup.derived else "")
        return [{"id": version, "kind": kind, "state": state} for version, state in states.items()]
    return [{"id": key.key_id, "kind": key.kind.name.lower(), "state": key.state.value} for key in imported.keyset.keys]


def _decoded(ciphertext: str) -> bytes:
    if len(ciphertext) > _MAX_CHARACTERS:
        raise InvalidEnvelope(NOT_BASE64)
    try:
        raw = base64.b64decode(ciphertext, validate=True)
    except ValueError:
        raise InvalidEnvelope(NOT_BASE64) from None
    if base64.b64encode(raw).decode() != ciphertext:
        raise InvalidEnvelope(NOT_BASE64)
    return raw


def _fresh_id(random: Random, taken: set[int]) -> int:
    for _ in range(_ID_TRIES):
        found = int.from_bytes(random(_ID_BYTES), "big")
        if found and found not in taken:
            return found
    raise InvalidInput("Expected a random number that is no key id yet, got none; check this machine's random source.")
