"""Custody by shares in the form of Vault and OpenBao: a random 32-byte key in n shares over GF(256), any k open it.

Wrap: suite CBL256 under that key, with the slot record as context. A share is 66 hexadecimal digits, or base64; several
stand on lines of their own. The format has no checksum: that the key is the right one is found when the wrap opens
(CBL256 commits to its key) and by the key-check value. Law: the key is in no file; the shares are handed out once.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from guard.errors import DoesNotOpen, InvalidInput, RootKeyMissing, WrongRootKey
from guard.vault import shamir
from guard.vault.custody import KEY_BYTES, check_randomness
from guard.vault.keys import Secret
from guard.vault.suites import CBL256

OPTIONS: Final[tuple[str, ...]] = ()
OPTIONAL: Final[Mapping[str, str]] = {"threshold": "3", "count": "5"}
SECRETS: Final = ("shares",)

_HEX: Final = re.compile(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}(?:[0-9a-fA-F]{{2}})?")
_NUMBER: Final = re.compile(r"[0-9]{1,3}")


class SharesSlot:
    """A slot whose key came out of shares, or was just split into them."""

    __slots__ = ("_key", "handout")

    def __init__(self, key: bytes | bytearray, handout: tuple[str, ...] = ()) -> None:
        self._key = Secret(key, "root key in shares")
        self.handout = handout

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The secret under the shared key; 72 bytes longer than it."""
        return CBL256.seal(self._key.expose(), record, secret)

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap.

        Raises:
            WrongRootKey: too few, altered or other shares, another record, or changed bytes.
        """
        try:
            return bytearray(CBL256.open(self._key.expose(), record, wrapped))
        except DoesNotOpen:
            raise WrongRootKey(
                "These shares do not open this data: too few of them, a changed one, or one of another set.",
                hint="This form of share has no checksum; try again with other holders' shares.",
            ) from None


def create(options: Mapping[str, str], randomness: bytes) -> SharesSlot:
    """A new key in `count` shares (5), of which `threshold` (3) open it.

    Raises:
        InvalidInput: numbers that do not fit together.
    """
    threshold, count = (_number(options, name) for name in ("threshold", "count"))
    shamir.check_numbers(threshold, count)
    check_randomness(randomness, KEY_BYTES * threshold)
    key = randomness[:KEY_BYTES]
    made = shamir.split(key, threshold, count, randomness[KEY_BYTES:])
    return SharesSlot(key, tuple(one.hex() for one in made))


def _number(options: Mapping[str, str], name: str) -> int:
    text = options.get(name) or OPTIONAL[name]
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f"Expected a number of shares as {name}, got another text.")
    return int(text)


def attach(options: Mapping[str, str]) -> SharesSlot:
    """The slot that these shares open, one on each line of `shares`.

    Raises:
        RootKeyMissing: no share was given.
        InvalidInput: one is in no known form, or a holder's share came twice.
    """
    found = options.get("shares", "").split()
    if not found:
        raise RootKeyMissing("The data is sealed in shares and none was given.")
    return SharesSlot(shamir.join([_decode(number, text) for number, text in enumerate(found, 1)], KEY_BYTES))


def _decode(number: int, text: str) -> bytes:
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"Share {number} is neither hexadecimal nor base64; type it as it was handed out.") from None
