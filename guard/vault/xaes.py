"""XAES-256-GCM of c2sp.org/XAES-256-GCM: AES-256-GCM with a 192-bit nonce, which may be drawn at random for ever.

The first 12 bytes of the nonce give a fresh AES-256-GCM key by the counter KDF of NIST SP 800-108r1 section 4.1 over
CMAC (one 16-bit counter, fixed input "X" NUL nonce[:12]); the last 12 bytes are the nonce under that key.
Body: nonce 24 | ciphertext | tag 16. Law: not committing, so it stands only where a header fixes the one key; 2^80
messages of one key keep a repeated nonce below 2^-32. No I/O.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation, Mode

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16

_DERIVING_BYTES: Final = 12


def encrypt(key: bytes | bytearray, nonce: bytes, associated: bytes, plaintext: bytes) -> bytes:
    """Ciphertext and tag, without the nonce.

    Raises:
        ValueError: the key has not 32 bytes or the nonce not 24.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"A nonce of XAES-256-GCM has {NONCE_BYTES} bytes; {len(nonce)} came.")
    return _cipher(key, nonce).encrypt(nonce[_DERIVING_BYTES:], plaintext, associated)


def decrypt(key: bytes | bytearray, associated: bytes, body: bytes) -> bytes:
    """The plaintext of nonce, ciphertext and tag in one string.

    Raises:
        InvalidTag: any other key, associated data or body, one too short included.
        ValueError: the key has not 32 bytes.
    """
    if len(body) < NONCE_BYTES + TAG_BYTES:
        raise InvalidTag
    nonce = body[:NONCE_BYTES]
    return _cipher(key, nonce).decrypt(nonce[_DERIVING_BYTES:], body[NONCE_BYTES:], associated)


def _cipher(key: bytes | bytearray, nonce: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError(f"A key of XAES-256-GCM has {KEY_BYTES} bytes; {len(key)} came.")
    kdf = KBKDFCMAC(
        algorithm=AES,
        mode=Mode.CounterMode,
        length=KEY_BYTES,
        rlen=2,
        llen=None,
        location=CounterLocation.BeforeFixed,
        label=None,
        context=None,
        fixed=b"X\0" + nonce[:_DERIVING_BYTES],
    )
    return AESGCM(kdf.derive(key))
