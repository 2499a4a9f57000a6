"""Custody in a remote Transit engine (OpenBao, HashiCorp Vault): its key wraps the secret, and never leaves it.

Calls: POST /v1/{mount}/encrypt/{key} and /decrypt/{key}, with the slot record as `associated_data`, so the key is of
type aes256-gcm96 or chacha20-poly1305. The wrap is the engine's own ciphertext (`vault:v1:...`), which a rotation of
its key leaves readable until `min_decryption_version` passes it. The token stands in a file and needs `update` on these
two paths alone. Law: HTTPS, except to this host itself.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from guard.errors import CustodyUnreachable, InvalidSetting, WrongRootKey
from guard.vault.custody import KEY_BYTES, check_randomness, given
from guard.vault.custody_http import call, token

OPTIONS: Final = ("address", "key", "token_file")
OPTIONAL: Final[Mapping[str, str]] = {"mount": "transit", "namespace": "", "ca_file": ""}
SECRETS: Final[tuple[str, ...]] = ()

_FORM: Final = re.compile(rb"vault:v[0-9]{1,10}:[A-Za-z0-9+/]{16,}={0,2}")
_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class TransitSlot:
    """A slot at a Transit engine."""

    __slots__ = ("_options", "_url")
    handout: tuple[str, ...] = ()

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._url = url
        self._options = options

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The engine's ciphertext of the secret.

        Raises:
            CustodyUnreachable, RootKeyMissing, WrongRootKey: as `custody_http.call`.
        """
        wrapped = self._ask("encrypt", {"plaintext": _b64(secret), "associated_data": _b64(record)}, "ciphertext")
        if not _FORM.fullmatch(wrapped.encode()):
            raise CustodyUnreachable(f"Expected a ciphertext from {self._who}, got another form; see its address.")
        return wrapped.encode()

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap.

        Raises:
            CustodyUnreachable, RootKeyMissing: as `custody_http.call`.
            WrongRootKey: another key or record, or changed bytes.
        """
        if not _FORM.fullmatch(wrapped):
            raise WrongRootKey("This slot holds no ciphertext of a Transit engine.")
        asked = {"ciphertext": wrapped.decode(), "associated_data": _b64(record)}
        try:
            return bytearray(base64.b64decode(self._ask("decrypt", asked, "plaintext"), validate=True))
        except binascii.Error:
            raise WrongRootKey(f"{self._who} gave no base64.") from None

    @property
    def _who(self) -> str:
        return f"The Transit engine at {self._options['address']}"

    def _ask(self, verb: str, body: Mapping[str, str], member: str) -> str:
        headers = {"x-vault-token": token(given(self._options, "token_file", "the file with a token"))}
        if self._options.get("namespace"):
            headers["x-vault-namespace"] = self._options["namespace"]
        url = f"{self._url}/{verb}/{quote(self._options['key'], safe='')}"
        answer = call(self._who, url, body, headers, self._options.get("ca_file", ""))
        data = answer.get("data")
        found = data.get(member) if isinstance(data, dict) else None
        if not isinstance(found, str):
            raise CustodyUnreachable(f"Expected {member} in the answer of {self._who}, got none; see its address.")
        return found


def create(options: Mapping[str, str], randomness: bytes) -> TransitSlot:
    """A slot under an existing key of the engine; nothing is made there.

    Raises:
        RootKeyMissing: an option is missing. InvalidSetting: the address is not HTTPS.
    """
    check_randomness(randomness, KEY_BYTES)
    return attach(options)


def attach(options: Mapping[str, str]) -> TransitSlot:
    """A slot that exists; raises as `create`."""
    address = given(options, "address", "the address of a Transit engine").rstrip("/")
    for name in ("key", "token_file"):
        given(options, name, "a text")
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _HERE):
        raise InvalidSetting(f"Expected an address beginning with https://, got {address}; the token would be read.")
    mount = options.get("mount") or OPTIONAL["mount"]
    return TransitSlot(f"{address}/v1/{quote(mount.strip('/'))}", {**options, "address": address})


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
