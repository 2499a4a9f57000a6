"""AES-SIV: the library against public vectors, and suite 3 against RFC 5297 written out once more."""

import json

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.vault.suites import SIV


def cmac(key, message):
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def double(block):
    """Multiplication by x in GF(2^128), RFC 5297 section 2.3."""
    number = int.from_bytes(block, "big") << 1
    return (number ^ (0x87 if number >> 128 else 0) & 0xFF).to_bytes(17, "big")[1:]


def xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def s2v(key, *strings):
    """RFC 5297 section 2.4."""
    total = cmac(key, bytes(16))
    for string in strings[:-1]:
        total = xor(double(total), cmac(key, string))
    last = strings[-1]
    if len(last) >= 16:
        return cmac(key, last[:-16] + xor(last[-16:], total))
    return cmac(key, xor(double(total), last + b"\x80" + bytes(15 - len(last))))


def siv_encrypt(key, associated, plaintext):
    """RFC 5297 section 2.6: synthetic value, then counter mode under the second half of the key."""
    half = len(key) // 2
    synthetic = s2v(key[:half], *associated, plaintext)
    counter = bytearray(synthetic)
    counter[8] &= 0x7F
    counter[12] &= 0x7F
    encryptor = Cipher(algorithms.AES(key[half:]), modes.CTR(bytes(counter))).encryptor()
    return synthetic + encryptor.update(plaintext) + encryptor.finalize()


@pytest.fixture(scope="module")
def cases(conformance):
    path = conformance / "wycheproof" / "aead_aes_siv_cmac_test.json"
    if not path.is_file():
        pytest.skip(f"no AES-SIV vectors at {path}")
    document = json.loads(path.read_text())
    found = [
        {key: bytes.fromhex(case[key]) for key in ("key", "iv", "aad", "msg", "ct", "tag")} | {"result": case["result"]}
        for group in document["testGroups"]
        for case in group["tests"]
    ]
    assert len(found) == document["numberOfTests"] == 900
    return found


def test_library_agrees_with_the_vectors(cases):
    verdicts = {"valid": 0, "invalid": 0}
    for case in cases:
        cipher, associated = AESSIV(case["key"]), [case["aad"], case["iv"]]
        sealed = case["tag"] + case["ct"]
        verdicts[case["result"]] += 1
        if case["result"] == "valid":
            assert cipher.encrypt(case["msg"], associated) == sealed
            assert cipher.decrypt(sealed, associated) == case["msg"]
        else:
            with pytest.raises(InvalidTag):
                cipher.decrypt(sealed, associated)
    assert min(verdicts.values()) > 100


def test_reference_agrees_with_the_vectors(cases):
    for case in cases:
        sealed = siv_encrypt(case["key"], [case["aad"], case["iv"]], case["msg"])
        assert (sealed == case["tag"] + case["ct"]) == (case["result"] == "valid")


def test_reference_agrees_with_rfc_5297_a1():
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    associated = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    sealed = siv_encrypt(key, [associated], bytes.fromhex("112233445566778899aabbccddee"))
    assert sealed.hex() == "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"


@given(st.binary(min_size=64, max_size=64), st.binary(max_size=150), st.binary(max_size=80))
@settings(max_examples=150)
def test_suite_is_siv_with_one_associated_string(key, context, plaintext):
    assert SIV.seal(key, context, plaintext) == siv_encrypt(key, [context], plaintext)
