"""Custody in an HSM by PKCS#11: a non-extractable AES-256 key of a token wraps the secret with AES-GCM.

Wrap: nonce 12 | ciphertext | tag 16 of CKM_AES_GCM (PKCS#11 v2.40 current mechanisms, section 2.12), the slot record as
associated data; the nonce is drawn from the token. `create` makes the key in the token where it has none of that label,
sensitive and not extractable, and refuses one that is. The PIN stands in a file. The package is loaded only where such
a slot is used. Law: the key never leaves the token, and each call opens a session and closes it.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from guard.errors import CustodyUnreachable, InvalidSetting, RootKeyMissing, WrongRootKey
from guard.vault.custody import KEY_BYTES, check_randomness, given
from guard.vault.custody_http import token as read_pin

OPTIONS: Final = ("library", "token", "key", "pin_file")
OPTIONAL: Final[Mapping[str, str]] = {}
SECRETS: Final[tuple[str, ...]] = ()

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_BITS: Final = 256
_ONE_AT_A_TIME: Final = threading.Lock()
"""Initialising the library anew ends the sessions of every other thread."""


class Pkcs11Slot:
    """A slot under one key of one token."""

    __slots__ = ("_options",)
    handout: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The secret under the token's key; 28 bytes longer than it.

        Raises:
            CustodyUnreachable: the token or its library fails. RootKeyMissing: no such token, key or PIN.
        """
        with _session(self._options) as (library, session):
            key = _key(library, session, self._options)
            nonce = bytes(session.generate_random(_NONCE_BYTES * 8))
            sealed = key.encrypt(
                secret, mechanism=library.Mechanism.AES_GCM, mechanism_param=library.GCMParams(nonce, record, 128)
            )
            return nonce + bytes(sealed)

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap.

        Raises:
            CustodyUnreachable, RootKeyMissing: as `wrap`.
            WrongRootKey: another key or record, or changed bytes.
        """
        if len(wrapped) <= _NONCE_BYTES + _TAG_BYTES:
            raise WrongRootKey("This slot holds no ciphertext of a PKCS#11 token.")
        with _session(self._options) as (library, session):
            key = _key(library, session, self._options)
            param = library.GCMParams(wrapped[:_NONCE_BYTES], record, 128)
            try:
                return bytearray(
                    key.decrypt(wrapped[_NONCE_BYTES:], mechanism=library.Mechanism.AES_GCM, mechanism_param=param)
                )
            except library.PKCS11Error as error:
                if isinstance(error, library.DeviceError | library.DeviceRemoved | library.SessionHandleInvalid):
                    raise
                # Tokens do not agree on the error of a wrong tag: EncryptedDataInvalid, GeneralError, FunctionFailed.
                raise WrongRootKey(
                    f"The key {self._options['key']} of the token does not open this slot.", hint="See its label."
                ) from None


def create(options: Mapping[str, str], randomness: bytes) -> Pkcs11Slot:
    """A slot under the token's key of that label, made there if it has none.

    Raises:
        CustodyUnreachable, RootKeyMissing, InvalidSetting: as `attach`, and for a key that can be taken out.
    """
    check_randomness(randomness, KEY_BYTES)
    slot = _checked(options)
    with _session(options) as (library, session):
        try:
            _key(library, session, options)
        except RootKeyMissing:
            session.seed_random(randomness[:KEY_BYTES])  # two sources are no worse than the token's alone
            session.generate_key(
                library.KeyType.AES,
                _KEY_BITS,
                label=options["key"],
                id=os.fsencode(options["key"]),
                store=True,
                capabilities=library.MechanismFlag.ENCRYPT | library.MechanismFlag.DECRYPT,
                template={library.Attribute.SENSITIVE: True, library.Attribute.EXTRACTABLE: False},
            )
    return slot


def attach(options: Mapping[str, str]) -> Pkcs11Slot:
    """A slot that exists.

    Raises:
        RootKeyMissing: an option is missing, or the token has no such key.
        CustodyUnreachable: the token does not answer. InvalidSetting: the package or the library cannot be loaded.
    """
    return _checked(options)


def _checked(options: Mapping[str, str]) -> Pkcs11Slot:
    for name in OPTIONS:
        given(options, name, "a text")
    return Pkcs11Slot(dict(options))


@contextmanager
def _session(options: Mapping[str, str]) -> Iterator[tuple[ModuleType, Any]]:
    library = _package()
    pin = read_pin(options["pin_file"])
    try:
        with _ONE_AT_A_TIME, _opened(library, options, pin) as session:
            yield library, session
    except (library.NoSuchToken, library.PinIncorrect, library.PinInvalid, library.PinLenRange, library.PinLocked) as e:
        raise RootKeyMissing(
            f"Expected the token {options['token']} to open, got {type(e).__name__}.", hint="Check label and PIN."
        ) from None
    except (library.PKCS11Error, RuntimeError, OSError) as error:
        raise CustodyUnreachable(
            f"The token {options['token']} does not answer ({type(error).__name__}).",
            hint=f"See that it is plugged in and that {options['library']} is its library.",
        ) from None


def _opened(library: ModuleType, options: Mapping[str, str], pin: str) -> Any:
    module = library.lib(options["library"])
    module.reinitialize()  # a token that was plugged in, or made, after the library was loaded
    return module.get_token(token_label=options["token"]).open(rw=True, user_pin=pin)


def _key(library: ModuleType, session: Any, options: Mapping[str, str]) -> Any:
    try:
        key = session.get_key(label=options["key"], object_class=library.ObjectClass.SECRET_KEY)
    except library.NoSuchKey:
        raise RootKeyMissing(
            f"The token {options['token']} has no key {options['key']}.", hint="See its label in the token."
        ) from None
    except library.MultipleObjectsReturned:
        raise RootKeyMissing(f"The token {options['token']} has several keys {options['key']}; rename one.") from None
    if key[library.Attribute.EXTRACTABLE] or not key[library.Attribute.SENSITIVE]:
        raise InvalidSetting(f"The key {options['key']} can be taken out of its token; use one that cannot.")
    return key


def _package() -> ModuleType:
    try:
        import pkcs11  # noqa: PLC0415 - an extra
    except ImportError:
        raise InvalidSetting("An HSM needs the extra: install guard[custody].") from None
    found: ModuleType = pkcs11
    return found
