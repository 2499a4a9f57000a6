"""What the suites, wraps and imports stand on, against the vectors that cryptography ships; each file with its count.

Where guard has a function over the primitive, the vector goes through that. Others of these files: chunked encryption
and AES-SIV in test_published_vectors, HPKE in test_hpke. Of Wycheproof: FF1 in test_ff1, AES-SIV in test_siv_vectors,
Ed25519 in tests/audit/test_note.
"""

import base64
from collections import Counter
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation, Mode

from guard.errors import DoesNotOpen
from guard.vault import gcm96
from guard.vault.keys import Secret
from guard.vault.openbao import Backup, KeyType

FOLDER = Path(cryptography_vectors.__file__).parent


def blocks(name):
    """The cases of a file as dictionaries of lower-case names; lines in brackets hold for those after them."""
    found, case, context = [], {}, {}
    for raw in (FOLDER / name).read_text().splitlines():
        line = raw.strip()
        if line.startswith("["):
            key, _, value = line.strip("[]").partition("=")
            context[key.strip().lower()] = value.strip()
        elif line.upper() == "FAIL":
            case["fail"] = "1"
        elif "=" in line and not line.startswith("#"):
            key, value = (part.strip() for part in line.split("=", 1))
            if key.lower() == "count":
                case = dict(context)
                found.append(case)
            case[key.lower()] = value
    return found


def raw(case, *names):
    return [bytes.fromhex(case.get(name, "")) for name in names]


def gcm(key, iv, associated, plaintext, sealed):
    """Both directions; through guard's own function where the sizes are those that it takes."""
    assert AESGCM(key).decrypt(iv, sealed, associated) == plaintext
    assert AESGCM(key).encrypt(iv, plaintext, associated) == sealed
    if (len(key), len(iv)) == (gcm96.KEY_BYTES, gcm96.NONCE_BYTES):
        assert gcm96.open_body(key, associated, iv + sealed) == plaintext


def test_aes_gcm_decrypts_and_refuses():
    verdicts = Counter()
    for case in blocks("ciphers/AES/GCM/gcmDecrypt256.rsp"):
        if case["taglen"] != "128" or int(case["ivlen"]) < 64:  # what the library takes
            continue
        key, iv, ct, aad, tag, pt = raw(case, "key", "iv", "ct", "aad", "tag", "pt")
        verdicts["fail" in case, len(iv) == 12] += 1
        if "fail" not in case:
            gcm(key, iv, aad, pt, ct + tag)
            continue
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(iv, ct + tag, aad)
        if len(iv) == gcm96.NONCE_BYTES:
            with pytest.raises(DoesNotOpen):
                gcm96.open_body(key, aad, iv + ct + tag)
    assert sum(verdicts.values()) == 750
    assert min(verdicts[fail, True] for fail in (True, False)) > 100


@pytest.mark.parametrize("name", ["128", "256"])
def test_aes_gcm_encrypts(name):
    done = 0
    for case in blocks(f"ciphers/AES/GCM/gcmEncryptExtIV{name}.rsp"):
        if case["taglen"] == "128" and int(case["ivlen"]) >= 64:
            key, iv, ct, aad, tag, pt = raw(case, "key", "iv", "ct", "aad", "tag", "pt")
            gcm(key, iv, aad, pt, ct + tag)
            done += 1
    assert done == 750


@pytest.mark.parametrize(("name", "count"), [("openssl.txt", 46), ("aes-192-gcm-siv.txt", 46)])
def test_aes_gcm_siv(name, count):
    """The suite that guard never writes; the library reads it right."""
    cases = blocks(f"ciphers/AES/GCM-SIV/{name}")
    for case in cases:
        key, iv, ct, aad, tag, pt = raw(case, "key", "iv", "ciphertext", "aad", "tag", "plaintext")
        assert AESGCMSIV(key).encrypt(iv, pt, aad) == ct + tag
        assert AESGCMSIV(key).decrypt(iv, ct + tag, aad) == pt
    assert len(cases) == count


OTHER_NAMES = {"nonce": "iv", "in": "plaintext", "ad": "aad", "ct": "ciphertext"}


@pytest.mark.parametrize(("name", "opened", "refused"), [("openssl.txt", 4, 1), ("boringssl.txt", 66, 0)])
def test_chacha20_poly1305(name, opened, refused):
    """A type of Transit keys: each vector goes through a backup, where it has the sizes of one."""
    verdicts = Counter()
    for case in blocks(f"ciphers/ChaCha20Poly1305/{name}"):
        named = {OTHER_NAMES.get(key, key): value for key, value in case.items()}
        named |= {key: one[1:-1].encode().hex() for key, one in named.items() if one.startswith('"')}
        key, iv, ct, aad, tag, pt = raw(named, "key", "iv", "ciphertext", "aad", "tag", "plaintext")
        backup = Backup("k", KeyType.CHACHA20_POLY1305, False, False, 1, {1: Secret(key, "k")})
        sealed = "vault:v1:" + base64.b64encode(iv + ct + tag).decode()
        verdicts["result" in named] += 1
        if "result" in named:
            with pytest.raises(DoesNotOpen):
                backup.decrypt(sealed, associated=aad)
        else:
            assert ChaCha20Poly1305(key).encrypt(iv, pt, aad) == ct + tag
            assert backup.decrypt(sealed, associated=aad) == pt
    assert (verdicts[False], verdicts[True]) == (opened, refused)


