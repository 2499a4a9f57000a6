"""Signed notes (c2sp.org/signed-note) with Ed25519 and with the cosignatures of c2sp.org/tlog-cosignature.

Law: a signature by an unknown key is ignored, one by a known key that fails refuses the whole note, and a note without
any good signature by a known key says nothing. One spelling only: what parses is written back byte for byte. No I/O;
time is an argument, and private keys are used, never kept.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from guard.audit import checkpoint
from guard.audit.checkpoint import Checkpoint
from guard.errors import InvalidInput, VerificationFailed

MAX_NOTE_BYTES = 1 << 20  # 64 signatures of the largest kind are a fifth of this
MAX_SIGNATURES = 64  # a reader must take 16; a log with two keys and a large witness quorum stays below
KEY_ID_BYTES = 4
TIME_BYTES = 8
MAX_TIME_SECONDS = 2**63 - 1

_LINE = re.compile(r"— ([^ +]+) ([A-Za-z0-9+/]+={0,2})").fullmatch
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})").fullmatch


class Kind(IntEnum):
    """The signature types in use."""

    ED25519 = 0x01  # over the note text
    COSIGNATURE = 0x04  # Ed25519 of a witness over a time and the note text
    MLDSA44 = 0x06  # ML-DSA-44 over a time, origin, size and root


PUBLIC_BYTES = {Kind.ED25519: 32, Kind.COSIGNATURE: 32, Kind.MLDSA44: 1312}


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name; the log's key bears the log's origin as its name."""

    name: str
    kind: Kind
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes before each signature: a lookup aid, not a fingerprint to trust."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:KEY_ID_BYTES]

    def encode(self) -> str:
        """The vkey: `name+hex(key id)+base64(type || key)`."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode('ascii')}"

    @classmethod
    def decode(cls, text: str) -> Self:
        """The key of a vkey.

        Raises:
            InvalidInput: wrong form, unknown type, wrong key length, or an id that is not this key's.
        """
        found = _VKEY(text)
        material = _b64decode(found[3]) if found else b""
        if not found or not checkpoint.is_origin(found[1]) or not material or material[0] not in set(Kind):
            raise InvalidInput("Expected a verifier key name+id+key of type 1, 4 or 6, got another form.")
        key = cls(found[1], Kind(material[0]), material[1:])
        if len(key.public) != PUBLIC_BYTES[key.kind] or key.encode() != text:
            raise InvalidInput("Expected a verifier key whose id is that of its name and key; a character is wrong.")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who claims to have signed, and the bytes after the key id."""

    name: str
    key_id: bytes
    signature: bytes

    def encode(self) -> str:
        """The line with its newline."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and its signatures, of which nothing is known before `verify`."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The note as it is published."""
        return f"{self.text}\n{''.join(line.encode() for line in self.signatures)}".encode()


