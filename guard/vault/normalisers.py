"""How a value is brought into one spelling before it is indexed, so that equal things get equal tokens.

Law: a normaliser is named and versioned, and what a version does never changes, because the tokens of all rows depend
on it; a better rule is a new version. A plain name in a policy means version 1 for ever, `name@2` a later one.
Every normaliser is idempotent. Case and compatibility follow Unicode section 3.13 (caseless matching) and UAX 15.
They depend on the Unicode tables of the interpreter: newly assigned characters may change their form once. No I/O.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from guard.errors import InvalidRequest

MAX_CHARACTERS: Final = 4096
"""Equality of longer texts is not a search; Unicode forms can grow a text eighteenfold, so the input is bounded."""

_MAX_DOMAIN_CHARACTERS: Final = 253
_NAME: Final = re.compile(r"([a-z]+)(?:@([1-9][0-9]{0,3}))?")


@dataclass(frozen=True, slots=True)
class Normaliser:
    """One version of one rule."""

    name: str
    version: int
    rule: Callable[[str], str]

    def apply(self, value: str) -> str:
        """The one spelling of `value`.

        Raises:
            InvalidRequest: over 4096 characters, or nothing is left that could be searched for.
        """
        if len(value) > MAX_CHARACTERS:
            raise InvalidRequest(f"An indexed value has at most {MAX_CHARACTERS} characters; {len(value)} came.")
        normalised = self.rule(value)
        if not normalised:  # all such rows would share one token and be found by any other empty value
            raise InvalidRequest(f"The normaliser {self.name} leaves nothing of this value; give it no index token.")
        return normalised


def normaliser(reference: str) -> Normaliser | None:
    """The normaliser that `name` (version 1) or `name@version` refers to, or None if there is none."""
    match = _NAME.fullmatch(reference)
    return NORMALISERS.get((match[1], int(match[2] or 1))) if match else None


def _trim(value: str) -> str:
    return value.strip()


def _nfkc(value: str) -> str:
    return unicodedata.normalize("NFKC", value).strip()


def _casefold(value: str) -> str:
    # Folding can undo a normal form and the other way round; the doubled pass is the one of definition D146.
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", value).casefold())
    return unicodedata.normalize("NFKC", form.casefold()).strip()


def _digits(value: str) -> str:
    # Letters and separators fall away; a digit of any script counts as what it means.
    return "".join(str(unicodedata.decimal(character)) for character in value if character.isdecimal())


def _email(value: str) -> str:
    # RFC 5321 lets a host tell capital letters in the local part apart; people and address books do not.
    local, at, domain = _casefold(value).rpartition("@")
    local, domain = local.strip(), domain.rstrip(".")
    if not (at and local and domain) or len(domain) > _MAX_DOMAIN_CHARACTERS or any(map(str.isspace, domain)):
        raise InvalidRequest("An e-mail address has a local part, an @ and a domain; this value has not.")
    return f"{local}@{domain}"


NORMALISERS: Final = {
    (name, 1): Normaliser(name, 1, rule)
    for name, rule in (
        ("trim", _trim),
        ("casefold", _casefold),
        ("nfkc", _nfkc),
        ("digits", _digits),
        ("email", _email),
    )
}
