"""Custody in Azure Key Vault: an RSA key of a vault wraps a random key, which seals the secret.

Wrap: u16 length | wrapped key (RSA-OAEP-256) | CBL256 body, the slot record as its context, since Key Vault's RSA keys
bind no additional data. Calls of the REST API 7.4: `wrapkey` and `unwrapkey`. The access token is read from a file, or
without one asked of the host's identity endpoint. UNTESTED against the cloud: the tests hold it against the documented
shapes only; run them with a key of your own before you rely on it.
"""

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from typing import Final

from guard.errors import CustodyUnreachable, DoesNotOpen, InternalError, InvalidSetting, WrongRootKey
from guard.vault.custody import KEY_BYTES, check_randomness, given
from guard.vault.custody_http import call, token
from guard.vault.keys import Secret
from guard.vault.suites import CBL256

OPTIONS: Final = ("key",)
IDENTITY: Final = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
OPTIONAL: Final[Mapping[str, str]] = {"token_file": "", "identity": IDENTITY, "ca_file": ""}
SECRETS: Final[tuple[str, ...]] = ()

_ADDRESS: Final = re.compile(r"https?://[^/?#]+/keys/[0-9A-Za-z-]+/[0-9A-Za-z]+")
_U16: Final = struct.Struct(">H")
_WHO: Final = "Azure Key Vault"


class AzureSlot:
    """A slot under one version of one key. `fresh` is the random key of a new slot, needed to wrap only."""

    __slots__ = ("_fresh", "_options")
    handout: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, str], fresh: bytes = b"") -> None:
        self._options = options
        self._fresh = Secret(fresh, "key of an Azure slot")

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The wrapped key and the secret sealed under it.

        Raises:
            CustodyUnreachable, RootKeyMissing: as `custody_http.call`.
            InternalError: the slot was attached and not created, so it has no key to wrap with.
        """
        if len(self._fresh) != KEY_BYTES:
            raise InternalError(f"Wrapping needs a new key of {KEY_BYTES} bytes; create the slot to wrap with it.")
        wrapped = self._ask("wrapkey", self._fresh.expose())
        return _U16.pack(len(wrapped)) + wrapped + CBL256.seal(self._fresh.expose(), record, secret)

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap.

        Raises:
            CustodyUnreachable, RootKeyMissing: as `custody_http.call`.
            WrongRootKey: another key or record, or changed bytes.
        """
        size = _U16.unpack_from(wrapped)[0] if len(wrapped) > _U16.size else 0
        body = wrapped[_U16.size + size :]
        if not size or not body:
            raise WrongRootKey("This slot holds no wrap of Azure Key Vault.")
        key = self._ask("unwrapkey", wrapped[_U16.size : _U16.size + size])
        if len(key) != KEY_BYTES:
            raise WrongRootKey(f"{_WHO} gave a key of {len(key)} bytes; expected {KEY_BYTES}.")
        try:
            return bytearray(CBL256.open(key, record, body))
        except DoesNotOpen:
            raise WrongRootKey(f"What {_WHO} gave does not open this slot.", hint="See which key it holds.") from None

    def _ask(self, verb: str, value: bytes) -> bytes:
        url = f"{self._options['key']}/{verb}?api-version=7.4"
        body = {"alg": "RSA-OAEP-256", "value": base64.urlsafe_b64encode(value).decode().rstrip("=")}
        headers = {"authorization": f"Bearer {self._token()}"}
        found = call(_WHO, url, body, headers, self._options["ca_file"]).get("value")
        if not isinstance(found, str):
            raise CustodyUnreachable(f"Expected a value in the answer of {_WHO}, got none; see its address.")
        try:
            return base64.b64decode(found + "=" * (-len(found) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise WrongRootKey(f"{_WHO} gave no base64url.") from None

    def _token(self) -> str:
        if self._options["token_file"]:
            return token(self._options["token_file"])
        answer = call("The identity endpoint", self._options["identity"], None, {"metadata": "true"})
        found = answer.get("access_token")
        if not isinstance(found, str):
            raise CustodyUnreachable("Expected a token from the identity endpoint, got none.")
        return found


def create(options: Mapping[str, str], randomness: bytes) -> AzureSlot:
    """A slot under an existing key; nothing is made there. Raises RootKeyMissing and InvalidSetting as `attach`."""
    check_randomness(randomness, KEY_BYTES)
    return AzureSlot(_checked(options), randomness[:KEY_BYTES])


def attach(options: Mapping[str, str]) -> AzureSlot:
    """A slot that exists.

    Raises:
        RootKeyMissing: no key is named. InvalidSetting: it is not the address of a version of one.
    """
    return AzureSlot(_checked(options))


def _checked(options: Mapping[str, str]) -> dict[str, str]:
    if not _ADDRESS.fullmatch(given(options, "key", "the address of a key")):
        raise InvalidSetting("Expected https://VAULT.vault.azure.net/keys/NAME/VERSION as the key; correct it.")
    return {**OPTIONAL, **{name: text for name, text in options.items() if text}}
