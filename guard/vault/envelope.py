"""The envelope of a sealed value: a 16-byte header, then the suite's body; in text, `gd1.` and unpadded base64url.

Header: 0x47 0x01 | suite u8 | flags u8 | key_id 8 | key_version u32 big-endian. It stands whole inside the context
that the suite authenticates, so a changed header bit is an authentication failure and not a parsing matter.
Law: one value has one text. Padding, the standard alphabet, white space and non-zero trailing bits (RFC 4648
sections 3.2, 3.5 and 5) are refused, or the same ciphertext could pass for two in a uniqueness check.
Frozen: a change needs a new second byte. No I/O.
"""

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from guard.errors import InvalidEnvelope

MAGIC: Final = b"\x47\x01"
HEADER_BYTES: Final = 16
KEY_ID_BYTES: Final = 8
TEXT_PREFIX: Final = "gd1."
TEXT_HEADER_CHARACTERS: Final = 26
"""`gd1.` and 22 characters: 132 bits, the 128 of the header and the first four of the body."""

FLAG_SUBJECT_KEY: Final = 1
FLAG_PADDED: Final = 2

MAX_ENVELOPE_BYTES: Final = 1 << 20 | 1 << 12
"""A field of 1 MiB with the largest suite overhead (1232 bytes) and padding; above it no memory is spent on a text."""

_MAX_TEXT_CHARACTERS: Final = len(TEXT_PREFIX) + (MAX_ENVELOPE_BYTES * 4 + 2) // 3
_U32_END: Final = 1 << 32
_HEADER: Final = struct.Struct(">2sBB8sI")
_STANDARD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL: Final = _STANDARD.replace(b"+", b"-").replace(b"/", b"_")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
# Bytes outside the URL alphabet become "!", which the strict decoder refuses; "+", "/" and "=" are among them.
_FROM_URL: Final = bytes(_STANDARD[_URL.index(byte)] if byte in _URL else 0x21 for byte in range(256))
# Characters left over in the last group of four, and those that carry no bits beyond the last byte.
_LAST_CHARACTERS: Final = {0: _URL.decode(), 2: _URL[::16].decode(), 3: _URL[::4].decode()}
_FILL: Final = {0: b"", 2: b"==", 3: b"="}


class SuiteId(IntEnum):
    """The suite byte. Numbers are never reused."""

    CBL256 = 1
    XAES = 2
    SIV = 3
    GCM96 = 4
    SEAL = 5
    FF1 = 6
    LEASED = 7


ENVELOPE_SUITES: Final = (SuiteId.CBL256, SuiteId.XAES, SuiteId.SIV, SuiteId.SEAL, SuiteId.LEASED)
"""Suites that write envelopes; GCM96 keeps the format of others and FF1 the format of the field."""


@dataclass(frozen=True, slots=True)
class Header:
    """Which suite, flags and key version sealed a value."""

    suite: SuiteId
    flags: int
    key_id: bytes
    key_version: int

    def encode(self) -> bytes:
        """The 16 bytes.

        Raises:
            InvalidEnvelope: `key_id` is not 8 bytes, the version is no u32, or a reserved flag is set.
        """
        if len(self.key_id) != KEY_ID_BYTES:
            raise InvalidEnvelope(f"A key id is {KEY_ID_BYTES} bytes; {len(self.key_id)} came.")
        if not 0 <= self.key_version < _U32_END:
            raise InvalidEnvelope(f"A key version is an unsigned 32-bit number; {self.key_version} came.")
        _check_flags(self.flags)
        return _HEADER.pack(MAGIC, self.suite, self.flags, self.key_id, self.key_version)


def parse_header(raw: bytes) -> Header:
    """Read the header from the first 16 bytes of `raw`; the rest is not looked at.

    Raises:
        InvalidEnvelope: shorter than 16 bytes, other magic bytes, an unknown suite or a reserved flag.
    """
    if len(raw) < HEADER_BYTES:
        raise InvalidEnvelope(f"A sealed value begins with a header of {HEADER_BYTES} bytes; {len(raw)} came.")
    magic, suite, flags, key_id, key_version = _HEADER.unpack_from(raw)
    if magic != MAGIC:
        raise InvalidEnvelope("A sealed value begins with the bytes 47 01; something else came.")
    _check_flags(flags)
    try:
        known = SuiteId(suite)
    except ValueError:
        raise InvalidEnvelope(f"The header names suite {suite}; this version knows 1 to {max(SuiteId)}.") from None
    return Header(known, flags, key_id, key_version)


