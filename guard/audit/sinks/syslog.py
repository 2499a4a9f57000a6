"""Syslog over TCP or TLS: RFC 5424 messages framed by octet counting (RFC 5425 section 4.3, RFC 6587 section 3.4.1).

Law: syslog has no acknowledgement. A batch counts as delivered when the operating system at the other end has confirmed
every byte of it; that the receiver read it is not known. So when a connection fails, what was last sent on it is sent
again, as much as a receiver's buffers can have held. Receivers find doubles and gaps by `idx`.
"""

import fcntl
import socket
import ssl
import struct
import termios
import threading
import time
from collections import deque
from collections.abc import Sequence
from urllib.parse import urlsplit

from guard.audit.exports.rfc5424 import message
from guard.audit.row import Row
from guard.audit.sinks import CONNECT_SECONDS, lost
from guard.errors import InvalidSetting
from guard.settings import Sink

ACKNOWLEDGED = "the receiver's operating system confirmed every byte; the program there may still lose it"
TAKES = frozenset({"address"})
MAY_TAKE = frozenset({"ca_file"})
SCHEMES = frozenset({"tcp", "tls"})
RESEND_BYTES = 8 << 20  # Linux gives a socket at most 6 MiB to receive; rsyslog holds 10,000 messages of its own
CONFIRM_SECONDS, MAX_CONFIRM_SECONDS = 0.0005, 0.05  # between two looks at what the other end has confirmed, doubling
BLOCK_BYTES = 4096
CLOSING = "the receiver closed the connection"


def check(plan: Sink) -> None:
    """Look at the options.

    Raises:
        InvalidSetting: the address is none, or a CA file was given for a connection without TLS.
    """
    _address(plan)
    if plan.ca_file:
        _context(plan)


def connect(plan: Sink, index: int) -> "Line":
    """Open a connection; raises SinkUnavailable."""
    host, port, secure = _address(plan)
    try:
        made = socket.create_connection((host, port), timeout=min(CONNECT_SECONDS, plan.total_seconds))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wrapped = _context(plan).wrap_socket(made, server_hostname=host) if secure else made
    except OSError as error:
        raise lost(error) from None
    return Line(wrapped, plan.total_seconds, index)


class Line:
    """One connection. `send` is called by one thread."""

    def __init__(self, made: socket.socket, total_seconds: float, index: int) -> None:
        self._socket = made
        self._total_seconds = total_seconds
        self._ended = threading.Event()
        self._sent: deque[tuple[int, int]] = deque([(index, 0)])  # first index and size of each batch that may be lost
        self._bytes = 0

    @property
    def doubtful(self) -> int | None:
        """The first record of the last 8 MiB."""
        return self._sent[0][0]

    def send(self, rows: Sequence[Row]) -> int:
        """Send and wait until every byte is confirmed."""
        frames = b"".join(b"%d %b" % (len(one), one) for one in map(message, rows))
        deadline = time.monotonic() + self._total_seconds
        try:
            self._look()
            self._write(frames, deadline)
            self._confirmed(deadline)
            self._look()
        except (OSError, ValueError) as error:  # ValueError: `close` came in between
            raise lost(error) from None
        self._remember(rows, len(frames))
        return len(rows)

    def close(self) -> None:
        """Shut down; a `send` under way fails at once."""
        self._ended.set()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was gone already
        finally:
            self._socket.close()

    def _write(self, frames: bytes, deadline: float) -> None:
        rest = memoryview(frames)
        while rest:
            self._socket.settimeout(_left(deadline))
            rest = rest[self._socket.send(rest) :]

    def _confirmed(self, deadline: float) -> None:
        """Wait until the peer's TCP has acknowledged everything (TIOCOUTQ of tcp(7) counts what it has not)."""
        pause = CONFIRM_SECONDS
        while struct.unpack("i", fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
            if self._ended.wait(min(pause, _left(deadline))):
                raise TimeoutError
            pause = min(2 * pause, MAX_CONFIRM_SECONDS)

    def _look(self) -> None:
        """A receiver of syslog says nothing: if something is to be read, it is the end of the connection.

        TLS 1.3 tickets come after the handshake, so over TLS what comes is read; it holds no data.
        """
        self._socket.settimeout(0.0)
        try:
            while self._socket.recv(BLOCK_BYTES):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        raise lost(CLOSING)

    def _remember(self, rows: Sequence[Row], size: int) -> None:
        if not self._bytes:
            self._sent.clear()
        self._sent.append((rows[0].index, size))
        self._bytes += size
        while self._bytes - self._sent[0][1] > RESEND_BYTES:
            self._bytes -= self._sent.popleft()[1]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _address(plan: Sink) -> tuple[str, int, bool]:
    try:
        found = urlsplit(plan.address)
        host, port = found.hostname, found.port
    except ValueError:
        host = port = None
    if not host or not port or found.scheme not in SCHEMES or plan.address != f"{found.scheme}://{found.netloc}":
        raise InvalidSetting(f"Expected tcp://HOST:PORT or tls://HOST:PORT for the sink {plan.name}; correct address.")
    if found.scheme == "tcp" and plan.ca_file:
        raise InvalidSetting(f"Expected tls:// for the sink {plan.name}, since it has a ca_file; correct one of them.")
    return host, port, found.scheme == "tls"


def _context(plan: Sink) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=plan.ca_file or None)
    except OSError as error:
        raise InvalidSetting(
            f"Expected certificates in PEM at {plan.ca_file} for the sink {plan.name}, got {type(error).__name__}."
        ) from None
