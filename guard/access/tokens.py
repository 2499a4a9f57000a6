"""API tokens: `grd_<kind>_<handle 12><secret 30><crc 6>`, alphabet 0-9A-Za-z. No I/O.

Law: the secret has 178 random bits and is stored only as an HMAC; the checksum lets scanners and the API refuse typing
errors without a look-up and is no security; a token is compared in constant time and never appears in a repr.
"""

import hmac
import re
import zlib
from dataclasses import dataclass, field

from guard.errors import Unauthenticated

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KINDS = ("svc", "pat", "one")
HANDLE, SECRET, CHECK = 12, 30, 6
RANDOM_BYTES = 64  # 42 characters by rejection of 1 byte in 32; fewer than 42 usable of 64 is refused, not shortened
LENGTH = len("grd_svc_") + HANDLE + SECRET + CHECK
REJECT_FROM = 248  # 4 x 62: bytes from here on would make the first characters likelier
REFUSED = "Expected a valid API token, got none; check that it was copied whole, or ask for a new one."

_FORM = re.compile(r"grd_(svc|pat|one)_([0-9A-Za-z]{12})([0-9A-Za-z]{30})([0-9A-Za-z]{6})")


@dataclass(frozen=True, slots=True)
class Token:
    """A token in clear; shown once. Its repr names the handle only."""

    kind: str
    handle: str
    text: str = field(repr=False)

    def __reduce__(self) -> str:
        raise TypeError("A token is not pickled.")


def mint(kind: str, random: bytes) -> Token:
    """A new token of *kind* from 64 random bytes.

    Raises:
        ValueError: unknown kind, or too few usable random bytes.
    """
    if kind not in KINDS:
        raise ValueError(f"Expected a kind of {', '.join(KINDS)}, got another.")
    characters = [ALPHABET[byte % 62] for byte in random if byte < REJECT_FROM][: HANDLE + SECRET]
    if len(characters) < HANDLE + SECRET:
        raise ValueError(f"Expected {RANDOM_BYTES} random bytes; too few of these were usable; draw again.")
    body = f"grd_{kind}_{''.join(characters)}"
    return Token(kind, "".join(characters[:HANDLE]), body + _check(body))


def parse(text: str) -> Token:
    """The token in *text*; its checksum is right, and nothing else is known of it.

    Raises:
        Unauthenticated: not a token, or mistyped.
    """
    found = _FORM.fullmatch(text) if len(text) == LENGTH else None
    if found is None or _check(text[:-CHECK]) != found[4]:
        raise Unauthenticated(REFUSED)
    return Token(found[1], found[2], text)


def mac(pepper: bytes, text: str) -> bytes:
    """What is stored of a token's *text*: HMAC-SHA256 under the *pepper* (32 bytes)."""
    return hmac.digest(pepper, b"guard/token/1\0" + text.encode("utf-8", "surrogatepass"), "sha256")


def _check(body: str) -> str:
    number = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(CHECK):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