def _check_flags(flags: int) -> None:
    if not 0 <= flags <= FLAG_SUBJECT_KEY | FLAG_PADDED:
        raise InvalidEnvelope(f"Flag bits 2 to 7 of a header are zero; flags {flags} came.")


def to_text(raw: bytes) -> str:
    """The text form of envelope bytes."""
    return TEXT_PREFIX + b2a_base64(raw, newline=False).translate(_TO_URL, b"=").decode("ascii")


def to_texts(raws: Iterable[bytes]) -> list[str]:
    """`to_text` of each. All are translated in one pass, which saves half of the time of short ones."""
    lines = b"".join(map(b2a_base64, raws)).translate(_TO_URL, b"=").decode("ascii")
    return [TEXT_PREFIX + line for line in lines.split("\n")[:-1]]


def from_text(text: str) -> bytes:
    """The envelope bytes of a text; the exact inverse of `to_text`. The header is not checked.

    Raises:
        InvalidEnvelope: no `gd1.` in front, too long, or not the one canonical unpadded base64url form.
    """
    if len(text) > _MAX_TEXT_CHARACTERS:
        raise InvalidEnvelope(f"A sealed text has at most {_MAX_TEXT_CHARACTERS} characters; {len(text)} came.")
    if text[:4] != TEXT_PREFIX:
        raise InvalidEnvelope(f"A sealed text begins with {TEXT_PREFIX!r}; something else came.")
    over = len(text) % 4  # the prefix itself has four characters
    if over == 1 or text[-1] not in _LAST_CHARACTERS[over]:
        raise InvalidEnvelope(
            "The text ends in the middle of a byte or has stray trailing bits; it was cut or altered."
        )
    try:
        return a2b_base64(text[4:].encode("ascii").translate(_FROM_URL) + _FILL[over], strict_mode=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are both of this kind
        raise InvalidEnvelope(
            "A sealed text is unpadded base64url (A-Z a-z 0-9 - _) after its prefix; another character came."
        ) from None


def header_of(text: str) -> Header:
    """Read the header from the first 26 characters of a sealed text; the rest may be absent and is not checked.

    The 26th character also carries four bits of the body. They are dropped here, which folds the up to 16 prefixes
    that one header has in a census into one.

    Raises:
        InvalidEnvelope: the prefix is no header in canonical form.
    """
    head = text[:TEXT_HEADER_CHARACTERS]
    if len(head) < TEXT_HEADER_CHARACTERS or not head.startswith(TEXT_PREFIX):
        raise InvalidEnvelope(
            f"A sealed text begins with {TEXT_PREFIX!r} and a header of {TEXT_HEADER_CHARACTERS} characters in all."
        )
    try:
        symbols = head[len(TEXT_PREFIX) :].encode("ascii").translate(_FROM_URL)
        raw = a2b_base64(symbols + b"AA", strict_mode=True)
    except ValueError:
        raise InvalidEnvelope("The header of a sealed text is base64url (A-Z a-z 0-9 - _); other text came.") from None
    return parse_header(raw)


def census_prefixes(
    key_id: bytes, key_version: int, suites: Iterable[SuiteId] = ENVELOPE_SUITES, flags: Iterable[int] = range(4)
) -> tuple[str, ...]:
    """All 26-character beginnings that a text sealed under this key version can have, sorted.

    16 per suite and flag combination, because the last character shares four bits with the body.

    Raises:
        InvalidEnvelope: as `Header.encode`.
    """
    wanted = tuple(flags)
    headers = [Header(suite, flag, key_id, key_version).encode() for suite in suites for flag in wanted]
    return tuple(
        sorted(
            to_text(header + bytes([high << 4]))[:TEXT_HEADER_CHARACTERS] for header in headers for high in range(16)
        )
    )
