"""What a reader sees of a value that the policy does not show whole.

Masks: `full` the value itself, `partial` its first and last character, `email` the same for an address, `last4` the
last four characters, `none` nothing.
Law: at most half of a value is shown, and what is hidden is drawn with a fixed number of stars. So a masked value does
not tell the length but for its class: under 4, 4 to 7, or 8 and more characters. Characters are what a person counts
(letters with their marks, joined emoji); one that is invisible, steers the direction of text or controls a terminal is
drawn as a star. The last label of a domain is shown, being shared by very many. No I/O.
"""

import unicodedata
from collections.abc import Callable
from typing import Final

HIDDEN: Final = "******"

_MAX_CLUSTER: Final = 12
"""A family emoji has eleven code points; longer piles of marks are not writing."""
_MAX_TOP_LABEL: Final = 24
"""The longest label of the root zone has as many; a longer one is no public suffix and may be a name."""
_SOME: Final = 4
_MANY: Final = 8
_JOINER: Final = "\u200d"


def characters(text: str) -> list[str]:
    """Split into what a reader takes for one character; a close approximation of UAX 29 from the standard tables."""
    found: list[str] = []
    for one in unicodedata.normalize("NFC", text):
        if found and _continues(found[-1], one):
            found[-1] += one
        else:
            found.append(one)
    return found


def _continues(before: str, one: str) -> bool:
    if one == _JOINER or before.endswith(_JOINER) or unicodedata.category(one).startswith("M"):
        return True
    if "\U0001f3fb" <= one <= "\U0001f3ff" or "\U000e0020" <= one <= "\U000e007f":  # skin tones; tags of flags
        return True
    return _regional(one) and _regional(before) and len(before) == 1  # two regional letters are one flag


def _regional(text: str) -> bool:
    return "\U0001f1e6" <= text[0] <= "\U0001f1ff"


def _shown(cluster: str) -> str:
    alone = unicodedata.category(cluster[0])[0] in "CMZ" or len(cluster) > _MAX_CLUSTER
    odd = any(unicodedata.category(one)[0] == "C" and one != _JOINER for one in cluster)
    return "*" if alone or odd else cluster


def _full(text: str) -> str:
    return text


def _none(_text: str) -> str:
    return HIDDEN


def _partial(text: str) -> str:
    found = characters(text.strip())
    if len(found) < _SOME:
        return HIDDEN
    if len(found) < _MANY:
        return f"{_shown(found[0])}*****"
    return f"{_shown(found[0])}****{_shown(found[-1])}"


def _last4(text: str) -> str:
    found = characters(text.strip())
    if len(found) < _MANY:
        return HIDDEN
    return "****" + "".join(_shown(one) for one in found[-_SOME:])


def _email(text: str) -> str:
    local, at, domain = text.strip().rpartition("@")
    name, dot, top = domain.rpartition(".")
    if not (at and local and dot and name and top.isalpha() and len(top) <= _MAX_TOP_LABEL):
        return HIDDEN
    return f"{_first(local)}****@{_first(name)}******.{top}"


def _first(text: str) -> str:
    found = characters(text)
    return _shown(found[0]) if len(found) > 1 else "*"


MASKS: Final[dict[str, Callable[[str], str]]] = {
    "full": _full,
    "partial": _partial,
    "email": _email,
    "last4": _last4,
    "none": _none,
}


def mask(name: str, text: str) -> str:
    """`text` as the mask of this name shows it; KeyError for a name that is not in `MASKS`, which policies check."""
    return MASKS[name](text)
