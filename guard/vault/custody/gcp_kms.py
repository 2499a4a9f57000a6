"""Custody in Google Cloud KMS: a symmetric key wraps the secret, with the slot record as additional data.

Calls of the REST API v1: `{key}:encrypt` and `{key}:decrypt`. The access token is read from a file, or asked of
the host's metadata server. UNTESTED against the cloud: the tests hold it against the documented shapes only; run
them with a key of your own before you rely on it.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from guard.errors import CustodyUnreachable, InvalidSetting, WrongRootKey
from guard.vault.custody import KEY_BYTES, check_randomness, given
from guard.vault.custody_http import call, token

OPTIONS: Final = ("key",)
METADATA: Final = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
OPTIONAL: Final[Mapping[str, str]] = {
    "token_file": "",
    "address": "https://cloudkms.googleapis.com",
    "metadata": METADATA,
    "ca_file": "",
}
SECRETS: Final[tuple[str, ...]] = ()

_NAME: Final = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
_WHO: Final = "Google Cloud KMS"


class GcpKmsSlot:
    """A slot under one key."""

    __slots__ = ("_options",)
    handout: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The ciphertext of the service; raises CustodyUnreachable or RootKeyMissing as `custody_http.call`."""
        return self._ask("encrypt", {"plaintext": _b64(secret)}, record, "ciphertext")

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap; raises WrongRootKey for another key or record, or changed bytes."""
        return bytearray(self._ask("decrypt", {"ciphertext": _b64(wrapped)}, record, "plaintext"))

    def _ask(self, verb: str, body: Mapping[str, str], record: bytes, member: str) -> bytes:
        options = self._options
        headers = {"authorization": f"Bearer {self._token()}"}
        url = f"{options['address']}/v1/{options['key']}:{verb}"
        asked = {**body, "additionalAuthenticatedData": _b64(record)}
        found = call(_WHO, url, asked, headers, options["ca_file"]).get(member)
        try:
            return base64.b64decode(found, validate=True) if isinstance(found, str) else _absent(member)
        except binascii.Error:
            raise WrongRootKey(f"{_WHO} gave no base64.") from None

    def _token(self) -> str:
        if self._options["token_file"]:
            return token(self._options["token_file"])
        answer = call("The metadata server", self._options["metadata"], None, {"metadata-flavor": "Google"})
        found = answer.get("access_token")
        if not isinstance(found, str):
            raise CustodyUnreachable("Expected a token from the metadata server, got none.")
        return found


def _absent(member: str) -> bytes:
    raise CustodyUnreachable(f"Expected {member} in the answer of {_WHO}, got none; see its address.")


def create(options: Mapping[str, str], randomness: bytes) -> GcpKmsSlot:
    """A slot under an existing key; nothing is made there. Raises RootKeyMissing and InvalidSetting as `attach`."""
    check_randomness(randomness, KEY_BYTES)
    return attach(options)


def attach(options: Mapping[str, str]) -> GcpKmsSlot:
    """A slot that exists.

    Raises:
        RootKeyMissing: no key is named. InvalidSetting: it is not the full name of one.
    """
    if not _NAME.fullmatch(given(options, "key", "the full name of a key")):
        raise InvalidSetting("Expected projects/P/locations/L/keyRings/R/cryptoKeys/K as the key; correct it.")
    return GcpKmsSlot({**OPTIONAL, **{name: text for name, text in options.items() if text}})


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