def test_argon2id():
    cases = blocks("KDF/argon2id.txt")
    for case in cases:
        word, salt, expected = raw(case, "pass", "salt", "output")
        secret, ad = (bytes.fromhex(case[name]) if name in case else None for name in ("secret", "ad"))
        sizes = {"length": int(case["length"]), "iterations": int(case["iter"]), "lanes": int(case["lanes"])}
        kdf = Argon2id(salt=salt, memory_cost=int(case["memcost"]), secret=secret, ad=ad, **sizes)
        assert kdf.derive(word) == expected
    assert len(cases) == 6


@pytest.mark.parametrize(("name", "count"), [("rfc-5869-HKDF-SHA256.txt", 3), ("hkdf-generated.txt", 1)])
def test_hkdf_sha256(name, count):
    cases = blocks(f"KDF/{name}")
    for case in cases:
        ikm, salt, info, okm = raw(case, "ikm", "salt", "info", "okm")
        assert HKDF(SHA256(), int(case["l"]), salt=salt or None, info=info).derive(ikm) == okm
    assert len(cases) == count


def test_hmac_sha256():
    done = 0
    text = (FOLDER / "HMAC" / "rfc-4231-sha256.txt").read_text()
    for block in text.split("\n\n"):
        case = {k.strip().lower(): v.strip() for k, _, v in (line.partition("=") for line in block.splitlines()) if v}
        if "md" in case and "msg" in case and len(case["md"]) == 64:
            key, message, expected = raw(case, "key", "msg", "md")
            mac = HMAC(key, SHA256())
            mac.update(message)
            assert mac.finalize() == expected
            done += 1
    assert done == 6


def test_the_kdf_of_xaes():
    """NIST SP 800-108 in counter mode over CMAC of AES-256, the counter of 16 bits in front, as XAES has it."""
    done = 0
    for case in blocks("KDF/nist-800-108-KBKDF-CTR.txt"):
        if (case["prf"], case["ctrlocation"], case["rlen"]) == ("CMAC_AES256", "BEFORE_FIXED", "16_BITS"):
            key, fixed, expected = raw(case, "ki", "fixedinputdata", "ko")
            place = CounterLocation.BeforeFixed
            kdf = KBKDFCMAC(algorithms.AES, Mode.CounterMode, int(case["l"]) // 8, 2, None, place, None, None, fixed)
            assert kdf.derive(key) == expected
            done += 1
    assert done == 40


@pytest.mark.parametrize("padded", [False, True], ids=["KW", "KWP"])
@pytest.mark.parametrize("size", [128, 192, 256])
def test_key_wrap(size, padded):
    wrap = keywrap.aes_key_wrap_with_padding if padded else keywrap.aes_key_wrap
    unwrap = keywrap.aes_key_unwrap_with_padding if padded else keywrap.aes_key_unwrap
    kind, verdicts = "KWP" if padded else "KW", Counter()
    for case in blocks(f"keywrap/kwtestvectors/{kind}_AE_{size}.txt"):
        key, plain, sealed = raw(case, "k", "p", "c")
        assert wrap(key, plain) == sealed
        verdicts["wrap"] += 1
    for case in blocks(f"keywrap/kwtestvectors/{kind}_AD_{size}.txt"):
        key, sealed, plain = raw(case, "k", "c", "p")
        verdicts["fail" if "fail" in case else "unwrap"] += 1
        if "fail" in case:
            with pytest.raises(keywrap.InvalidUnwrap):
                unwrap(key, sealed)
        else:
            assert unwrap(key, sealed) == plain
    assert dict(verdicts) == {"wrap": 500, "unwrap": 400, "fail": 100}


def test_ml_kem_768():
    cases = blocks("asymmetric/MLKEM/kat_MLKEM_768.rsp")
    for case in cases:
        z, d, public, sealed, shared = raw(case, "z", "d", "pk", "ct", "ss")
        key = MLKEM768PrivateKey.from_seed_bytes(d + z)
        assert key.public_key().public_bytes_raw() == public
        assert key.decapsulate(sealed) == shared
        damaged, rejected = raw(case, "ct_n", "ss_n")
        assert key.decapsulate(damaged) == rejected  # implicit rejection: another secret, no error
    assert len(cases) == 1000


def test_ed25519_signs_as_published():
    done = 0
    for line in (FOLDER / "asymmetric" / "Ed25519" / "sign.input").read_text().splitlines():
        seed_public, public, message, signature_message, _ = line.split(":")
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed_public[:64]))
        assert key.public_key().public_bytes_raw().hex() == public
        assert key.sign(bytes.fromhex(message)).hex() + message == signature_message
        done += 1
    assert done == 1024
