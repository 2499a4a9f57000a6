"""The suites against the vectors that the makers of cryptography publish: Cobblestone-256 and AES-SIV.

HPKE stands in test_hpke, FF1 in test_ff1, XAES in test_xaes, the Wycheproof file of AES-SIV in test_siv_vectors, that of
Ed25519 in tests/audit/test_note.
"""

import base64
import hashlib
import hmac
import json
import secrets
import zlib
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from guard.vault.suites import CBL256, SIV

CHUNK = 16 * 1024
FOLDER = Path(cryptography_vectors.__file__).parent
CHUNKED = [
    one
    for one in json.loads((FOLDER / "chunked-encryption" / "vectors.json").read_text())["vectors"]
    if one["aead"] == "AEAD_AES_256_GCM"
]


def siv_cases():
    """The blocks of `openssl.txt` as dictionaries."""
    text = (FOLDER / "ciphers" / "AES" / "SIV" / "openssl.txt").read_text()
    for block in text.split("\n\n"):
        pairs = [line.split("=", 1) for line in block.splitlines() if "=" in line and not line.startswith("#")]
        found = {name.strip(): value.strip() for name, value in pairs}
        if "Key" in found:
            yield found


def test_there_are_vectors_of_both_verdicts():
    assert {one["expect"] for one in CHUNKED} == {"success", "failure"}
    assert len(CHUNKED) >= 34


def opened(key, context, body, hash_):
    """Chunked encryption once more, from c2sp.org/chunked-encryption; the published vectors are over SHA-256."""
    salt, commitment, chunks = body[:24], body[24:56], body[56:]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = HKDFExpand(hash_, 32 + 12 + 32, info).derive(key)
    if len(key) != 32 or not hmac.compare_digest(derived[44:], commitment):
        raise InvalidTag
    whole = CHUNK + 16
    if len(chunks) % whole < 16:  # the last chunk is short, and has a tag
        raise InvalidTag
    plaintext = b""
    for number, at in enumerate(range(0, len(chunks), whole)):
        nonce = (int.from_bytes(derived[32:44], "big") ^ number).to_bytes(12, "big")
        plaintext += AESGCM(derived[:32]).decrypt(nonce, chunks[at : at + whole], None)
    return plaintext


def sealed(key, context, salt, plaintext, hash_):
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = HKDFExpand(hash_, 32 + 12 + 32, info).derive(key)
    body = salt + derived[44:]
    for number in range(len(plaintext) // CHUNK + 1):
        nonce = (int.from_bytes(derived[32:44], "big") ^ number).to_bytes(12, "big")
        body += AESGCM(derived[:32]).encrypt(nonce, plaintext[number * CHUNK : (number + 1) * CHUNK], None)
    return body


@pytest.mark.parametrize("vector", CHUNKED, ids=lambda one: one["name"])
def test_the_reference_agrees_with_the_vectors_of_chunked_encryption(vector):
    key, context = bytes.fromhex(vector["key"]), vector["context"].encode()
    text = vector["ciphertext"] or ""
    body = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if vector.get("compressed"):
        body = zlib.decompress(body)
    if vector["expect"] == "success":
        plaintext = opened(key, context, body, SHA256())
        assert len(plaintext) == int(vector["payload_length"])
        assert hashlib.sha256(plaintext).hexdigest() == vector["payload_sha256"]
        assert sealed(key, context, body[:24], plaintext, SHA256()) == body
    else:
        with pytest.raises(InvalidTag):
            opened(key, context, body, SHA256())


@pytest.mark.parametrize("size", [0, 1, 16, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1 << 20])
def test_suite_1_is_that_construction_over_sha_512(size):
    """Cobblestone-256 names the hash SHA-512; the library agrees with the reference in both directions."""
    key, context, plaintext = secrets.token_bytes(32), secrets.token_bytes(110), secrets.token_bytes(size)
    assert opened(key, context, CBL256.seal(key, context, plaintext), SHA512()) == plaintext
    assert CBL256.open(key, context, sealed(key, context, secrets.token_bytes(24), plaintext, SHA512())) == plaintext


@pytest.mark.parametrize("case", list(siv_cases()), ids=lambda one: f"case {one['COUNT']}")
def test_aes_siv(case):
    key = bytes.fromhex(case["Key"])
    associated = [bytes.fromhex(value) for name, value in sorted(case.items()) if name.startswith("AAD")]
    plaintext, sealed = bytes.fromhex(case["Plaintext"]), bytes.fromhex(case["Tag"] + case["Ciphertext"])
    assert AESSIV(key).encrypt(plaintext, associated) == sealed
    if len(key) == SIV.key_bytes and len(associated) == 1:
        assert SIV.seal(key, associated[0], plaintext) == sealed
        assert SIV.open(key, associated[0], sealed) == plaintext
