"""Tokens: texts without meaning that stand in for a value, whose values are in the vault.

A token is `tok_` and 26 characters of lower-case base32 (RFC 4648 section 6) over 128 random bits, or random text of
its value's format. Law: a token is drawn and never computed from a value, so tokens of two domains have nothing in
common. What the store keeps beside it are two keyed hashes, HMAC-SHA256 in the form of a blind index: of the token, by
which its row is found, and of domain, person and value, by which the same value gets the same token again. No I/O.
"""

import hmac
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from guard.errors import Conflict, InvalidRequest
from guard.vault.formats import MAX_LENGTH, Format
from guard.vault.token_policy import Domain
from guard.vault.wrap import length_prefixed

PREFIX: Final = "tok_"
RANDOM_BYTES: Final = 16
MAX_TRIES: Final = 64
"""Of ten texts of digits nine fail Luhn's check, so 64 in a row that do not serve mean that the format is used up."""

_REFERENCE: Final = b"guard/token/1"
_VALUE: Final = b"guard/token-value/1"
_EVEN: Final = 2
_NINE: Final = 9

Random = Callable[[int], bytes]


class Standing(Enum):
    """What a token is worth."""

    LIVE = "live"
    EXPIRED = "expired"
    USED = "used"
    REVOKED = "revoked"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Life:
    """What decides how a token stands; times in microseconds UTC."""

    held: bool
    single_use: bool
    expires_us: int | None = None
    revoked_us: int | None = None
    used_us: int | None = None

    def standing(self, now_us: int) -> Standing:
        """How it stands at *now_us*; at the very microsecond of its end it is over."""
        if self.revoked_us is not None:
            return Standing.REVOKED
        if self.single_use and self.used_us is not None:
            return Standing.USED
        if self.expires_us is not None and now_us >= self.expires_us:
            return Standing.EXPIRED
        return Standing.LIVE if self.held else Standing.FORGOTTEN


def draw(domain: Domain, value: str, random: Random, taken: Callable[[str], bool]) -> str:
    """A token for a value that no other value has.

    Raises:
        InvalidRequest: the value has not the format that the domain declares.
        Conflict: the domain's format has hardly a text left that is free.
    """
    for _ in range(MAX_TRIES):
        token = PREFIX + _base32(random(RANDOM_BYTES)) if domain.format is None else same(domain.format, value, random)
        serves = token != value and not (domain.luhn_fails and luhn(token))
        if serves and not taken(token):
            return token
    raise Conflict(
        f"Expected a free token of the format of the domain {domain.name}, got none in {MAX_TRIES} tries; declare a "
        "longer format, or revoke tokens that nobody needs."
    )


def same(form: Format, value: str, random: Random) -> str:
    """Random text of the value's length and alphabet, with the characters that the format keeps.

    Raises:
        InvalidRequest: the value has another format.
    """
    if not form.min_length <= len(value) <= MAX_LENGTH or not form.places.keys() >= set(value):
        raise InvalidRequest(
            f"Expected a value of {form.min_length} to {MAX_LENGTH} characters of the domain's alphabet, got another; "
            "bring it into the declared form first."
        )
    end = len(value) - form.keep_last
    hidden = (form.alphabet[_below(len(form.alphabet), random)] for _ in range(form.keep_first, end))
    return value[: form.keep_first] + "".join(hidden) + value[end:]


def _below(bound: int, random: Random) -> int:
    """A uniform number below *bound* (at most 2^16); what would make some numbers likelier is drawn again."""
    fair = (1 << 16) - (1 << 16) % bound
    while True:
        number = int.from_bytes(random(2), "big")
        if number < fair:
            return number % bound


def luhn(digits: str) -> bool:
    """Whether a text of ASCII digits passes the check of ISO/IEC 7812-1 annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % _EVEN)
        total += number - _NINE if number > _NINE else number
    return total % 10 == 0


def _base32(raw: bytes) -> str:
    return b32encode(raw).decode("ascii").rstrip("=").lower()


def reference(key: bytes | bytearray, version: int, field: str, token: str) -> bytes:
    """What a token's row is found by."""
    return _digest(key, _REFERENCE, version, field, token)


def value_index(key: bytes | bytearray, version: int, field: str, domain: str, subject_ref: bytes, value: str) -> bytes:
    """What the token of a person's value is found by in its domain, as `index.digest` with another beginning."""
    return _digest(key, _VALUE, version, field, domain, subject_ref, value)


def _digest(key: bytes | bytearray, beginning: bytes, version: int, *parts: str | bytes) -> bytes:
    message = beginning + length_prefixed(version.to_bytes(4, "big"))
    for part in parts:
        message += length_prefixed(part.encode() if isinstance(part, str) else part)
    return hmac.digest(key, message, "sha256")


def payload(token: str, value: str) -> bytes:
    """What is sealed in a token's row."""
    return length_prefixed(token.encode()) + value.encode()


def parted(raw: bytes) -> tuple[str, str]:
    """The token and the value in a payload."""
    end = 4 + int.from_bytes(raw[:4], "big")
    return raw[4:end].decode(), raw[end:].decode()
