"""The suites that write envelopes, by their byte. Each seals under one key and one context and opens only in both.

1 CBL256: Cobblestone-256 of c2sp.org/chunked-encryption, a key per message, commits to key and context.
2 XAES: XAES-256-GCM of c2sp.org/XAES-256-GCM, 32 bytes shorter; not committing, the header fixes the one key.
3 SIV: AES-256-SIV, RFC 5297, with exactly one associated-data string; the only deterministic suite.
5 SEAL: HPKE, RFC 9180, under a public key; for values on their way in, never for what a field keeps.
6 FF1: NIST SP 800-38G, where a value must keep its format; the one that authenticates nothing and has no header.
7 LEASED: suite 1 under a leased key, whose wrap stands in front; see `leases`.
Law: every failure to open is one error with one text, whatever the cause; a caller who could tell a wrong key from a
changed tag has an oracle. Deterministic output comes only from SIV, whose synthetic value covers every input: a 96-bit
nonce computed from the plaintext alone would repeat under two contexts and give away the GHASH key.
The salt of suite 1 and the ephemeral key of suite 5 are drawn inside the library; other randomness is an argument.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from guard.errors import BodyTooLarge, DoesNotOpen, InternalError, InvalidEnvelope
from guard.vault import hpke, xaes
from guard.vault.envelope import SuiteId
from guard.vault.hpke import Kem

Transform = Callable[[bytes, bytes], bytes]
"""(context, plaintext or body) -> body or plaintext, under a key that was bound before."""

Random = Callable[[int], bytes]
"""Fresh bytes of a cryptographic source; none is given twice."""

DOES_NOT_OPEN: Final = "ciphertext does not open in this context"
MAX_FIELD_BYTES: Final = 1 << 20
"""A field is held in memory whole, many times over in a batch; what is larger is a file."""

_CHUNK_BYTES: Final = 16 * 1024
_TAG_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Suite:
    """What one suite needs and costs. `body_overhead` holds for plaintexts under 16 KiB, without the header."""

    id: SuiteId
    name: str
    key_bytes: int
    body_overhead: int
    tag_every_bytes: int
    deterministic: bool
    bind_sealer: Callable[[bytes | bytearray, Random | None], Transform]
    bind_opener: Callable[[bytes | bytearray], Transform]
    bind_row: Callable[[bytes | bytearray], Callable[[bytes, Sequence[bytes]], list[bytes]]] | None = None
    """(context, plaintexts) -> bodies, where the cipher is so fast that a call for each costs a third of its time."""

    def sealer(self, key: bytes | bytearray, random: Random | None = None) -> Transform:
        """A function (context, plaintext) -> body under `key`; it raises BodyTooLarge over 1 MiB.

        Raises:
            InternalError: the key has not the suite's length, or the suite draws a nonce and no `random` came.
        """
        self._check_key(key)
        return self.bind_sealer(key, random)

    def opener(self, key: bytes | bytearray) -> Transform:
        """A function (context, body) -> plaintext under `key`; it raises DoesNotOpen for every failure.

        Raises:
            InternalError: the key has not the suite's length.
        """
        self._check_key(key)
        return self.bind_opener(key)

    def seal(self, key: bytes | bytearray, context: bytes, plaintext: bytes, random: Random | None = None) -> bytes:
        """The body of one value.

        Raises:
            BodyTooLarge: the plaintext has more than 1 MiB.
        """
        return self.sealer(key, random)(context, plaintext)

    def open(self, key: bytes | bytearray, context: bytes, body: bytes) -> bytes:
        """The plaintext of one body.

        Raises:
            DoesNotOpen: another key or context, or a changed, cut or lengthened body.
        """
        return self.opener(key)(context, body)

    def overhead(self, plaintext_bytes: int) -> int:
        """By how many bytes the body is longer than a plaintext of this size."""
        return self.body_overhead + (
            plaintext_bytes // self.tag_every_bytes * _TAG_BYTES if self.tag_every_bytes else 0
        )

    def _check_key(self, key: bytes | bytearray) -> None:
        if len(key) != self.key_bytes:
            raise InternalError(f"Suite {self.name} takes a key of {self.key_bytes} bytes; {len(key)} came.")


def _too_large(plaintext: bytes) -> BodyTooLarge:
    return BodyTooLarge(
        f"A field has at most {MAX_FIELD_BYTES} bytes; {len(plaintext)} came.", hint="Seal it as a file."
    )


def _cobblestone_sealer(key: bytes | bytearray, _random: Random | None) -> Transform:
    def seal(context: bytes, plaintext: bytes) -> bytes:
        if len(plaintext) > MAX_FIELD_BYTES:
            raise _too_large(plaintext)
        encryptor = Cobblestone256Encryptor(key, context)
        return encryptor.update(plaintext) + encryptor.finalize()

    return seal


def _cobblestone_opener(key: bytes | bytearray) -> Transform:
    def open_body(context: bytes, body: bytes) -> bytes:
        try:
            decryptor = Cobblestone256Decryptor(key, context)
            # Whole chunks come out before the end is proved; nothing leaves this expression unless finalize agrees.
            return decryptor.update(body) + decryptor.finalize()
        except InvalidTag:
            raise DoesNotOpen(DOES_NOT_OPEN) from None

    return open_body


def _xaes_sealer(key: bytes | bytearray, random: Random | None) -> Transform:
    if random is None:
        raise InternalError("The suite xaes draws a nonce for each value; give it the source of randomness.")

    def seal(context: bytes, plaintext: bytes) -> bytes:
        if len(plaintext) > MAX_FIELD_BYTES:
            raise _too_large(plaintext)
        nonce = random(xaes.NONCE_BYTES)
        return nonce + xaes.encrypt(key, nonce, context, plaintext)

    return seal


def _xaes_opener(key: bytes | bytearray) -> Transform:
    def open_body(context: bytes, body: bytes) -> bytes:
        try:
            return xaes.decrypt(key, context, body)
        except InvalidTag:
            raise DoesNotOpen(DOES_NOT_OPEN) from None

    return open_body


def _siv_sealer(key: bytes | bytearray, _random: Random | None) -> Transform:
    cipher = AESSIV(key)

    def seal(context: bytes, plaintext: bytes) -> bytes:
        if len(plaintext) > MAX_FIELD_BYTES:
            raise _too_large(plaintext)
        return cipher.encrypt(plaintext, [context])

    return seal


def _siv_row(key: bytes | bytearray) -> Callable[[bytes, Sequence[bytes]], list[bytes]]:
    encrypt = AESSIV(key).encrypt

    def seal(context: bytes, plaintexts: Sequence[bytes]) -> list[bytes]:
        parts = [context]
        return [encrypt(plaintext, parts) for plaintext in plaintexts]

    return seal


def _siv_opener(key: bytes | bytearray) -> Transform:
    cipher = AESSIV(key)

    def open_body(context: bytes, body: bytes) -> bytes:
        try:
            return cipher.decrypt(body, [context])
        except InvalidTag:
            raise DoesNotOpen(DOES_NOT_OPEN) from None

    return open_body


CBL256: Final = Suite(
    id=SuiteId.CBL256,
    name="cbl256",
    key_bytes=32,
    body_overhead=24 + 32 + _TAG_BYTES,
    tag_every_bytes=_CHUNK_BYTES,
    deterministic=False,
    bind_sealer=_cobblestone_sealer,
    bind_opener=_cobblestone_opener,
)
XAES: Final = Suite(
    id=SuiteId.XAES,
    name="xaes",
    key_bytes=xaes.KEY_BYTES,
    body_overhead=xaes.NONCE_BYTES + xaes.TAG_BYTES,
    tag_every_bytes=0,
    deterministic=False,
    bind_sealer=_xaes_sealer,
    bind_opener=_xaes_opener,
)
SIV: Final = Suite(
    id=SuiteId.SIV,
    name="siv",
    key_bytes=64,
    body_overhead=_TAG_BYTES,
    tag_every_bytes=0,
    deterministic=True,
    bind_sealer=_siv_sealer,
    bind_opener=_siv_opener,
    bind_row=_siv_row,
)


def _hpke_suite(kem: Kem) -> Suite:
    def bind_sealer(key: bytes | bytearray, _random: Random | None) -> Transform:
        public = hpke.public_key(kem, key)

        def seal(context: bytes, plaintext: bytes) -> bytes:
            if len(plaintext) > MAX_FIELD_BYTES:
                raise _too_large(plaintext)
            return hpke.seal(kem, public, context, plaintext)

        return seal

    def bind_opener(key: bytes | bytearray) -> Transform:
        def open_body(context: bytes, body: bytes) -> bytes:
            try:
                return hpke.open_body(kem, key, context, body)
            except InvalidTag:
                raise DoesNotOpen(DOES_NOT_OPEN) from None

        return open_body

    return Suite(
        id=SuiteId.SEAL,
        name=f"seal_{kem.value}",
        key_bytes=hpke.private_bytes(kem),
        body_overhead=hpke.overhead(kem),
        tag_every_bytes=0,
        deterministic=False,
        bind_sealer=bind_sealer,
        bind_opener=bind_opener,
    )


def _without_alphabet(*_: object) -> Transform:
    raise InternalError("The suite ff1 needs the alphabet of a field; a format seals with it.")


FF1: Final = Suite(
    id=SuiteId.FF1,
    name="ff1",
    key_bytes=32,
    body_overhead=0,
    tag_every_bytes=0,
    deterministic=True,
    bind_sealer=_without_alphabet,
    bind_opener=_without_alphabet,
)
"""The record of keys whose fields keep their format; `formats` seals with them. Nothing is authenticated."""

INGEST: Final = {kem: _hpke_suite(kem) for kem in Kem}
"""The suites of keys under which others seal for a field."""

SUITES: Final = {suite.id: suite for suite in (CBL256, XAES, SIV)}
"""The suites that seal what a field keeps."""
BY_NAME: Final = {suite.name: suite for suite in (*SUITES.values(), FF1, *INGEST.values())}
"""Every suite under the name that the record of a key holds."""


def suite(suite_id: SuiteId) -> Suite:
    """The suite of a header's suite byte.

    Raises:
        InvalidEnvelope: the byte is assigned, but this build writes no field envelopes with it.
    """
    found = SUITES.get(suite_id)
    if found is None:
        known = ", ".join(f"{one.id.value} ({one.name})" for one in SUITES.values())
        raise InvalidEnvelope(f"Suite {suite_id.value} is not available for fields here; known are {known}.")
    return found


def of_key(suite_id: SuiteId, key_bytes: int) -> Suite:
    """The suite that opens under a key; of suite 5 the size of the private key names the KEM.

    Raises:
        InvalidEnvelope: as `suite`.
    """
    for one in INGEST.values():
        if (one.id, one.key_bytes) == (suite_id, key_bytes):
            return one
    return suite(suite_id)