def parse(data: bytes) -> Note:
    """The parts of a signed note. Checks no signature.

    Raises:
        InvalidInput: no UTF-8, a control character other than newline, no signature line, a malformed one, more than
            64 of them, or more than 1 MiB.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise InvalidInput(f"Expected a note of at most {MAX_NOTE_BYTES} bytes, got {len(data)}.")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("Expected a note in UTF-8, got other bytes.") from None
    text, gap, block = content.rpartition("\n\n")
    if not gap or not block.endswith("\n") or any(mark < " " and mark != "\n" for mark in content):
        raise InvalidInput("Expected a note: text, an empty line, signature lines; no control characters.")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise InvalidInput(f"Expected at most {MAX_SIGNATURES} signatures in a note, got {len(lines)}.")
    return Note(text + "\n", tuple(_signature(line) for line in lines))


def sign_ed25519(text: str, name: str, key: Ed25519PrivateKey) -> Signature:
    """The signature line of type 0x01 over a note text, which ends in a newline."""
    public = _own(name, Kind.ED25519, key.public_key())
    return Signature(name, public.key_id, key.sign(text.encode()))


def cosign_ed25519(text: str, name: str, key: Ed25519PrivateKey, time_seconds: int) -> Signature:
    """The line of type 0x04 with which a witness states what it saw at this POSIX time."""
    public = _own(name, Kind.COSIGNATURE, key.public_key())
    stamp = _stamp(time_seconds)
    return Signature(name, public.key_id, stamp + key.sign(_cosigned(stamp, text)))


def sign_mldsa44(head: Checkpoint, name: str, key: MLDSA44PrivateKey, time_seconds: int) -> Signature:
    """The line of type 0x06 over a checkpoint at this POSIX time: 2,428 bytes, safe against quantum computers."""
    public = _own(name, Kind.MLDSA44, key.public_key())
    stamp = _stamp(time_seconds)
    return Signature(name, public.key_id, stamp + key.sign(_subtree(stamp, name, head)))


def verify(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """The known keys that signed `note`, each once, in the order of their lines.

    Raises:
        VerificationFailed: a signature by a known key is wrong, or no known key signed.
    """
    known = {(key.name, key.key_id): key for key in keys}
    signed: dict[VerifierKey, None] = {}
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        if not _holds(key, note.text, line.signature):
            raise VerificationFailed(f"The signature of {key.name} is wrong for this note.", key=key.name)
        signed[key] = None
    if not signed:
        raise VerificationFailed(f"A signature by one of {len(known)} known keys was expected; the note has none.")
    return tuple(signed)


def open_checkpoint(data: bytes, origin: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint of a signed note of this log, with at least one good signature by one of the log's keys.

    Raises:
        InvalidInput: no note, or no checkpoint in it.
        VerificationFailed: see `verify`, or another log's origin.
    """
    note = parse(data)
    head = checkpoint.parse(note.text)
    verify(note, keys)
    if head.origin != origin:
        raise VerificationFailed(f"A checkpoint of {origin} was expected; that of another log came.", size=head.size)
    return head


def _own(name: str, kind: Kind, public: Ed25519PublicKey | MLDSA44PublicKey) -> VerifierKey:
    if not checkpoint.is_origin(name):
        raise InvalidInput("Expected a key name of 1 to 255 bytes without white space and plus signs.")
    return VerifierKey(name, kind, public.public_bytes_raw())


def _signature(line: str) -> Signature:
    found = _LINE(line)
    content = _b64decode(found[2]) if found else b""
    if not found or len(content) <= KEY_ID_BYTES or any(mark.isspace() for mark in found[1]):
        raise InvalidInput("Expected a signature line: em dash, key name, base64 of key id and signature.")
    return Signature(found[1], content[:KEY_ID_BYTES], content[KEY_ID_BYTES:])


def _holds(key: VerifierKey, text: str, signature: bytes) -> bool:
    stamp, rest = signature[:TIME_BYTES], signature[TIME_BYTES:]
    if key.kind is not Kind.ED25519 and int.from_bytes(stamp, "big") > MAX_TIME_SECONDS:
        return False
    try:
        match key.kind:
            case Kind.ED25519:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
            case Kind.COSIGNATURE:
                Ed25519PublicKey.from_public_bytes(key.public).verify(rest, _cosigned(stamp, text))
            case Kind.MLDSA44:
                message = _subtree(stamp, key.name, checkpoint.parse(text))
                MLDSA44PublicKey.from_public_bytes(key.public).verify(rest, message)
    except (InvalidSignature, InvalidInput, ValueError):
        return False
    return True


def _stamp(time_seconds: int) -> bytes:
    if not 0 <= time_seconds <= MAX_TIME_SECONDS:
        raise InvalidInput(f"Expected a POSIX time of 0 to 2^63 - 1 seconds, got {time_seconds}.")
    return time_seconds.to_bytes(TIME_BYTES, "big")


def _cosigned(stamp: bytes, text: str) -> bytes:
    return f"cosignature/v1\ntime {int.from_bytes(stamp, 'big')}\n{text}".encode()


def _subtree(stamp: bytes, name: str, head: Checkpoint) -> bytes:
    """The `cosigned_message` of a whole tree: start is 0, end is the size."""
    cosigner, origin = name.encode(), head.origin.encode()
    return b"".join(
        (
            b"subtree/v1\n\x00",
            bytes([len(cosigner)]) + cosigner,
            stamp,
            bytes([len(origin)]) + origin,
            bytes(8),
            head.size.to_bytes(8, "big"),
            head.root,
        )
    )


def _b64decode(text: str) -> bytes:
    """Strict: empty where `text` is not the one base64 spelling of some bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode("ascii") == text else b""
