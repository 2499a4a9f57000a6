"""One leased data key: seals and opens values of its fields in this process, until its time or its uses are over.

Suite 7 of the envelope: 16-byte header | lease 16 | wrap 104 | Cobblestone-256 of c2sp.org/chunked-encryption under the
leased key, over the canonical context of the cell; the server writes the same out and the tests hold the two together.
Law: the key leaves `LeaseKey` only for one call; repr shows an id, and pickling and copying are refused. A lease ends
by itself, without the server: its end is counted from before it was asked for, so it lasts no longer here than there.
A forked process has none of its parent's: two that counted alone would use one budget twice.
"""

import base64
import os
import threading
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

from guard.client.sealing import TEXT_PREFIX, _context
from guard.errors import DoesNotOpen, InternalError, InvalidInput, LeaseEnded

DOES_NOT_OPEN: Final = "ciphertext does not open in this context"
HEADER_BYTES: Final = 16
START_BYTES: Final = 136
KEY_BYTES: Final = 32
MAX_FIELD_BYTES: Final = 1 << 20
LEASED: Final = 7
STORE: Final = "store"
BLOCKS: Final = 8
"""Uses are reported in blocks of an eighth of the budget: a client that dies loses count of no more than one."""

_SUITE_AT: Final = 2
_FLAGS_AT: Final = 3
_PADDED: Final = 2
_TO_URL: Final = {43: "-", 47: "_", 61: None}
_FROM_URL: Final = str.maketrans("-_", "+/", "+/=")

Cell = Mapping[str, str | int]


class LeaseKey:
    """Key bytes that show their lease and nothing of themselves."""

    __slots__ = ("_lease", "_raw")

    def __init__(self, raw: bytes | bytearray, lease: str) -> None:
        self._raw = bytearray(raw)
        self._lease = lease

    def expose(self) -> bytes:
        """A copy for the length of one call."""
        return bytes(self._raw)

    def wipe(self) -> None:
        """Overwrite the bytes; copies that the interpreter or a library made are beyond this."""
        self._raw[:] = bytes(len(self._raw))

    def __repr__(self) -> str:
        return f"<LeaseKey {self._lease}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} is not pickled or copied; take a lease of your own.")


@dataclass(frozen=True, slots=True)
class Column:
    """How values of one field are sealed."""

    names: tuple[str, ...]
    shared: Mapping[str, str]
    pad_step: int
    start: bytes

    def context(self, header: bytes, cell: Cell) -> bytes:
        """The canonical context of a cell.

        Raises:
            InvalidInput: the cell is not named by exactly what the policy binds, or a name is empty.
        """
        if tuple(sorted(cell)) != self.names or "" in cell.values():
            raise InvalidInput(f"Expected a cell named by {', '.join(self.names) or 'nothing'}; correct it.")
        return _context(header, {**self.shared, **cell})


