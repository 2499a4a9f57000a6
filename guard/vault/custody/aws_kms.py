"""Custody in AWS KMS: a symmetric KMS key wraps the secret, with the slot record as encryption context.

Calls: Encrypt and Decrypt with the key named, never the key that a ciphertext names. The context is one pair,
`guard` -> the slot record, and stands in CloudTrail as it is: it holds no secret. Credentials are found as boto3 finds
them (environment, profile, instance role); none is kept here. boto3 is loaded only where such a slot is used.
"""

from collections.abc import Mapping
from typing import Any, Final

from guard.errors import CustodyUnreachable, GuardError, InvalidSetting, RootKeyMissing, WrongRootKey
from guard.vault.custody import KEY_BYTES, check_randomness, given

OPTIONS: Final = ("key_id", "region")
OPTIONAL: Final[Mapping[str, str]] = {"endpoint": ""}
SECRETS: Final[tuple[str, ...]] = ()
TIMEOUT_SECONDS: Final = 5
MAX_WRAP_BYTES: Final = 6144  # the service's own limit for CiphertextBlob

_WRONG: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException", "ValidationException"})
_BUSY: Final = frozenset(
    {"ThrottlingException", "DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException"}
)
_FOREIGN: Final = ("decrypt", "AccessDeniedException")
"""The answer for a ciphertext of a key that is unknown there, and for a caller who may not use the right one."""
_SERVER: Final = 500


class AwsKmsSlot:
    """A slot under one KMS key."""

    __slots__ = ("_client", "_key_id")
    handout: tuple[str, ...] = ()

    def __init__(self, client: Any, key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The ciphertext of KMS.

        Raises:
            CustodyUnreachable: KMS does not answer. RootKeyMissing: no such key, or no right to use it.
        """
        answer = self._ask("encrypt", Plaintext=secret, EncryptionContext=_context(record))
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret in a wrap.

        Raises:
            CustodyUnreachable, RootKeyMissing: as `wrap`.
            WrongRootKey: another key or record, or changed bytes.
        """
        if not 0 < len(wrapped) <= MAX_WRAP_BYTES:
            raise WrongRootKey("This slot holds no ciphertext of AWS KMS.")
        answer = self._ask("decrypt", CiphertextBlob=wrapped, EncryptionContext=_context(record))
        return bytearray(answer["Plaintext"])

    def _ask(self, verb: str, **parts: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

        try:
            answer: dict[str, Any] = getattr(self._client, verb)(KeyId=self._key_id, **parts)
        except ClientError as error:
            raise self._refusal(verb, error.response) from None
        except BotoCoreError as error:
            raise CustodyUnreachable(
                f"AWS KMS does not answer ({type(error).__name__}).",
                hint="It is tried again; see the network, the region and the credentials of this host.",
            ) from None
        return answer

    def _refusal(self, verb: str, response: Mapping[str, Any]) -> GuardError:
        code = str(response.get("Error", {}).get("Code", ""))
        if code in _WRONG or (verb, code) == _FOREIGN:
            return WrongRootKey(
                f"The KMS key {self._key_id} does not open this slot ({code}).", hint="See its key id and key policy."
            )
        if code in _BUSY or response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _SERVER:
            return CustodyUnreachable(f"AWS KMS cannot answer now ({code}).", hint="It is tried again.")
        return RootKeyMissing(
            f"AWS KMS refuses the use of the key {self._key_id} ({code}).", hint="See its state and its key policy."
        )


def _context(record: bytes) -> dict[str, str]:
    return {"guard": "slot:" + record.decode()}


def create(options: Mapping[str, str], randomness: bytes) -> AwsKmsSlot:
    """A slot under an existing KMS key; nothing is made there.

    Raises:
        RootKeyMissing: an option is missing. InvalidSetting: boto3 is not installed, or no such region.
    """
    check_randomness(randomness, KEY_BYTES)
    return attach(options)


def attach(options: Mapping[str, str]) -> AwsKmsSlot:
    """A slot that exists; raises as `create`."""
    key_id = given(options, "key_id", "the id or ARN of a KMS key")
    region = given(options, "region", "an AWS region")
    try:
        import boto3  # noqa: PLC0415 - an extra, and slow to load
        from botocore.config import Config  # noqa: PLC0415 - the same
    except ImportError:
        raise InvalidSetting("AWS KMS needs the extra: install guard[custody].") from None
    limits = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 2})
    try:
        client = boto3.client("kms", region_name=region, endpoint_url=options.get("endpoint") or None, config=limits)
    except ValueError:
        raise InvalidSetting(
            f"Expected an AWS region and an endpoint with https://, got {region}; correct it."
        ) from None
    return AwsKmsSlot(client, key_id)
