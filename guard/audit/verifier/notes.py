"""Verifier keys, signatures and signed texts (c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature).

Law: a key names itself by a hash of its own bytes, base64 has one spelling, and a note has one form. No I/O.
"""

import base64
import re
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

ED25519, COSIGNATURE, MLDSA44 = 1, 4, 6  # signature types
PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, MLDSA44: 1312}
LOG_TYPES, WITNESS_TYPES = (ED25519, MLDSA44), (COSIGNATURE, MLDSA44)
MAX_SIZE = (1 << 63) - 1

_LINES = r"((?:— [^\s+\x00-\x1f]+ [A-Za-z0-9+/]{6,}={0,2}\n){1,64})"
_NOTE = re.compile(r"(([^\s+\x00-\x1f]{1,255})\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n)\n" + _LINES).fullmatch
_MANIFEST = re.compile(r"(guard/manifest/v1\n([^\s+\x00-\x1f]{1,255})\n([0-9a-f]{64})\n)\n" + _LINES).fullmatch


class Head(NamedTuple):
    """What a checkpoint says: a log, its size and its root."""

    origin: str
    size: int
    root: bytes


class Line(NamedTuple):
    """One signature line: the name, `name+id` of the key, and the bytes after the id."""

    name: str
    label: str
    signature: bytes


class Note(NamedTuple):
    """A signed text; for a checkpoint with its head, for a manifest note with the hash that it signs."""

    text: str
    head: Head
    lines: list[Line]
    digest: str = ""


def b64decode(text: str) -> bytes:
    """The bytes of base64 in its one spelling; raises ValueError for any other."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("another spelling of base64 was expected")
    return data


def parse_vkey(text: str, types: tuple[int, ...] = LOG_TYPES) -> tuple[str, bytes]:
    """`name+id` of a verifier key, and its type byte with the public key."""
    found = re.fullmatch(r"(([^\s+]+)\+([0-9a-f]{8}))\+(\S+)", text)
    material = b64decode(found[4]) if found else b"\x00"
    own_id = sha256((found[2] if found else "").encode() + b"\n" + material).hexdigest()[:8]
    right = material[:1] and material[0] in types and len(material) - 1 == PUBLIC_BYTES[material[0]]
    if not found or not right or own_id != found[3]:
        raise ValueError(
            f"a verifier key name+id+key with its own id and of type {types[0]} or {types[1]} was expected"
        )
    return found[1], material


def parse_checkpoint(text: str) -> Note:
    """The parts of a signed checkpoint; no signature is checked."""
    found = _NOTE(text)
    if not found or int(found[3]) > MAX_SIZE:
        raise ValueError("a checkpoint was expected: origin, size, root, an empty line, signature lines")
    return Note(found[1], Head(found[2], int(found[3]), b64decode(found[4])), _lines(found[5]))


def parse_manifest_note(text: str) -> Note:
    """The parts of the signed note over a manifest; no signature is checked."""
    found = _MANIFEST(text)
    if not found:
        raise ValueError("a note over a manifest was expected: guard/manifest/v1, origin, SHA-256, signature lines")
    return Note(found[1], Head(found[2], 0, b""), _lines(found[4]), found[3])


def holds(name: str, material: bytes, head: Head, text: bytes, signature: bytes) -> bool:
    """Is this the signature of the key `material` under its name, over the note text of `head`?"""
    stamp, rest = signature[:8], signature[8:]
    try:
        if material[0] == ED25519:
            Ed25519PublicKey.from_public_bytes(material[1:]).verify(signature, text)
            return True
        if material[0] == COSIGNATURE:
            signed = b"cosignature/v1\ntime %d\n%b" % (int.from_bytes(stamp), text)
            Ed25519PublicKey.from_public_bytes(material[1:]).verify(rest, signed)
        else:
            signer, origin = (bytes([len(item)]) + item for item in (name.encode(), head.origin.encode()))
            tree = bytes(8) + head.size.to_bytes(8) + head.root
            signed = b"subtree/v1\n\x00" + signer + stamp + origin + tree
            MLDSA44PublicKey.from_public_bytes(material[1:]).verify(rest, signed)
    except (InvalidSignature, ValueError):
        return False
    return stamp < b"\x80"  # a POSIX time below 2^63


def _lines(block: str) -> list[Line]:
    lines = list[Line]()
    for name, encoded in re.findall(r"— (\S+) (\S+)\n", block):
        data = b64decode(encoded)
        lines.append(Line(name, f"{name}+{data[:4].hex()}", data[4:]))
    return lines