class Lease:
    """A leased key and its fields. Any thread may use it."""

    def __init__(self, answer: Mapping[str, Any], asked_at: float, clock: Callable[[], float]) -> None:
        """*answer* is that of `leases.create`; *asked_at* was read from *clock*, in seconds, before it was asked for.

        Raises:
            InternalError: it is no such answer.
        """
        try:
            self.id = str(answer["lease_id"])
            self.purpose, self.opens = str(answer["purpose"]), bool(answer["opens"])
            self.max_uses, self._seconds = int(answer["max_uses"]), int(answer["ttl_seconds"])
            self._columns = {one["field"]: _column(answer["tenant"], one) for one in answer["fields"]}
            self._key = LeaseKey(_of_size(answer["key"], KEY_BYTES), self.id)
        except (KeyError, TypeError, ValueError):
            raise InternalError("Expected the answer of leases.create, got another; update the client.") from None
        self.used = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._reported = 0
        self._ended = ""
        self._streams = 0
        self._retired = False
        self._process = os.getpid()
        self._set_end(asked_at, self._seconds)

    def __repr__(self) -> str:
        return f"<Lease {self.id} of {', '.join(self._columns)} for {self.purpose}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} is not pickled or copied; take a lease of your own.")

    # what it is for

    def seal(self, field: str, value: str | bytes, **cell: str | int) -> str:
        """The sealed text of one value.

        Raises:
            LeaseEnded: its time or its uses are over, or it was revoked.
            InvalidInput: the lease is for another field or for reading, the cell is none of it, or over 1 MiB came.
        """
        plaintext = value.encode() if isinstance(value, str) else value
        if len(plaintext) > MAX_FIELD_BYTES:
            raise InvalidInput(f"Expected at most {MAX_FIELD_BYTES} bytes, got {len(plaintext)}; seal it as a file.")
        step = self._column(field).pad_step
        if step:
            plaintext += b"\x80" + bytes(-(len(plaintext) + 1) % step)
        start, encryptor = self.encryptor(field, cell, padded=bool(step))
        return text_of(start + encryptor.update(plaintext) + encryptor.finalize())

    def open(self, field: str, text: str, **cell: str | int) -> bytes:
        """The plaintext of one value that was sealed under this lease's key.

        Raises:
            DoesNotOpen: whatever else it is, with one text.
            LeaseEnded, InvalidInput: as `seal`.
        """
        raw = bytes_of(text)
        decryptor = self.decryptor(field, raw[:START_BYTES], cell)
        try:
            plaintext = decryptor.update(raw[START_BYTES:]) + decryptor.finalize()
        except InvalidTag:
            raise DoesNotOpen(DOES_NOT_OPEN) from None
        return _unpadded(plaintext) if raw[_FLAGS_AT] & _PADDED else plaintext

    def encryptor(
        self, field: str, cell: Cell, *, padded: bool = False, stream: bool = False
    ) -> tuple[bytes, Cobblestone256Encryptor]:
        """One use: what the value begins with, and what encrypts the rest; after a *stream* comes `finish`."""
        column = self._column(field)
        if self.opens:
            raise InvalidInput(f"Expected a lease to seal with, but {self.id} is for reading; take one for store.")
        start = _padding(column.start) if padded else column.start
        context = column.context(start[:HEADER_BYTES], cell)
        return start, Cobblestone256Encryptor(self._take(stream=stream), context)

    def decryptor(self, field: str, start: bytes, cell: Cell, *, stream: bool = False) -> Cobblestone256Decryptor:
        """One use: what decrypts a value behind its *start*; raises DoesNotOpen where that is another lease's."""
        column = self._column(field)
        if self.purpose == STORE:
            raise InvalidInput(f"Expected a lease for reading, but {self.id} is for store; name a purpose.")
        context = column.context(start[:HEADER_BYTES], cell)
        if bare(start) != column.start:
            raise DoesNotOpen(DOES_NOT_OPEN)
        return Cobblestone256Decryptor(self._take(stream=stream), context)

    def begins(self, field: str, start: bytes) -> bool:
        """Whether a value of *field* that begins so, unpadded, was sealed under this lease's key."""
        return field in self._columns and self._columns[field].start == start

    def _column(self, field: str) -> Column:
        found = self._columns.get(field)
        if found is None:
            raise InvalidInput(f"Expected a field of {', '.join(self._columns)}, which the lease is for, got {field}.")
        return found

    # how long it lasts

    def check(self) -> None:
        """See that it holds still, without a use; for what takes long."""
        self._check_process()
        with self._lock:
            self._check_time()

    def finish(self) -> bool:
        """A stream is at its end; whether the lease is to be given back now, since others took its place meanwhile."""
        with self._lock:
            self._streams -= 1
            return self._retired and not self._streams

    def retire(self) -> bool:
        """Grant no further use; whether it may end now. A stream goes on: its use was granted before."""
        with self._lock:
            self._retired = True
            return not self._streams

    def usable(self) -> bool:
        """Whether another use would be granted now."""
        if os.getpid() != self._process:
            return False
        with self._lock:
            spent = self._retired or self.used >= self.max_uses
            return not self._ended and not spent and self._clock() < self._end_at

    def due(self) -> bool:
        """Whether it is time to report uses, or to ask for more time."""
        with self._lock:
            if self._ended or self._clock() < self._quiet_until:
                return False
            block = max(self.max_uses // BLOCKS, 1)
            return self._countable() - self._reported >= block or self._clock() >= self._renew_at

    def report(self, *, last: bool = False) -> dict[str, Any]:
        """The members of `leases.renew`; the *last* one gives the lease back."""
        members = {"lease": self.id, "fields": sorted(self._columns), "purpose": self.purpose, "opens": self.opens}
        used, seconds = (self.used, 0) if last else (self._countable(), self._seconds)
        return members | {"used": used, "ttl_seconds": seconds}

    def renewed(self, answer: Mapping[str, Any], asked_at: float) -> None:
        """Take in the answer of `leases.renew`."""
        with self._lock:
            self._reported = max(self._reported, int(answer["used"]))
            self._set_end(asked_at, int(answer["ttl_seconds"]))

    def put_off(self, seconds: float) -> None:
        """The server did not answer; do not ask again before that."""
        with self._lock:
            self._quiet_until = self._clock() + seconds

    def end(self, why: str) -> None:
        """Use it no more: overwrite the key."""
        with self._lock:
            self._ended = self._ended or why
            self._key.wipe()

    def _set_end(self, asked_at: float, seconds: int) -> None:
        self._end_at = asked_at + seconds
        self._renew_at = asked_at + seconds * 2 / 3
        self._quiet_until = asked_at

    def _countable(self) -> int:
        # The server ends a lease whose uses are all reported; a stream under the last one has to be renewed still.
        return min(self.used, self.max_uses - 1) if self._streams else self.used

    def _take(self, *, stream: bool) -> bytes:
        self._check_process()
        with self._lock:
            self._check_time()
            if self._retired or self.used >= self.max_uses:
                self._spent()
            self.used += 1
            self._streams += stream
            return self._key.expose()

    def _check_process(self) -> None:
        if os.getpid() != self._process:  # before the lock, which a thread that is not here may hold for ever
            self._over("is of another process")

    def _spent(self) -> NoReturn:
        if self._streams:  # they go on, and their ciphers have the key
            self._key.wipe()
            raise self._error("is at the end of its uses")
        self._over("is at the end of its uses")

    def _check_time(self) -> None:
        if self._ended:
            self._over(self._ended)
        if self._clock() >= self._end_at:
            self._over("is at the end of its time")

    def _over(self, why: str) -> NoReturn:
        self._ended = why
        self._key.wipe()
        raise self._error(why)

    def _error(self, why: str) -> LeaseEnded:
        return LeaseEnded(f"The lease {self.id} {why}, so its key is used no more.", hint="Take a new lease.")


def bare(start: bytes) -> bytes:
    """The start of the same value unpadded."""
    return start[:_FLAGS_AT] + bytes(flag & ~_PADDED for flag in start[_FLAGS_AT : _FLAGS_AT + 1]) + start[4:]


def is_leased(raw: bytes) -> bool:
    """Whether a value was sealed under a lease."""
    return len(raw) >= START_BYTES and raw[:_SUITE_AT] == b"\x47\x01" and raw[_SUITE_AT] == LEASED


def text_of(raw: bytes) -> str:
    """The text form of envelope bytes."""
    return TEXT_PREFIX + b2a_base64(raw, newline=False).decode().translate(_TO_URL)


def bytes_of(text: str) -> bytes:
    """The envelope bytes of a text; raises DoesNotOpen where it is not their one text."""
    try:
        body = text.removeprefix(TEXT_PREFIX).translate(_FROM_URL)
        raw = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except ValueError:
        raw = b""
    if text_of(raw) != text:
        raise DoesNotOpen(DOES_NOT_OPEN)
    return raw


def _column(tenant: str, given: Mapping[str, Any]) -> Column:
    shared = {"tenant": str(tenant), "table": str(given["table"]), "column": str(given["column"])}
    start = _of_size(given["start"], START_BYTES)
    return Column(tuple(sorted(given["bind"])), shared, int(given["pad_step"]), start)


def _of_size(text: str, size: int) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if len(raw) != size:
        raise ValueError
    return raw


def _padding(start: bytes) -> bytes:
    return start[:_FLAGS_AT] + bytes([start[_FLAGS_AT] | _PADDED]) + start[_FLAGS_AT + 1 :]


def _unpadded(padded: bytes) -> bytes:
    content = padded.rstrip(b"\0")
    if not content.endswith(b"\x80"):
        raise DoesNotOpen(DOES_NOT_OPEN)
    return content[:-1]
