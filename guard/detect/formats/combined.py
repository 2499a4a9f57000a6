r"""The combined log format of Apache httpd and nginx, and nginx's `main`, which adds one quoted field.

`%h %l %u [%t] "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`. Both servers escape quotes and backslashes inside a quoted
field and in the user name, so the first bare quote ends the head, and the time is what stands right before it: a user
name that looks like a time or an address changes nothing. Escapes are undone exactly once (nginx `\xHH`; Apache also
`\"`, `\\`, `\n`, `\t` and the like). A line with raw control or non-ASCII bytes is lenient at best, because
neither server writes them. No I/O.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from guard.detect.address import canonical, ip_key
from guard.detect.event import Fields, Parse
from guard.detect.formats import (
    BROKEN_QUOTES,
    EXTRA,
    MAX_LINE_BYTES,
    RAW_BYTES,
    SHORT,
    TRUNCATED,
    Reason,
    Rejected,
)
from guard.detect.path import mask_url
from guard.detect.request import Request, merged, no_request, read_request, remembered_request
from guard.detect.user import user_key
from guard.errors import InvalidInput

MAX_CACHED_CHARS: Final = 1024
"""Longer texts are not cached, so that 16 Ki hostile entries stay below a few tens of MiB."""

_CONTROL: Final = bytes(range(32)) + b"\x7f"
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = {name: i for i, name in enumerate(MONTHS, 1)}
_MAX_ZONE_MINUTES: Final = 14 * 60

_QUOTED: Final = r'"((?:[^"\\]++|\\.)*+)"'
_HEAD: Final = r'(\S++) (\S++) (""|(?:[^"\\]|\\.)*) \[([^\]"]{26})\] '
_WHOLE: Final = re.compile(rf"{_HEAD}{_QUOTED} ([0-9]{{3}}) ([0-9]{{1,18}}|-) {_QUOTED} {_QUOTED}(.*+)", re.DOTALL)
_MAIN_TAIL: Final = re.compile(rf" {_QUOTED}", re.DOTALL)
_START: Final = re.compile(rf'{_HEAD}(?=")', re.DOTALL)
_REQUEST_AND_STATUS: Final = re.compile(rf"{_QUOTED} ([0-9]{{3}}) ([0-9]{{1,18}}|-)(?![^ ])", re.DOTALL)
_ANY_STATUS: Final = re.compile(r'" ([0-9]{3}) ([0-9]{1,18}|-)(?![^ ])')
_COUNTS: Final = re.compile(r" ([0-9]{3}) ([0-9]{1,18}|-) ")
_MINUTE: Final = re.compile(r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})")
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([\"\\abfnrtv]))")
_ESCAPED: Final = {
    b'"': b'"', b"\\": b"\\", b"a": b"\a", b"b": b"\b", b"f": b"\f",
    b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
}  # fmt: skip

_Counts = tuple[int | None, int | None]
_Client = tuple[str, str]


def parse(line: bytes) -> Fields | Rejected:
    """One line without its LF; a CR before it is taken off. Strict, lenient or rejected; never raises."""
    size = len(line)
    if size > MAX_LINE_BYTES:
        return _careful(line[:MAX_LINE_BYTES], (TRUNCATED,))
    if not line.isascii() or b"\\" in line or len(line.translate(None, _CONTROL)) != size:
        return _careful(line, ())
    return _quick(line.decode("ascii")) or _careful(line, ())


def _quick(text: str) -> Fields | None:
    """The strict grammar by splitting at quotes, for clean lines without a backslash; None sends the line on."""
    parts = text.split('"')
    if len(parts) == 7:  # noqa: PLR2004 - three quoted fields
        head, request, middle, referer, gap, agent, tail = parts
    elif len(parts) == 9 and parts[6] == " ":  # noqa: PLR2004 - nginx's main has four
        head, request, middle, referer, gap, agent, _, _, tail = parts
    else:
        return None
    words = head[:-30].split(" ", 2)
    counts = _counts(middle)
    if tail or gap != " " or counts is None or head[-30:-28] != " [" or head[-2:] != "] ":
        return None
    if len(words) != 3 or not words[1]:  # noqa: PLR2004 - address, identity, user
        return None
    ts = _time_us(head[-28:-2])
    client = _client(words[0])
    if ts is None or client is None:
        return None
    user = words[2]
    asked = remembered_request(request) if len(request) <= MAX_CACHED_CHARS else read_request(request)
    texts = (None if referer == "-" else _referer(referer), None if agent == "-" else agent)
    return _join(ts, client, None if user == "-" else user, asked[0], counts, texts, Parse.STRICT, asked[1])


def _join(
    ts: int,
    client: _Client,
    user: str | None,
    asked: tuple[str | None, ...],
    counts: _Counts,
    texts: tuple[str | None, str | None],
    parsed: Parse,
    flags: tuple[str, ...],
) -> Fields:
    account = None if user is None else user_key(user)
    # The named constructor runs a Python function per line; this is the same without it.
    return tuple.__new__(Fields, (ts, *client, user, account, *asked, *counts, *texts, parsed, flags))


def _careful(line: bytes, flags: tuple[str, ...]) -> Fields | Rejected:
    """The whole grammar by expression, on Latin-1 so that every byte is one character until its field is known."""
    if len(line.translate(None, _CONTROL)) != len(line.removesuffix(b"\r")) or not line.isascii():
        flags = (*flags, RAW_BYTES)
    text = line.removesuffix(b"\r").decode("latin-1")
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return _lenient(text, flags)
    address, _, user, stamp, request, status, size, referer, agent, tail = whole.groups()
    ts, client = _time_us(stamp), _client(address)
    if ts is None or client is None:
        return Rejected(Reason.TIME if ts is None else Reason.ADDRESS)
    if tail and not _MAIN_TAIL.fullmatch(tail):
        flags = (*flags, EXTRA)
    asked = read_request(_plain(request))
    texts = (_masked(referer), _nullable(agent))
    parsed = Parse.LENIENT if flags else Parse.STRICT
    return _join(ts, client, _user(user), asked[0], (int(status), _size(size)), texts, parsed, merged(flags, asked[1]))


def _lenient(text: str, flags: tuple[str, ...]) -> Fields | Rejected:
    """Time, address and status in their places; of the rest only what stands in whole quotes before the status."""
    start = _START.match(text)
    if start is None:
        return Rejected(Reason.HEAD if text.strip() else Reason.EMPTY)
    address, _, user, stamp = start.groups()
    ts, client = _time_us(stamp), _client(address)
    if ts is None or client is None:
        return Rejected(Reason.TIME if ts is None else Reason.ADDRESS)
    asked, counts, flags = _what_is_left(text, start.end(), flags)
    if counts is None:
        return Rejected(Reason.STATUS)
    return _join(ts, client, _user(user), asked[0], counts, (None, None), Parse.LENIENT, merged(flags, asked[1]))


def _what_is_left(text: str, at: int, flags: tuple[str, ...]) -> tuple[Request, _Counts | None, tuple[str, ...]]:
    """Request, counts and flags of a line that broke off or whose quotes are not escaped; `at` is the first quote."""
    if whole := _REQUEST_AND_STATUS.match(text, at):
        return read_request(_plain(whole[1])), (int(whole[2]), _size(whole[3])), (*flags, SHORT)
    found = _ANY_STATUS.search(text, at + 1)
    counts: _Counts | None = (None, None) if TRUNCATED in flags else None
    if found:
        counts = (int(found[1]), _size(found[2]))
    return no_request(_plain(text[at + 1 :])), counts, (*flags, BROKEN_QUOTES)


def _plain(text: str) -> str:
    """A field's text: escapes undone once, then UTF-8 or, if the bytes are none, Latin-1."""
    raw = text.encode("latin-1")
    if b"\\" in raw:
        raw = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else _ESCAPED[found[2]], raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _nullable(text: str) -> str | None:
    return None if text == "-" else _plain(text)


