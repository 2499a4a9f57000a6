"""Custody by shares in words: SLIP-0039, a random 32-byte key in n shares of 33 words, any k of them open it.

Wrap: suite CBL256 under that key, with the slot record as context. Each share has a checksum, its number and the number
of its set, so a mistyped word and a share of another set are named. Law: the key is in no file; only the shares are
handed out, once. The library is not constant-time: join shares on a host that nobody else uses.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from guard.errors import DoesNotOpen, InvalidInput, InvalidSetting, RootKeyMissing, WrongRootKey
from guard.vault.custody import KEY_BYTES, check_randomness
from guard.vault.keys import Secret
from guard.vault.suites import CBL256

OPTIONS: Final[tuple[str, ...]] = ()
OPTIONAL: Final[Mapping[str, str]] = {"threshold": "3", "count": "5"}
SECRETS: Final = ("shares",)
MAX_SHARES: Final = 16  # SLIP-0039 counts the members of a group in four bits
MAX_TEXT: Final = 16_384

_NUMBERS: Final = {str(number): number for number in range(1, MAX_SHARES + 1)}
_WORDS: Final = 33


class Slip39Slot:
    """A slot whose key came out of shares, or was just split into them."""

    __slots__ = ("_key", "handout")

    def __init__(self, key: bytes | bytearray, handout: tuple[str, ...] = ()) -> None:
        self._key = Secret(key, "root key in words")
        self.handout = handout

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The secret under the shared key; 72 bytes longer than it."""
        return CBL256.seal(self._key.expose(), record, secret)

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap.

        Raises:
            WrongRootKey: the shares of another set, another record, or changed bytes.
        """
        try:
            return bytearray(CBL256.open(self._key.expose(), record, wrapped))
        except DoesNotOpen:
            raise WrongRootKey(
                "These shares belong together and do not open this data.", hint="Use the shares of this slot."
            ) from None


def create(options: Mapping[str, str], randomness: bytes) -> Slip39Slot:
    """A new key in `count` shares (5), of which `threshold` (3) open it.

    Raises:
        InvalidInput: numbers that do not fit together.
    """
    check_randomness(randomness, KEY_BYTES)
    threshold, count = (_NUMBERS.get(options.get(name) or OPTIONAL[name], 0) for name in ("threshold", "count"))
    if (threshold, count) != (1, 1) and not 2 <= threshold <= count:  # noqa: PLR2004 - one alone would open it
        raise InvalidInput(f"Expected a threshold from 2 to the number of shares, and at most {MAX_SHARES} shares.")
    key = randomness[:KEY_BYTES]
    made: list[list[str]] = _library().generate_mnemonics(1, [(threshold, count)], key)
    return Slip39Slot(key, tuple(made[0]))


def attach(options: Mapping[str, str]) -> Slip39Slot:
    """The slot that these shares open; each has 33 words, one share on a line or all in a row.

    Raises:
        RootKeyMissing: no share was given.
        InvalidInput: too few, a mistyped word, or shares of different sets; the message says which.
    """
    words = options.get("shares", "")[:MAX_TEXT].lower().split()
    if not words:
        raise RootKeyMissing("The data is sealed in shares of words and none was given.")
    if len(words) % _WORDS:
        raise InvalidInput(f"Expected shares of {_WORDS} words each, got {len(words)} words in all; type them again.")
    texts = [" ".join(words[at : at + _WORDS]) for at in range(0, len(words), _WORDS)]
    return Slip39Slot(_joined(texts))


def _joined(texts: list[str]) -> bytearray:
    library = _library()
    parts = [_parsed(library, number, text) for number, text in enumerate(texts, 1)]
    if len({(one.identifier, one.iteration_exponent, one.member_threshold) for one in parts}) > 1:
        raise InvalidInput("Expected shares of one set, got shares of different sets; keep the sets apart.")
    wanted = parts[0].member_threshold
    different = {one.index: text for one, text in zip(parts, texts, strict=True)}
    if len(different) < wanted:
        raise InvalidInput(f"Expected {wanted} different shares, got {len(different)}; ask more holders.")
    try:
        return bytearray(library.combine_mnemonics(list(different.values())[:wanted]))
    except library.MnemonicError:
        raise InvalidInput("These shares do not join; expected the shares of one set, unchanged.") from None


def _parsed(library: ModuleType, number: int, text: str) -> Any:
    try:
        return library.Share.from_mnemonic(text)
    except (library.MnemonicError, ValueError):  # its own text would hold the words
        raise InvalidInput(f"Share {number} has a mistyped word: its checksum does not fit; type it again.") from None


def _library() -> ModuleType:
    try:
        import shamir_mnemonic  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError:
        raise InvalidSetting("Shares of words need the extra: install guard[custody].") from None
    found: ModuleType = shamir_mnemonic
    return found
