"""Verifier keys, signatures, checkpoints and proofs (c2sp.org/signed-note, /tlog-checkpoint, /tlog-proof).

Law: a key names itself by a hash of its own bytes, base64 has one spelling, and a note has one form. No I/O.
"""

import base64
import re
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

ED25519, PUBLIC_BYTES = 1, {1: 32, 6: 1312}  # by signature type: Ed25519, ML-DSA-44

NOTE = re.compile(
    r"(([^\s+\x00-\x1f]{1,255})\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n)\n"
    r"((?:— [^\s+\x00-\x1f]+ [A-Za-z0-9+/]{6,}={0,2}\n){1,64})"
).fullmatch
PROOF = re.compile(
    r"c2sp\.org/tlog-proof@v1\nindex (0|[1-9][0-9]{0,18})\n((?:[A-Za-z0-9+/]{43}=\n){0,64})\n(.+)", re.DOTALL
).fullmatch


class Head(NamedTuple):
    """What a checkpoint says: a log, its size and its root."""

    origin: str
    size: int
    root: bytes


def b64decode(text: str) -> bytes:
    """The bytes of base64 in its one spelling; raises ValueError for any other."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("another spelling of base64 was expected")
    return data


def parse_vkey(text: str) -> tuple[str, bytes]:
    """`name+id` of a verifier key, and its type byte with the public key."""
    found = re.fullmatch(r"(([^\s+]+)\+([0-9a-f]{8}))\+(\S+)", text)
    material = b64decode(found[4]) if found else b"\x00"
    own_id = sha256((found[2] if found else "").encode() + b"\n" + material).hexdigest()[:8]
    if not found or len(material) - 1 != PUBLIC_BYTES.get(material[0]) or own_id != found[3]:
        raise ValueError("a verifier key name+id+key was expected, of Ed25519 or ML-DSA-44 and with its own id")
    return found[1], material


def holds(name: str, material: bytes, head: Head, text: str, signature: bytes) -> bool:
    """Is this the signature of the key `material` under its name, over the note text of `head`?"""
    try:
        if material[0] == ED25519:
            Ed25519PublicKey.from_public_bytes(material[1:]).verify(signature, text.encode())
        else:  # c2sp.org/tlog-cosignature
            signer, origin = (bytes([len(item)]) + item for item in (name.encode(), head.origin.encode()))
            tree = bytes(8) + head.size.to_bytes(8, "big") + head.root
            signed = b"subtree/v1\n\x00" + signer + signature[:8] + origin + tree
            MLDSA44PublicKey.from_public_bytes(material[1:]).verify(signature[8:], signed)
    except (InvalidSignature, ValueError):
        return False
    return material[0] == ED25519 or signature[:8] < b"\x80"
