"""Personal values of a record: the commitment to each, and how it is sealed beside the log.

Commitment: `C = SHA-256(0x02 || nonce[32] || JCS(value))`, in the body as base64url. Sealed row: `mark[8] || iv[12] ||
AES-256-GCM(nonce || JCS(value))` with the associated data `"guard/audit/sealed/v1" NUL || record id[16] || u16 length
of the field's name || name` (NIST SP 800-38D). The mark is the random id of the key, so that what is left of a key's
rows in a file can be found without knowing a value. Law: nothing else that is derived from a value leaves here.
No I/O; randomness is an argument.
"""

from typing import Any
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guard.audit.canonical import NONCE_BYTES, b64u, commitment
from guard.errors import StoreDamaged

MARK_BYTES = 8
IV_BYTES = 12


def sealable(value: Any) -> Any:
    """*value* as it is committed to: text, whole numbers and truth values as they are, all else as its JSON text."""
    if isinstance(value, str | int):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def committed(nonce_and_value: bytes) -> str:
    """What stands in the body for a nonce and the canonical JSON that follows it."""
    nonce, value = parted(nonce_and_value)
    return b64u(commitment(nonce, value))


def parted(nonce_and_value: bytes) -> tuple[bytes, Any]:
    """The nonce, and the value that the canonical JSON behind it stands for."""
    return nonce_and_value[:NONCE_BYTES], orjson.loads(nonce_and_value[NONCE_BYTES:])


def seal(key: bytes, mark: bytes, iv: bytes, place: tuple[str, str], nonce_and_value: bytes) -> bytes:
    """The sealed row of a value: it opens under this key in its *place* (record id, field), and nowhere else."""
    return mark + iv + AESGCM(key).encrypt(iv, nonce_and_value, _bound(*place))


def unseal(key: bytes, place: tuple[str, str], sealed: bytes) -> bytes:
    """Nonce and canonical JSON of a sealed row.

    Raises:
        StoreDamaged: it was changed or moved.
    """
    iv, text = sealed[MARK_BYTES : MARK_BYTES + IV_BYTES], sealed[MARK_BYTES + IV_BYTES :]
    try:
        return AESGCM(key).decrypt(iv, text, _bound(*place))
    except (InvalidTag, ValueError):
        raise StoreDamaged(
            f"Expected the sealed value of {place[1]} to open in its record, but it was changed or moved; restore it."
        ) from None


def _bound(record_id: str, field: str) -> bytes:
    name = field.encode()
    return b"guard/audit/sealed/v1\0" + UUID(record_id).bytes + len(name).to_bytes(2, "big") + name
