"""FF1, format-preserving encryption of NIST SP 800-38G (revision 1, section 5.1), over lists of digits below a radix.

Ten Feistel rounds whose function is a CBC-MAC under AES. Law: FF1 authenticates nothing: every list of digits opens to
some other one, so a field that uses it pairs it with a check of its own where integrity matters. FF3 and FF3-1 are not
offered: they were broken and withdrawn. Domains under a million (radix ** length) are enumerable and are refused where
fields are declared; the primitive itself keeps the older bound of a hundred, which the published vectors need. No I/O.
"""

from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

MIN_RADIX: Final = 2
MAX_RADIX: Final = 1 << 16
MIN_DOMAIN: Final = 100
MAX_DIGITS: Final = 4096
"""The standard allows 2 ** 32; arithmetic on one number of that size would hold a worker for minutes."""
KEY_SIZES: Final = frozenset({16, 24, 32})

_ROUNDS: Final = 10
_BLOCK: Final = 16


def encrypt(key: bytes | bytearray, radix: int, tweak: bytes, digits: Sequence[int]) -> list[int]:
    """As many digits as came, each below `radix`; the first is the most significant.

    Raises:
        ValueError: the key, radix, length or a digit is not one that FF1 takes.
    """
    rounds = _Rounds(key, radix, tweak, digits)
    left, right = rounds.halves(digits)
    for number in range(_ROUNDS):
        left, right = right, (left + rounds.value(number, right)) % rounds.modulus(number)
    return rounds.digits(left, right)


def decrypt(key: bytes | bytearray, radix: int, tweak: bytes, digits: Sequence[int]) -> list[int]:
    """The digits that `encrypt` was given; with another key or tweak, some others.

    Raises:
        ValueError: as `encrypt`.
    """
    rounds = _Rounds(key, radix, tweak, digits)
    left, right = rounds.halves(digits)
    for number in reversed(range(_ROUNDS)):
        left, right = (right - rounds.value(number, left)) % rounds.modulus(number), left
    return rounds.digits(left, right)


def check_domain(radix: int, length: int) -> None:
    """Check what FF1 can be used with at all.

    Raises:
        ValueError: a radix outside 2 to 65536, fewer than two digits, more than 4096, or fewer than a hundred values.
    """
    if not MIN_RADIX <= radix <= MAX_RADIX:
        raise ValueError(f"FF1 takes a radix of {MIN_RADIX} to {MAX_RADIX}; {radix} came.")
    if not 2 <= length <= MAX_DIGITS or radix**length < MIN_DOMAIN:  # noqa: PLR2004 (two halves of one digit)
        raise ValueError(f"FF1 takes 2 to {MAX_DIGITS} digits with at least {MIN_DOMAIN} values; {length} digits came.")


class _Rounds:
    """What is the same in all rounds of one message, by the names of the standard: u, v, b, d, P and Q."""

    __slots__ = ("_b", "_block", "_d", "_moduli", "_radix", "_start", "_tail", "_u", "_v")

    def __init__(self, key: bytes | bytearray, radix: int, tweak: bytes, digits: Sequence[int]) -> None:
        check_domain(radix, len(digits))
        if len(key) not in KEY_SIZES:
            raise ValueError(f"FF1 takes a key of 16, 24 or 32 bytes; {len(key)} came.")
        if not all(0 <= digit < radix for digit in digits):
            raise ValueError(f"FF1 takes digits from 0 to {radix - 1}; another came.")
        n = len(digits)
        self._radix = radix
        self._u, self._v = n // 2, n - n // 2
        self._moduli: tuple[int, int] = (radix**self._u, radix**self._v)
        self._b = ((self._moduli[1] - 1).bit_length() + 7) // 8
        self._d = 4 * ((self._b + 3) // 4) + 4
        # An electronic-codebook context keeps no state between calls; the chaining is done in `_chain`.
        self._block: CipherContext = Cipher(AES(key), ECB()).encryptor()  # noqa: S305 (the block cipher itself)
        head = bytes((1, 2, 1)) + radix.to_bytes(3, "big") + bytes((_ROUNDS, self._u % 256))
        head += (
            n.to_bytes(4, "big") + len(tweak).to_bytes(4, "big") + tweak + bytes(-(len(tweak) + self._b + 1) % _BLOCK)
        )
        whole = len(head) // _BLOCK * _BLOCK
        # P and the tweak begin every round's message, so their part of the chain is computed once.
        self._start, self._tail = self._chain(0, head[:whole]), head[whole:]

    def modulus(self, number: int) -> int:
        """The modulus of a round, radix ** m: even rounds replace a half of u digits, odd ones a half of v."""
        return self._moduli[number % 2]

    def value(self, number: int, half: int) -> int:
        """The y of a round: d bytes of the pseudorandom function over Q, as a number."""
        last = self._chain(self._start, self._tail + bytes((number,)) + half.to_bytes(self._b, "big"))
        stream = last.to_bytes(_BLOCK, "big")
        for counter in range(1, (self._d + _BLOCK - 1) // _BLOCK):
            stream += self._block.update((last ^ counter).to_bytes(_BLOCK, "big"))
        return int.from_bytes(stream[: self._d], "big")

    def halves(self, digits: Sequence[int]) -> tuple[int, int]:
        """A and B as numbers."""
        return self._number(digits[: self._u]), self._number(digits[self._u :])

    def digits(self, left: int, right: int) -> list[int]:
        """The digits of A and B, each half at its full length."""
        return self._string(left, self._u) + self._string(right, self._v)

    def _chain(self, state: int, message: bytes) -> int:
        for at in range(0, len(message), _BLOCK):
            mixed = state ^ int.from_bytes(message[at : at + _BLOCK], "big")
            state = int.from_bytes(self._block.update(mixed.to_bytes(_BLOCK, "big")), "big")
        return state

    def _number(self, digits: Sequence[int]) -> int:
        number = 0
        for digit in digits:
            number = number * self._radix + digit
        return number

    def _string(self, number: int, length: int) -> list[int]:
        found = [0] * length
        for at in range(length - 1, -1, -1):
            number, found[at] = divmod(number, self._radix)
        return found