def _masked(text: str) -> str | None:
    return None if text == "-" else mask_url(_plain(text))


def _user(text: str) -> str | None:
    """Apache writes an empty user name as two quotes."""
    return "" if text == '""' else _nullable(text)


def _size(text: str) -> int | None:
    return None if text == "-" else int(text)


@lru_cache(maxsize=4096)
def _counts(middle: str) -> _Counts | None:
    """What stands between request and referer: status and body bytes."""
    found = _COUNTS.fullmatch(middle)
    return (int(found[1]), _size(found[2])) if found else None


@lru_cache(maxsize=4096)
def _time_us(stamp: str) -> int | None:
    """`17/May/2015:10:05:03 +0000` in microseconds UTC; None if it is no time."""
    minute, second = _minute_us(stamp[:17], stamp[20:]), stamp[17:20]
    if minute is None or not (second[:1] == ":" and second[1:].isdigit() and second <= ":60"):
        return None
    return minute + int(second[1:]) * 1_000_000


@lru_cache(maxsize=1024)
def _minute_us(minute: str, zone: str) -> int | None:
    """`17/May/2015:10:05` and ` +0000`. Cached, since with it a new second costs 0.5 us, without it 5 us."""
    found = _MINUTE.fullmatch(minute + zone)
    if found is None or found[2] not in _MONTHS:
        return None
    day, _, year, hour, minutes, sign, zone_hours, zone_minutes = found.groups()
    offset = int(zone_hours) * 60 + int(zone_minutes)
    if offset > _MAX_ZONE_MINUTES:
        return None
    try:
        when = datetime(int(year), _MONTHS[found[2]], int(day), int(hour), int(minutes), tzinfo=UTC)
    except ValueError:
        return None
    return ((when - _EPOCH) // timedelta(minutes=1) + (offset if sign == "-" else -offset)) * 60_000_000


@lru_cache(maxsize=16_384)
def _client(text: str) -> _Client | None:
    try:
        address = canonical(text)
    except InvalidInput:
        return None
    return address.text, ip_key(address)


@lru_cache(maxsize=8192)
def _short_referer(text: str) -> str:
    return mask_url(text)


def _referer(text: str) -> str:
    return _short_referer(text) if len(text) <= MAX_CACHED_CHARS else mask_url(text)
