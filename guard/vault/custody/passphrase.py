"""Custody by passphrase: Argon2id (RFC 9106 section 4, second recommended choice), then CBL256 under the slot record.

Wrapped form: 0x01 | salt 16 | CBL256 body; 0x01 stands for t=3, m=64 MiB, p=4, 32 bytes. CBL256 commits to its key, so
no wrap opens under two passphrases. A passphrase is taken in Unicode form NFC (RFC 8265 section 4.2): the same keys
pressed on two systems give the same bytes. Law: the salt is given by the caller, new for every slot.
"""

import unicodedata
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from guard.errors import DoesNotOpen, InternalError, InvalidInput, RootKeyMissing, WrongRootKey
from guard.vault.custody import check_randomness
from guard.vault.keys import Secret
from guard.vault.suites import CBL256

OPTIONS: Final[tuple[str, ...]] = ()
OPTIONAL: Final[Mapping[str, str]] = {}
SECRETS: Final = ("passphrase",)
SALT_BYTES: Final = 16
MIN_CHARACTERS: Final = 12
"""Argon2id slows guessing down and does not stop it; a new passphrase shorter than this is refused."""
MAX_BYTES: Final = 1024

_FORMAT: Final = b"\x01"
_ITERATIONS: Final = 3
_MEMORY_KIB: Final = 64 * 1024
_LANES: Final = 4
_KEY_BYTES: Final = 32
_HEAD_BYTES: Final = len(_FORMAT) + SALT_BYTES


class PassphraseSlot:
    """A slot opened by a passphrase. `salt` is needed to wrap only."""

    __slots__ = ("_passphrase", "_salt")
    handout: tuple[str, ...] = ()

    def __init__(self, passphrase: bytes, salt: bytes = b"") -> None:
        self._passphrase = Secret(passphrase, "passphrase")
        self._salt = salt

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The secret under the passphrase; 89 bytes longer than it.

        Raises:
            InternalError: the slot was attached and not created, so it has no salt.
        """
        if len(self._salt) != SALT_BYTES:
            raise InternalError(f"Wrapping needs a new salt of {SALT_BYTES} bytes; create the slot to wrap with it.")
        return _FORMAT + self._salt + CBL256.seal(self._key(self._salt), record, secret)

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap.

        Raises:
            WrongRootKey: another passphrase or record, or changed bytes.
        """
        if len(wrapped) <= _HEAD_BYTES or not wrapped.startswith(_FORMAT):  # before 64 MiB of work for nothing
            raise WrongRootKey("This slot holds no wrap of a passphrase in a form that is known here.")
        try:
            return bytearray(CBL256.open(self._key(wrapped[len(_FORMAT) : _HEAD_BYTES]), record, wrapped[_HEAD_BYTES:]))
        except DoesNotOpen:
            raise WrongRootKey(
                "The passphrase does not open this data.", hint="Check the keyboard layout and capital letters."
            ) from None

    def _key(self, salt: bytes) -> bytearray:
        key = bytearray(_KEY_BYTES)
        kdf = Argon2id(salt=salt, length=_KEY_BYTES, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB)
        kdf.derive_into(self._passphrase.expose(), key)
        return key


def create(options: Mapping[str, str], randomness: bytes) -> PassphraseSlot:
    """A slot for a new passphrase; the first 16 bytes of `randomness` are its salt.

    Raises:
        InvalidInput: the passphrase is too short or too long.
    """
    if len(options.get("passphrase", "").strip()) < MIN_CHARACTERS:  # blanks alone could never be typed at the prompt
        raise InvalidInput(f"A passphrase has at least {MIN_CHARACTERS} characters; choose a longer one.")
    check_randomness(randomness, SALT_BYTES)
    return PassphraseSlot(_encode(options["passphrase"]), randomness[:SALT_BYTES])


def attach(options: Mapping[str, str]) -> PassphraseSlot:
    """A slot for a passphrase that was set before.

    Raises:
        RootKeyMissing: no passphrase was given.
        InvalidInput: it is too long.
    """
    if not options.get("passphrase"):
        raise RootKeyMissing("The data is sealed with a passphrase and none was given.")
    return PassphraseSlot(_encode(options["passphrase"]))


def _encode(passphrase: str) -> bytes:
    try:
        raw = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise InvalidInput("A passphrase is valid Unicode; a lone surrogate came.") from None
    if len(raw) > MAX_BYTES:
        raise InvalidInput(f"A passphrase has at most {MAX_BYTES} bytes; {len(raw)} came.")
    return raw
