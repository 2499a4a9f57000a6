"""Fields that keep their format: FF1 (NIST SP 800-38G) over a declared, ordered alphabet, suite 6.

The stored value is the formatted text alone; the number of its key version stands in a companion column. Tweak: the
first 16 bytes of SHA-256 over the canonical context under a header of suite 6, so that equal values of two cells
differ. Frozen. Law: characters outside the alphabet are refused, digits of other scripts too; what is encrypted has at
least a million possible values, the kept characters not counted. Nothing is authenticated: a changed value opens to
another one of the same format. No I/O.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from guard.errors import DoesNotOpen, GuardError, InvalidContext, InvalidPolicy, InvalidRequest
from guard.vault import context, ff1
from guard.vault.context import Template, Value
from guard.vault.keys import KeyVersion
from guard.vault.sealing import Varying, detached, refused
from guard.vault.suites import DOES_NOT_OPEN
from guard.vault.versions import may_decrypt, may_encrypt

MIN_DOMAIN: Final = 1_000_000
"""NIST SP 800-38G revision 1: below it, a table of all values is made from few known pairs."""
MAX_LENGTH: Final = 256
"""Formats are those of numbers and codes; longer text needs no format and belongs under another suite."""
TWEAK_BYTES: Final = 16

_Rounds = Callable[[bytes | bytearray, int, bytes, Sequence[int]], list[int]]


@dataclass(frozen=True, slots=True)
class Format:
    """The alphabet in its order, the least length of a whole value, and how many characters stay at either end."""

    alphabet: str
    min_length: int
    keep_first: int = 0
    keep_last: int = 0
    places: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """The digit of each character."""

    def __post_init__(self) -> None:
        """Raises InvalidPolicy for characters that repeat or are no text, and for fewer than a million values."""
        places = {character: place for place, character in enumerate(self.alphabet)}
        if len(places) != len(self.alphabet) or not ff1.MIN_RADIX <= len(places) <= ff1.MAX_RADIX:
            raise InvalidPolicy(f"expected an alphabet of {ff1.MIN_RADIX} to {ff1.MAX_RADIX} different characters.")
        if not self.alphabet.isprintable():  # a lone surrogate is not printable either
            raise InvalidPolicy("expected an alphabet of printable characters.")
        hidden = self.min_length - self.keep_first - self.keep_last
        if hidden < 1 or len(places) ** hidden < MIN_DOMAIN:
            raise InvalidPolicy(
                f"expected a format whose hidden part has at least {MIN_DOMAIN} values; {max(hidden, 0)} characters of "
                f"{len(places)} came."
            )
        object.__setattr__(self, "places", places)  # the one way to set a derived value when frozen

    def apply(self, how: _Rounds, key: bytes, associated: bytes, text: str) -> str | None:
        """The text with its hidden part encrypted or decrypted; None if it has not this format."""
        if not self.min_length <= len(text) <= MAX_LENGTH or not self.places.keys() >= set(text):
            return None
        end = len(text) - self.keep_last
        digits = [self.places[character] for character in text[self.keep_first : end]]
        changed = how(key, len(self.alphabet), tweak(associated), digits)
        return text[: self.keep_first] + "".join(self.alphabet[digit] for digit in changed) + text[end:]


def tweak(associated: bytes) -> bytes:
    """The tweak of a context."""
    return hashlib.sha256(associated).digest()[:TWEAK_BYTES]


class FormatSealer:
    """Seals values of one column under one key version, with the interface of `Sealer`."""

    __slots__ = ("_fill", "_form", "_key")

    def __init__(
        self, form: Format, key_version: KeyVersion, shared: Mapping[str, Value], varying: tuple[str, ...] = ()
    ) -> None:
        """Raises KeyStateConflict where the version seals nothing, InvalidContext as `Sealer`."""
        if not may_encrypt(key_version.state, compromised=key_version.compromised):
            raise refused(key_version, "seals no new values")
        context.check_cell(shared, portable=True)
        if shared["tenant"] != key_version.tenant:
            raise InvalidContext("A value is sealed with a key of its own tenant; this context names another one.")
        self._form, self._key = form, key_version.material.expose()
        self._fill = Template(key_version.header, shared, varying).fill

    def seal(self, varying: Varying, plaintext: bytes) -> str:
        """One value in its own format.

        Raises:
            InvalidRequest: it has not the format that the field's policy declares.
            InvalidContext: a varying value is null, empty or cannot be written.
        """
        text = plaintext.decode("utf-8", "replace")  # the replacement character is in no alphabet by accident
        sealed = self._form.apply(ff1.encrypt, self._key, self._fill(varying), text)
        if sealed is None or text.encode() != plaintext:
            raise InvalidRequest(
                f"Expected {self._form.min_length} to {MAX_LENGTH} characters of the field's alphabet, got another "
                "value; bring it into the declared form first."
            )
        return sealed

    def seal_many(self, items: Iterable[tuple[Varying, bytes]]) -> list[str | GuardError]:
        """One answer per item, in order: its text, or the error that `seal` would raise for it."""
        answers: list[str | GuardError] = []
        for varying, plaintext in items:
            try:
                answers.append(self.seal(varying, plaintext))
            except GuardError as error:
                answers.append(detached(error))
        return answers


class FormatOpener:
    """Opens values of one column under one key version."""

    __slots__ = ("_fill", "_form", "_key")

    def __init__(
        self,
        form: Format,
        key_version: KeyVersion,
        shared: Mapping[str, Value],
        varying: tuple[str, ...] = (),
        *,
        compromised_granted: bool = False,
    ) -> None:
        """Raises KeyStateConflict and DoesNotOpen as `Opener`."""
        if not may_decrypt(key_version.state, compromised=key_version.compromised, granted=compromised_granted):
            raise refused(key_version, "does not open values")
        if shared.get("tenant") != key_version.tenant:
            raise DoesNotOpen(DOES_NOT_OPEN)
        self._form, self._key = form, key_version.material.expose()
        self._fill = Template(key_version.header, shared, varying).fill

    def open(self, varying: Varying, text: str) -> bytes:
        """The value; in another cell or under another key, some other value of the format.

        Raises:
            DoesNotOpen: the text has not the format that the field's policy declares.
            InvalidContext: a varying value is null, empty or cannot be written.
        """
        opened = self._form.apply(ff1.decrypt, self._key, self._fill(varying), text)
        if opened is None:
            raise DoesNotOpen(DOES_NOT_OPEN)
        return opened.encode()
