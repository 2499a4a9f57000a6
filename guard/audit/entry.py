"""The audit record: its body (version 1), and the log entry that wraps it.

Law: the stored bytes are the truth; nothing parses and re-writes a body to check it. A body is canonical JSON made by
the request; the per-tenant number joins it later by byte concatenation, and the result is canonical again since "b"
sorts before "n", so that anybody can rebuild it. Every body carries a 128-bit salt, so publishing hashes tells nothing.
No I/O; time and randomness are arguments.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from guard.audit.canonical import b64u, canonical
from guard.errors import BodyTooLarge, InternalError, InvalidInput

VERSION = 1
FIRST_N = 0  # the number of a tenant's first record; each next is one more, so a gap is an omission
SALT_BYTES = 16
MAX_BODY_BYTES = 32 << 10  # a bundle gives 65,535 bytes to an entry (c2sp.org/tlog-tiles); half is left for the frame
MAX_INTEGER = 2**53 - 1  # what every JSON reader can hold exactly (RFC 8785 section 3.2.2.3)

OPENING_PHASES = frozenset({"event", "intent"})
CLOSING_PHASES = frozenset({"outcome", "unknown", "late"})  # these name the intent that they close

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_TRACE = re.compile(r"[0-9a-f]{32}").fullmatch
_ENTRY = re.compile(rb'\{"b":(\{.*\}),"n":(0|[1-9][0-9]{0,15})\}', re.DOTALL).fullmatch
_END_OF_TIME_SECONDS = 253_402_300_800  # RFC 3339 has four digits for the year


@dataclass(frozen=True, slots=True)
class Record:
    """What one record says. `None` leaves a key out.

    `id`, `intent` and `replay_of` are UUIDs as text; `salt` is 16 random bytes; `time_us` is UTC. `intent` names the
    intent that an `outcome`, `unknown` or `late` record closes. `actor`, `resource`, `decision`, `request`, `result`,
    `behalf` and `clock` are flat maps; `hmac` and `sealed` map field names to text; `data` is clear.
    """

    id: str
    salt: bytes
    tenant: str
    time_us: int
    phase: str
    node: str
    actor: Mapping[str, Any]
    action: str
    intent: str | None = None
    resource: Mapping[str, Any] | None = None
    decision: Mapping[str, Any] | None = None
    request: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    trace: str | None = None
    data: Mapping[str, Any] | None = None
    behalf: Mapping[str, Any] | None = None
    clock: Mapping[str, Any] | None = None
    replay_of: str | None = None
    hmac: Mapping[str, str] | None = None
    sealed: Mapping[str, str] | None = None


OPTIONAL = (
    *("behalf", "clock", "data", "decision", "hmac", "intent", "replay_of", "request", "resource", "result"),
    *("sealed", "trace"),
)


def body(record: Record) -> bytes:
    """The canonical body of `record`, at most 32 KiB.

    Raises:
        InvalidRequest: a value that canonical JSON refuses.
        BodyTooLarge: larger than 32 KiB; put a commitment and a reference in the place of the large value.
        InternalError: an id, salt, phase, time or trace of impossible form.
    """
    _check_frame(record)
    fields = {
        "action": record.action,
        "actor": record.actor,
        "id": record.id,
        "node": record.node,
        "phase": record.phase,
        "salt": b64u(record.salt),
        "tenant": record.tenant,
        "time": rfc3339(record.time_us),
        "v": VERSION,
    }
    for name in OPTIONAL:
        value = getattr(record, name)
        if value is not None:
            fields[name] = value
    written = canonical(fields)
    if len(written) > MAX_BODY_BYTES:
        raise BodyTooLarge(
            f"Expected a record of at most {MAX_BODY_BYTES} bytes, got {len(written)}; shorten what it holds."
        )
    return written


def entry(body: bytes, n: int) -> bytes:
    """The log entry of a body and its per-tenant number; this is what is hashed as a leaf."""
    if not 0 <= n <= MAX_INTEGER:
        raise InternalError(f"Expected a number from 0 to 2^53 - 1, got {n}.")
    return b'{"b":%b,"n":%d}' % (body, n)


def split(entry: bytes) -> tuple[bytes, int]:
    """The body and the number of an entry. The body's JSON is not looked at.

    Raises:
        InvalidInput: the bytes have not the frame that `entry` makes.
    """
    found = _ENTRY(entry)
    if not found or int(found[2]) > MAX_INTEGER:
        raise InvalidInput('Expected an entry {"b":{...},"n":...}, got other bytes.')
    return found[1], int(found[2])


def rfc3339(time_us: int) -> str:
    """UTC with microseconds and `Z` (RFC 3339 section 5.6).

    Raises:
        InternalError: before 1970 or after 9999.
    """
    seconds, microseconds = divmod(time_us, 1_000_000)
    return f"{_to_the_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=8)  # records come in the order of time, so one second is formatted once: 2 us become 0.3
def _to_the_second(seconds: int) -> str:
    if not 0 <= seconds < _END_OF_TIME_SECONDS:
        raise InternalError(f"Expected a time from 1970 to 9999, got {seconds} seconds since 1970.")
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _check_frame(record: Record) -> None:
    if not _UUID(record.id) or len(record.salt) != SALT_BYTES:
        raise InternalError("Expected a UUID in lower case and a salt of 16 bytes for a record.")
    for name in (record.tenant, record.action):
        if not name or '"' in name:
            raise InternalError("Expected a tenant and an action for a record, each a name without quotation marks.")
    closes = record.phase in CLOSING_PHASES
    if not closes and record.phase not in OPENING_PHASES:
        raise InternalError("Expected the phase event, intent, outcome, unknown or late.")
    if closes != (record.intent is not None):
        raise InternalError(
            "Expected the id of an intent with the phases outcome, unknown and late, and with no other."
        )
    for other in (record.intent, record.replay_of):
        if other is not None and not _UUID(other):
            raise InternalError("Expected a UUID in lower case for intent and replay_of.")
    if record.trace is not None and not _TRACE(record.trace):
        raise InternalError("Expected a trace id of 32 hexadecimal digits (W3C Trace Context section 3.2.2.3).")
