"""The request line: method, target and version, and what the target says in canonical form. No I/O.

Law: what is no valid request is kept whole as the target, so that predicates still see it. The target may hold
secrets and is never stored; the query comes masked. RFC 9112 section 3 (request line, forms of the target), RFC 9110
section 5.6.2 (token); HTTP/0.9 has no version.
"""

import re
from functools import lru_cache
from typing import Final

from guard.detect.path import canonical_path, decode_target, mask_query

NO_REQUEST: Final = "no_request"
SECRET: Final = "secret"  # noqa: S105 - the flag that a secret was masked, not one

Request = tuple[tuple[str | None, ...], tuple[str, ...]]
"""The columns method, target, decoded, path_raw, path, query, host, proto; and the flags, sorted."""

_REQUEST: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (\S.*?)(?: (HTTP/[0-9](?:\.[0-9])?))?", re.DOTALL)
_ABSOLUTE: Final = re.compile(r"https?://(?:[^/?#]*@)?([^/?#@]*)(.*)", re.DOTALL | re.IGNORECASE)


def merged(flags: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """The flags of both, sorted, each once."""
    return tuple(sorted({*flags, *more}))


def no_request(text: str) -> Request:
    """What is no HTTP request line: TLS bytes, probes, nothing. The text stays visible to predicates."""
    if text in {"", "-"}:
        return (None,) * 8, (NO_REQUEST,)
    decoded, flags = decode_target(text)
    return (None, text, decoded, None, None, None, None, None), merged(flags, (NO_REQUEST,))


def read_request(text: str) -> Request:
    """A request line as a server logs it, unescaped. What is none comes back as `no_request`."""
    found = _REQUEST.fullmatch(text)
    if found is None:
        return no_request(text)
    method, target, proto = found.groups()
    decoded, flags = decode_target(target)
    if method == "CONNECT":
        return (method, target, decoded, None, None, None, target.lower(), proto), flags
    host, origin = None, target
    if absolute := _ABSOLUTE.fullmatch(target):
        host, origin = absolute[1].lower() or None, absolute[2] or "/"
    if origin[0] not in "/*?":
        return no_request(text)
    path_raw, mark, query = origin.partition("?")
    path, more = canonical_path(path_raw or "/")
    masked = mask_query(query) if mark else None
    secret = (SECRET,) if mark and masked != query else ()
    return (method, target, decoded, path_raw, path, masked, host, proto), merged(flags, more + secret)


remembered_request = lru_cache(maxsize=16_384)(read_request)
