"""Tests of texts: wildcard patterns, literals and regular expressions, many at once. No I/O.

Law: Sigma strings ignore the case of ASCII letters only, since Unicode case folding differs between engines. Regular
expressions run on RE2, whose time is linear in the text, so no pattern can be made to hang; with `|re|i` RE2's own
folding applies, in which two letters outside ASCII (the Kelvin sign and the long s) fold into it. RE2 syntax.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # google-re2 ships no types

from guard.detect.translate import ANY, Pred
from guard.errors import InvalidRule

TextTest = Callable[[str], bool]

MAX_PATTERN_CHARS: Final = 2000
"""Longer regular expressions are lists in disguise, which Sigma can write as lists."""

MAX_REGEX_MEMORY: Final = 8 << 20
"""Bytes that one compiled pattern may take (RE2's own default)."""

MEMO_ENTRIES: Final = 8192
MAX_MEMO_CHARS: Final = 1024
"""Costly tests remember this many short texts: real traffic repeats its paths and agents."""

MEMO_FROM_PATTERNS: Final = 3
"""With fewer literal patterns the test costs no more than the look-up."""

_ASCII_FOLD: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """Lower-case ASCII letters; all other characters unchanged."""
    return text.lower() if text.isascii() else text.translate(_ASCII_FOLD)


def text_test(node: str, body: Pred) -> TextTest:
    """The test of a `like`, `keyword`, `re` or `keyword_re` leaf, or of a group of them (`likes`, `res`).

    Raises:
        InvalidRule: a regular expression that RE2 does not take.
    """
    if node in {"re", "keyword_re"}:
        return _remembering(_regex([(body["pattern"], body["flags"])]))
    if node == "res":
        return _remembering(_regex(body["patterns"]))
    if node == "like":
        return _patterns([body["parts"]], cased=body["cased"])
    if node == "keyword":
        return _patterns([contained(body["parts"])], cased=body["cased"])
    return _patterns(body["patterns"], cased=body["cased"])


def _remembering(test: TextTest) -> TextTest:
    remembered = lru_cache(maxsize=MEMO_ENTRIES)(test)
    return lambda text: remembered(text) if len(text) <= MAX_MEMO_CHARS else test(text)


def _regex(patterns: list[tuple[str, str]]) -> TextTest:
    """Whether one of the (pattern, flags) is found anywhere in the text."""
    pieces = [f"(?{flags}:{_checked(pattern)})" for pattern, flags in patterns]
    compiled = _re2("|".join(pieces))
    return lambda text: compiled.search(_encodable(text)) is not None


def _checked(pattern: str) -> str:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise InvalidRule(f"a regular expression has {len(pattern)} characters; at most {MAX_PATTERN_CHARS} are taken")
    _re2(pattern)
    return pattern


def _re2(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = MAX_REGEX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        raise InvalidRule(
            "a regular expression is none of RE2, which has no look-around and no backreference"
        ) from None


def _encodable(text: str) -> str:
    """RE2 works on UTF-8, which has no lone surrogates; they can come from JSON."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def contained(parts: list[str | int]) -> list[str | int]:
    """A keyword is searched anywhere in the text."""
    return [*([] if parts[:1] == [ANY] else [ANY]), *parts, *([] if parts[-1:] == [ANY] else [ANY])]


def _patterns(patterns: list[list[str | int]], *, cased: bool) -> TextTest:
    """True if the text matches one of the wildcard patterns, whole; sorted into the cheapest test for each."""
    inner, starts, ends, exact, rest = [], [], [], set(), []
    for parts in patterns:
        folded = parts if cased else [fold(part) if isinstance(part, str) else part for part in parts]
        match folded:
            case [str(text)]:
                exact.add(text)
            case [0, str(text), 0]:
                inner.append(text)
            case [str(text), 0]:
                starts.append(text)
            case [0, str(text)]:
                ends.append(text)
            case _:
                rest.append(_wildcards(folded))
    test = _one_of(inner, tuple(starts), tuple(ends), frozenset(exact), rest)
    whole = test if cased else lambda text: test(fold(text))
    return _remembering(whole) if len(patterns) >= MEMO_FROM_PATTERNS or rest else whole


def _one_of(
    inner: list[str], starts: tuple[str, ...], ends: tuple[str, ...], exact: frozenset[str], rest: list[TextTest]
) -> TextTest:
    if inner and not (starts or ends or exact or rest):
        return lambda text: any(map(text.__contains__, inner))
    return lambda text: (
        text in exact
        or text.startswith(starts)
        or text.endswith(ends)
        or any(map(text.__contains__, inner))
        or any(test(text) for test in rest)
    )


def _wildcards(parts: list[str | int]) -> TextTest:
    pieces = [re2.escape(part) if isinstance(part, str) else ".*" if part == ANY else "." for part in parts]
    compiled = _re2("(?s)" + "".join(pieces))
    return lambda text: compiled.fullmatch(_encodable(text)) is not None
