"""Shares of a secret over GF(256), in the form of HashiCorp Vault and OpenBao (their package `shamir`).

A share is the value of one random polynomial per byte, and last the point x (1-255) at which it was taken; the secret
is the value at 0. The field is that of AES (FIPS 197 section 4.2, polynomial 0x11b). The format has no checksum: too
few or altered shares give other bytes without any notice, so whoever joins them checks what came out. Law: products
are made bit by bit without a table or a branch on a secret. One share of one is the bare secret. No I/O.
"""

from collections.abc import Sequence
from typing import Final

from guard.errors import InternalError, InvalidInput

MIN_THRESHOLD: Final = 2
MAX_THRESHOLD: Final = 16
MAX_SHARES: Final = 255
_POLYNOMIAL: Final = 0x1B


def multiply(left: int, right: int) -> int:
    """The product in GF(256)."""
    product = 0
    for bit in range(8):
        product ^= left & -(right >> bit & 1)
        left = (left << 1 & 0xFF) ^ (_POLYNOMIAL & -(left >> 7))
    return product


def invert(value: int) -> int:
    """The inverse of a value other than 0, as its 254th power."""
    power, result = value, 1
    for _ in range(7):
        power = multiply(power, power)
        result = multiply(result, power)
    return result


def check_numbers(threshold: int, shares: int) -> None:
    """Raises InvalidInput for numbers of shares with which a secret could not be joined, or by anybody alone."""
    if (threshold, shares) != (1, 1) and not MIN_THRESHOLD <= threshold <= shares <= MAX_SHARES:
        raise InvalidInput(
            f"Expected a threshold from 2 to the number of shares (at most {MAX_SHARES}), or one share of one; "
            f"got {threshold} of {shares}."
        )
    if threshold > MAX_THRESHOLD:
        raise InvalidInput(f"Expected a threshold of at most {MAX_THRESHOLD}, got {threshold}.")


def split(secret: bytes, threshold: int, shares: int, randomness: bytes) -> list[bytes]:
    """`shares` shares of which any `threshold` give `secret`; `randomness` holds the coefficients.

    Raises:
        InvalidInput: see `check_numbers`.
    """
    check_numbers(threshold, shares)
    size = len(secret)
    if len(randomness) < size * (threshold - 1):
        raise InternalError(f"Splitting needs {size * (threshold - 1)} bytes of randomness; {len(randomness)} came.")
    if shares == 1:
        return [secret]
    rows = [secret, *(randomness[at * size : (at + 1) * size] for at in range(threshold - 1))]
    return [
        bytes(_value([row[at] for row in rows], x) for at in range(size)) + bytes([x]) for x in range(1, shares + 1)
    ]


def _value(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for one in reversed(coefficients):
        value = multiply(value, x) ^ one
    return value


def join(shares: Sequence[bytes], size: int) -> bytearray:
    """The secret of `size` bytes that these shares give; nothing says whether it is the right one.

    Raises:
        InvalidInput: no shares, shares of another length, a point twice, or the point 0.
    """
    if len(shares) == 1 and len(shares[0]) == size:
        return bytearray(shares[0])
    points = [one[-1] if len(one) == size + 1 else 0 for one in shares]
    if not points or 0 in points or len(set(points)) != len(points):
        raise InvalidInput(
            f"Expected shares of {size + 1} bytes, each of another holder; got {len(shares)} that are not.",
            hint="Give each share once, whole and as it was handed out.",
        )
    secret = bytearray(size)
    for share, point in zip(shares, points, strict=True):
        factor = 1
        for other in points:
            if other != point:
                factor = multiply(factor, multiply(other, invert(other ^ point)))
        for at in range(size):
            secret[at] ^= multiply(share[at], factor)
    return secret
