"""Suite 4, GCM96: AES-256-GCM with a 96-bit nonce (NIST SP 800-38D), for the formats of other systems only.

Body: nonce 12 | ciphertext | tag 16, with no header. Nonce = HMAC-SHA256(k_nonce, u64 counter | 32 random bytes |
lp(associated) | plaintext), first 12 bytes; k_nonce is random per version and no other key. Law: a counter is used only
out of a block that was reserved durably before, so a crash skips numbers and returns none; a key rotates at 2^31
messages and seals none after 2^32, where NIST stops. A fork, a cloned disk or a row that was rolled back gives a number
twice, and even with the same random bytes a nonce then repeats for an identical message only: no pair of (key, nonce)
serves two different ones, without which the GHASH key would be lost. Frozen. No I/O.
"""

import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guard.errors import BodyTooLarge, DoesNotOpen, InternalError, KeyStateConflict
from guard.vault.suites import DOES_NOT_OPEN, MAX_FIELD_BYTES, Random
from guard.vault.wrap import length_prefixed

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
RANDOM_BYTES: Final = 32
BLOCK: Final = 1 << 20
"""Numbers per reservation: one durable write for a million messages; a crash skips at most one block of 4096."""
ROTATE_AT: Final = 1 << 31
REFUSE_AT: Final = 1 << 32

_U64: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Block:
    """Reserved numbers: `first` to `end` - 1."""

    first: int
    end: int


def next_block(reserved: int, size: int = BLOCK) -> Block:
    """The block of *size* after `reserved` numbers; the last one of a key may be shorter.

    Raises:
        KeyStateConflict: the key has sealed all the messages that it may.
    """
    if reserved < 0:
        raise InternalError(f"A message counter is not negative; {reserved} came.")
    if reserved >= REFUSE_AT:
        raise KeyStateConflict(
            f"The key has reserved {reserved} messages, and a nonce of 96 bits allows {REFUSE_AT}; rotate the key.",
            limit=REFUSE_AT,
        )
    return Block(reserved, min(reserved + size, REFUSE_AT))


class Counter:
    """Numbers of one key version in one process, each given once."""

    __slots__ = ("_block", "_lock", "_next", "_reserve")

    def __init__(self, reserve: Callable[[], Block]) -> None:
        """*reserve* makes the next block durable and gives it; it is called when the last one is used up."""
        self._reserve = reserve
        self._block = Block(0, 0)
        self._next = 0
        self._lock = Lock()

    def take(self) -> int:
        """The next number; what *reserve* raises goes through, and no number is given then."""
        with self._lock:
            if self._next >= self._block.end:
                self._block = self._reserve()
                self._next = self._block.first
            number = self._next
            if number >= REFUSE_AT:  # a reservation that lies is refused here once more
                raise KeyStateConflict("The key has sealed all the messages that it may; rotate the key.")
            self._next = number + 1
            return number

    @property
    def due(self) -> bool:
        """Whether the key should be rotated now; it still seals until the limit."""
        return self._next >= ROTATE_AT


def nonce_for(
    nonce_key: bytes | bytearray, counter: int, randomness: bytes, associated: bytes, plaintext: bytes
) -> bytes:
    """The hedged nonce of one message.

    Raises:
        InternalError: a number or random bytes of another size.
    """
    if not 0 <= counter < REFUSE_AT or len(randomness) != RANDOM_BYTES:
        raise InternalError(f"A hedged nonce takes a counter below {REFUSE_AT} and {RANDOM_BYTES} random bytes.")
    message = _U64.pack(counter) + randomness + length_prefixed(associated) + plaintext
    return hmac.digest(nonce_key, message, "sha256")[:NONCE_BYTES]


class Sealer:
    """Seals messages under one key version."""

    __slots__ = ("_cipher", "_counter", "_nonce_key", "_random")

    def __init__(self, key: bytes | bytearray, nonce_key: bytes | bytearray, counter: Counter, random: Random) -> None:
        """Raises InternalError for keys that have not 32 bytes or are one and the same."""
        if len(key) != KEY_BYTES or len(nonce_key) != KEY_BYTES or hmac.compare_digest(key, nonce_key):
            raise InternalError(f"GCM96 takes two different keys of {KEY_BYTES} bytes.")
        self._cipher = AESGCM(key)
        self._nonce_key, self._counter, self._random = bytes(nonce_key), counter, random

    def seal(self, associated: bytes, plaintext: bytes) -> bytes:
        """Nonce, ciphertext and tag.

        Raises:
            BodyTooLarge: the plaintext has more than 1 MiB.
            KeyStateConflict: the key has sealed all the messages that it may.
        """
        if len(plaintext) > MAX_FIELD_BYTES:
            raise BodyTooLarge(f"A message has at most {MAX_FIELD_BYTES} bytes; {len(plaintext)} came.")
        number = self._counter.take()
        nonce = nonce_for(self._nonce_key, number, self._random(RANDOM_BYTES), associated, plaintext)
        return nonce + self._cipher.encrypt(nonce, plaintext, associated)


def open_body(key: bytes | bytearray, associated: bytes, body: bytes) -> bytes:
    """The plaintext of nonce, ciphertext and tag.

    Raises:
        DoesNotOpen: any other key, associated data or body, one too short included.
        InternalError: the key has not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise InternalError(f"GCM96 takes a key of {KEY_BYTES} bytes; {len(key)} came.")
    if len(body) < NONCE_BYTES + TAG_BYTES:
        raise DoesNotOpen(DOES_NOT_OPEN)
    try:
        return AESGCM(key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], associated)
    except InvalidTag:
        raise DoesNotOpen(DOES_NOT_OPEN) from None
