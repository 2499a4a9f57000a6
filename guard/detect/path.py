"""Paths and queries in canonical form, so that an encoded attack looks like the plain one. No I/O.

Law: decoding goes on until nothing changes, at most three rounds, since one round too few lets `%252e` pass and an
unlimited number lets an attacker choose our work. Secrets in queries are masked before a query may be stored.
RFC 3986 sections 2.1 (percent-encoding) and 5.2.4 (dot segments); NFKC of Unicode annex 15.
"""

import re
from functools import lru_cache
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

MAX_ROUNDS: Final = 3
"""Rounds of percent-decoding; deeper nesting is not decoded by any known server, and is flagged by the second."""

DOUBLE_ENCODED: Final = "double_encoded"
OVERLONG: Final = "overlong"
INVALID_UTF8: Final = "invalid_utf8"
DOT_SEGMENTS: Final = "dot_segments"
MASKED: Final = "***"

# UTF-8 that encodes a character in more bytes than needed (RFC 3629 section 3): %c0%ae is how `.` once slipped past.
_OVERLONG: Final = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}")
_SECRET_STEMS: Final = ("token", "passw", "secret", "apikey", "signature", "credential", "authori")
_SECRET_WORDS: Final = frozenset({"code", "key", "sig", "pass", "pwd", "auth", "otp", "pin", "sid", "jwt", "session"})
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_PARAMETER: Final = re.compile(r"(^|[?&;#])([^=&;?#]{1,256})=([^&;#]+)")
_USERINFO: Final = re.compile(r"//[^/@?#]*@")


def _short_form(found: re.Match[bytes]) -> bytes:
    lead, *tail = found.group()
    point = lead & (0x3F >> len(tail))
    for byte in tail:
        point = point << 6 | byte & 0x3F
    return chr(point).encode("utf-8", "replace")


def _decode_once(text: str, flags: set[str]) -> str:
    raw = unquote_to_bytes(text)
    if _OVERLONG.search(raw):
        flags.add(OVERLONG)
        raw = _OVERLONG.sub(_short_form, raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        flags.add(INVALID_UTF8)
        return raw.decode("utf-8", "replace")


def decode(text: str) -> tuple[str, tuple[str, ...]]:
    """Percent-decode and NFKC-normalise until stable, at most `MAX_ROUNDS`; the text and sorted flags."""
    if "%" not in text and text.isascii():
        return text, ()
    flags: set[str] = set()
    text = text.encode("utf-8", "replace").decode()
    for turn in range(MAX_ROUNDS):
        plain = _decode_once(text, flags)
        if turn and plain != text:
            flags.add(DOUBLE_ENCODED)
        plain = normalize("NFKC", plain)
        if plain == text:
            break
        text = plain
    return text, tuple(sorted(flags))


def decode_target(target: str) -> tuple[str, tuple[str, ...]]:
    r"""A request target as an application would read it: decoded, `\` as `/`, and `+` in the query as a space."""
    path, mark, query = target.partition("?")
    text, flags = decode(path + mark + query.replace("+", " "))
    return text.replace("\\", "/"), flags


def canonical_path(raw: str) -> tuple[str, tuple[str, ...]]:
    r"""A path with one spelling per resource, and sorted flags: decoded, `\` as `/`, no `;params`, no dot segments.

    A final `/` stays, letter case stays. Targets that are no path (`*`) come back decoded only.
    """
    text, flags = decode(raw)
    text = text.replace("\\", "/")
    if not text.startswith("/"):
        return text, flags
    if ";" not in text and "//" not in text and "/." not in text:
        return text, flags
    return _resolve(text, flags)


def _resolve(text: str, flags: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    kept: list[str] = []
    segments = [segment.partition(";")[0] for segment in text.split("/")]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    if ".." in segments:
        flags = tuple(sorted({*flags, DOT_SEGMENTS}))
    closing = "/" if kept and segments[-1] in {"", ".", ".."} else ""
    return "/" + "/".join(kept) + closing, flags


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a query parameter of this name carries a secret: `token`, `apiKey`, `user[password]`, `X-Sig`."""
    plain = decode(name)[0]
    joined = re.sub(r"[^a-z0-9]", "", plain.lower())
    words = {word.lower() for word in _WORD.findall(plain)}
    return any(stem in joined for stem in _SECRET_STEMS) or not words.isdisjoint(_SECRET_WORDS)


def _mask_value(found: re.Match[str]) -> str:
    before, name, _ = found.groups()
    return f"{before}{name}={MASKED}" if is_secret_name(name) else found.group()


def mask_query(query: str) -> str:
    """A query with the values of secret parameters replaced by `***`; everything else unchanged."""
    return _PARAMETER.sub(_mask_value, query) if "=" in query else query


def mask_url(url: str) -> str:
    """A URL with the secrets of its query and fragment, and any user information (RFC 3986 section 3.2.1), masked."""
    if "@" in url:
        url = _USERINFO.sub(f"//{MASKED}@", url)
    head, mark, tail = url.partition("?")
    if not mark:
        head, mark, tail = url.partition("#")
    return head + mark + mask_query(tail)
