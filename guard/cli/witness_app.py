"""The witness as an ASGI application: add-checkpoint, and what it cosigned and refused, for everybody to read.

Law: deciding, signing and keeping are one transaction on the one thread, durable before the answer leaves
(c2sp.org/tlog-witness): otherwise two submissions at once could roll the witness back. It holds no secret but its key,
and everything that it tells is public.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from guard.audit import note, witness_store
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import Kind, VerifierKey
from guard.audit.witness import MAX_BODY_BYTES, SIZE_TYPE, TEXT_TYPE, Decision, decide, origin_of, parse, path_of
from guard.audit.witness_store import WitnessFile
from guard.errors import InvalidInput

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_SHOWN = 1000  # refused notes in one answer: about 7 MB


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    media_type: str = TEXT_TYPE


@dataclass(frozen=True, slots=True)
class Cosigner:
    """The witness's name and keys; without the second, lines of one kind only."""

    name: str
    ed25519: Ed25519PrivateKey
    mldsa44: MLDSA44PrivateKey | None = None

    def vkeys(self) -> list[str]:
        """The verifier keys, to be named in the settings of a log."""
        keys = [VerifierKey(self.name, Kind.COSIGNATURE, self.ed25519.public_key().public_bytes_raw())]
        if self.mldsa44:
            keys.append(VerifierKey(self.name, Kind.MLDSA44, self.mldsa44.public_key().public_bytes_raw()))
        return [key.encode() for key in keys]

    def lines(self, head: Checkpoint, time_seconds: int) -> str:
        """The signature lines for a checkpoint."""
        found = [note.cosign_ed25519(head.text(), self.name, self.ed25519, time_seconds)]
        if self.mldsa44:
            found.append(note.sign_mldsa44(head, self.name, self.mldsa44, time_seconds))
        return "".join(line.encode() for line in found)


class Witness:
    """Cosigns the logs whose keys it was given. *clock* gives POSIX seconds."""

    def __init__(
        self, file: WitnessFile, cosigner: Cosigner, logs: Sequence[VerifierKey], clock: Callable[[], int]
    ) -> None:
        self._file = file
        self._cosigner = cosigner
        self._clock = clock
        self._logs: dict[str, list[VerifierKey]] = {}
        for key in logs:
            self._logs.setdefault(key.name, []).append(key)
        self._paths = {path_of(origin): origin for origin in self._logs}

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one submission; whatever it says is durable."""
        try:
            submission = parse(body)
            origin = origin_of(submission)
        except InvalidInput as error:
            return _text(400, error.detail)
        keys = self._logs.get(origin, [])
        if not keys:
            return _text(404, "Expected the checkpoint of a log that this witness was given, got another origin.")
        with self._file.write() as tx:
            held = witness_store.last(tx, origin)
            decision = decide(submission, keys, held[0] if held else None, origin)
            now = self._clock()
            if decision.head:
                lines = self._cosigner.lines(decision.head, now)
                witness_store.cosign(tx, decision.head, submission.note, lines, now)
                return Answer(200, lines.encode())
            if decision.evidence:
                before = held[1] if held else b""
                witness_store.refuse(tx, decision.evidence, decision.status, submission.note, before, now)
        return _refusal(decision)

    def show(self, path: str) -> Answer:
        """The last checkpoint that was cosigned of a log, or the notes that were refused."""
        key, _, what = path.removeprefix("/").partition("/")
        origin = self._paths.get(key, "")
        with self._file.write() as tx:
            held = witness_store.last(tx, origin)
            if what == "evidence" and origin:
                return _evidence(witness_store.evidence(tx, origin)[:MAX_SHOWN])
        if what != "checkpoint" or held is None:
            return _text(404, "Expected /<SHA-256 of an origin in hex>/checkpoint of a log cosigned here.")
        return Answer(200, held[1] + held[2].encode())

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request. The work is a millisecond, so it is done on the loop and nothing runs beside it."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if path == "/add-checkpoint" and method == "POST":
            body = await _body(receive)
            answer = _text(413, "Expected a smaller body.") if body is None else self.add_checkpoint(body)
        elif method in {"GET", "HEAD"} and path != "/add-checkpoint":
            answer = self.show(path)
        else:
            answer = _text(405, "Expected POST /add-checkpoint, or GET of a checkpoint.")
        headers = [(b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


async def _body(receive: Receive) -> bytes | None:
    """The body; None where it is too large. A connection that ended gives what came, which is then malformed."""
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        more = message.get("more_body", False)
        if length > MAX_BODY_BYTES:
            return None
    return b"".join(parts)


def _refusal(decision: Decision) -> Answer:
    if decision.status == 409:  # noqa: PLR2004 - the one answer with a form of its own
        return Answer(409, b"%d\n" % decision.size, SIZE_TYPE)
    return _text(decision.status, decision.reason)


def _text(status: int, text: str) -> Answer:
    return Answer(status, text.encode() + b"\n")


def _evidence(rows: Sequence[tuple[int, int, bytes, bytes]]) -> Answer:
    lines = [
        json.dumps({"time": time, "status": status, "refused": refused.decode(), "held": held.decode()})
        for time, status, refused, held in rows
    ]
    return Answer(200, "".join(f"{line}\n" for line in lines).encode(), "application/jsonl")
