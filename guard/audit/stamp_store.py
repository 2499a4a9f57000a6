"""Time-stamps (RFC 3161): asks an authority for a token over a checkpoint, checks it, and keeps both.

Law: a token is kept only if its imprint is that of the exact bytes kept beside it, its nonce the one that was sent, and
its signature chains to the certificates pinned in the settings at the time that it states. The bytes stamped are the
note as it was first published. What is kept here lies in the database that it speaks of, so it dates the log and is no
anchor against a rollback.
"""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from rfc3161_client import TimestampRequestBuilder, VerificationError, VerifierBuilder, decode_timestamp_response
from rfc3161_client.base import HashAlgorithm
from sqlalchemy import func, insert, select

from guard.audit.anchor_settings import Authority
from guard.audit.courier import Courier
from guard.db.engine import Tx
from guard.db.schema import audit_anchors
from guard.errors import InvalidSetting, Unreachable, VerificationFailed

TIMEOUT_SECONDS = 10  # for the whole answer
OK = 200
MAX_TOKEN_BYTES = 1 << 16
MEDIA_TYPE = "application/timestamp-query"


def chain_of(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file.

    Raises:
        InvalidSetting: there are none.
    """
    try:
        found = tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError):
        found = ()
    if not any(one.issuer == one.subject for one in found):
        raise InvalidSetting(f"Expected a PEM file with a time-stamp authority's root at {path}; put it there.")
    return found


def request(note: str) -> Any:
    """A request for a token over the bytes of a note."""
    return TimestampRequestBuilder().data(note.encode()).hash_algorithm(HashAlgorithm.SHA256).build()


def ask(authority: Authority, query: Any) -> bytes:
    """The answer of the authority, unchecked.

    Raises:
        Unreachable: no answer in time, or another one than 200 with at most 64 KiB.
    """
    courier = Courier(seconds=TIMEOUT_SECONDS, most_bytes=MAX_TOKEN_BYTES)
    reply = courier.post(authority.url, query.as_bytes(), {"content-type": MEDIA_TYPE})
    if reply.status == 0:
        raise Unreachable(
            f"Expected the time-stamp authority {authority.name} to answer within {TIMEOUT_SECONDS} s and with at most "
            f"{MAX_TOKEN_BYTES >> 10} KiB, got no such answer; see its url."
        )
    if reply.status != OK:
        raise Unreachable(
            f"Expected a token from the time-stamp authority {authority.name}, got status {reply.status}."
        )
    return reply.body


def verify(note: str, answer: bytes, chain: tuple[x509.Certificate, ...], query: Any = None) -> int:
    """The time, in microseconds UTC, that a token states for these bytes.

    Raises:
        VerificationFailed: it is no token, not over these bytes, not the answer to *query*, or of another chain.
    """
    builder = VerifierBuilder() if query is None else VerifierBuilder.from_request(query)
    for one in chain:
        is_root = one.issuer == one.subject
        builder = builder.add_root_certificate(one) if is_root else builder.add_intermediate_certificate(one)
    try:
        response = decode_timestamp_response(answer)
        builder.build().verify_message(response, note.encode())
        made = response.tst_info.gen_time
    except (VerificationError, ValueError) as error:
        raise VerificationFailed(f"A time-stamp over this checkpoint was expected; its check says: {error}") from None
    return int(made.replace(tzinfo=made.tzinfo or UTC).timestamp() * 1_000_000)


def pem(chain: tuple[x509.Certificate, ...]) -> bytes:
    """The chain as it goes beside a token into evidence."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in chain)


def add(tx: Tx, kind: str, size: int, note: str, proof: bytes | None, time_us: int) -> None:
    """Keep what was sent outside: the exact bytes of the note, and the token."""
    values = {"kind": kind, "size": size, "note": note, "proof": proof, "status": "verified", "time_us": time_us}
    tx.execute(insert(audit_anchors).prefix_with("OR REPLACE", dialect="sqlite").values(**values))


def latest(tx: Tx) -> list[Any]:
    """The largest of each kind: rows with kind, size, note, proof, status, time_us."""
    top = select(audit_anchors.c.kind, func.max(audit_anchors.c.size).label("top")).group_by(audit_anchors.c.kind)
    last = top.subquery()
    joined = audit_anchors.join(last, (audit_anchors.c.kind == last.c.kind) & (audit_anchors.c.size == last.c.top))
    return list(tx.execute(select(audit_anchors).select_from(joined).order_by(audit_anchors.c.kind)))


def stamps(tx: Tx) -> list[Any]:
    """Every row, by kind and size."""
    return list(tx.execute(select(audit_anchors).order_by(audit_anchors.c.kind, audit_anchors.c.size)))


def documents(tx: Tx) -> Iterator[tuple[str, bytes]]:
    """Every token beside the exact bytes that it is over, as files of a log directory."""
    for row in stamps(tx):
        if row.proof is not None:
            name = f"tsa/{row.size}.{row.kind.partition(':')[2]}"
            yield f"{name}.checkpoint", row.note.encode()
            yield f"{name}.tsr", row.proof
