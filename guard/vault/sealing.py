"""Sealing and opening fields: key version, context and suite brought together, as text.

`Sealer` and `Opener` do once per batch what all its values share: the header, the sorted context around the varying
values, the cipher under the key. `seal_text` and `open_text` are the same for one value.
Law: nothing opens outside the context it was sealed in; a key serves its own tenant only; the state of a key version
is obeyed in both directions. A wrong key, a wrong context and changed bytes get one answer, so that no caller learns
which of them it was. No I/O.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from guard.errors import DoesNotOpen, GuardError, InternalError, InvalidContext, KeyDestroyed, KeyStateConflict
from guard.vault import context, leases, suites
from guard.vault.context import Template, Value
from guard.vault.envelope import FLAG_PADDED, HEADER_BYTES, SuiteId, from_text, to_text, to_texts
from guard.vault.keys import KeyVersion
from guard.vault.suites import Random, Suite
from guard.vault.versions import State, may_decrypt, may_encrypt

Varying = tuple[Value, ...]
"""The values of the fields that differ from item to item, in the order in which they were named."""

Fill = Callable[[Varying], bytes]

PAD_STEPS: Final = (0, 16, 32, 64)
"""A padded plaintext is filled up to a multiple of one of these, so that lengths show only in steps; 0 is unpadded."""

_FLAGS_AT: Final = 3
_SUITE: Final = slice(2, 3)
_LEASED: Final = bytes([SuiteId.LEASED])


class Sealer:
    """Seals values of one column under one key version. Make one per batch and drop it: it binds the key."""

    __slots__ = ("_fill", "_header", "_pad_step", "_row", "_seal")

    def __init__(
        self,
        key_version: KeyVersion,
        shared: Mapping[str, Value],
        varying: tuple[str, ...] = (),
        *,
        portable: bool = False,
        pad_step: int = 0,
        random: Random | None = None,
        start: bytes = b"",
    ) -> None:
        """`shared` fields are equal for all values, `varying` names the others in sorted order.

        `random` is asked for nonces by the suites that draw them here. `start` is how values under a leased key begin.

        Raises:
            KeyStateConflict: the version's state does not allow new values.
            InvalidContext: `shared` and `varying` name no cell (see `context.check_cell`), or name another tenant.
        """
        cell = {**dict.fromkeys(varying, True), **shared} if varying else shared
        suite, header = _seal_with(key_version, cell, portable, pad_step)
        if start:
            header = _with_padding(start[:HEADER_BYTES]) if pad_step else start[:HEADER_BYTES]
        self._fill = Template(header, shared, varying).fill
        self._header = header + start[HEADER_BYTES:]
        self._seal = suite.sealer(key_version.material.expose(), random)
        # A deterministic field has one context for all values.
        self._row = suite.bind_row(key_version.material.expose()) if suite.bind_row and not varying else None
        self._pad_step = pad_step

    def seal(self, varying: Varying, plaintext: bytes) -> str:
        """One value as text.

        Raises:
            InvalidContext: a varying value is null, empty or cannot be written.
            BodyTooLarge: the plaintext has more than 1 MiB.
        """
        if self._pad_step:
            plaintext = _padded(plaintext, self._pad_step)
        return to_text(self._header + self._seal(self._fill(varying), plaintext))

    def seal_many(self, items: Iterable[tuple[Varying, bytes]]) -> list[str | GuardError]:
        """One answer per item, in order: its text, or the error that `seal` would raise for it."""
        header, seal, fill, pad_step = self._header, self._seal, self._fill, self._pad_step
        if self._row is not None and not pad_step:
            items = list(items)
            values = [plaintext for varying, plaintext in items if not varying]
            if len(values) == len(items) and max(map(len, values), default=0) <= suites.MAX_FIELD_BYTES:
                return [*to_texts([header + body for body in self._row(fill(()), values)])]
        raws: list[bytes] = []
        failed: dict[int, GuardError] = {}
        for varying, plaintext in items:
            try:
                value = _padded(plaintext, pad_step) if pad_step else plaintext
                raws.append(header + seal(fill(varying), value))
            except GuardError as error:
                failed[len(raws)] = detached(error)
                raws.append(b"")
        texts = to_texts(raws)
        return [failed.get(at, text) for at, text in enumerate(texts)] if failed else [*texts]


class Opener:
    """Opens values of one column under one key version. Make one per batch and drop it: it binds the key."""

    __slots__ = ("_fills", "_header", "_open", "_shared", "_varying")

    def __init__(
        self,
        key_version: KeyVersion,
        shared: Mapping[str, Value],
        varying: tuple[str, ...] = (),
        *,
        compromised_granted: bool = False,
    ) -> None:
        """As `Sealer`; `compromised_granted` says that the caller may read under a compromised version.

        Raises:
            KeyStateConflict: the version's state does not allow reading.
            DoesNotOpen: `shared` names another tenant than the key's.
        """
        suite = _open_with(key_version, shared, compromised_granted)
        self._header = key_version.header
        self._shared = shared
        self._varying = varying
        self._open = suite.opener(key_version.material.expose())
        self._fills: dict[bytes, Fill] = {}

    def open(self, varying: Varying, text: str) -> bytes:
        """The plaintext of one text.

        Raises:
            InvalidEnvelope: the text is no canonical sealed text.
            InvalidContext: a varying value is null, empty or cannot be written.
            DoesNotOpen: any other cause.
        """
        raw = from_text(text)
        header = raw[:HEADER_BYTES]
        if header[_SUITE] == _LEASED:
            key, sealed = leases.subkey(self._open, self._header, header, self._cell(varying), raw[HEADER_BYTES:])
            bound = Template(header, self._shared, self._varying).fill(varying)
            return _opened_leased(key, header, bound, sealed)
        fill = self._fills.get(header) or self._fill_for(header)
        plaintext = self._open(fill(varying), raw[HEADER_BYTES:])
        return _unpadded(plaintext) if header[_FLAGS_AT] & FLAG_PADDED else plaintext

    def open_many(self, items: Iterable[tuple[Varying, str]]) -> list[bytes | GuardError]:
        """One answer per item, in order: its plaintext, or the error that `open` would raise for it."""
        open_one = self.open
        answers: list[bytes | GuardError] = []
        for varying, text in items:
            try:
                answers.append(open_one(varying, text))
            except GuardError as error:
                answers.append(detached(error))
        return answers

    def _cell(self, varying: Varying) -> dict[str, Value]:
        return {**self._shared, **dict(zip(self._varying, varying, strict=True))}

    def _fill_for(self, header: bytes) -> Fill:
        _check_header(header, self._header)
        fill = self._fills[header] = Template(header, self._shared, self._varying).fill
        return fill


def seal_text(
    key_version: KeyVersion,
    fields: Mapping[str, Value],
    plaintext: bytes,
    *,
    portable: bool = False,
    pad_step: int = 0,
    random: Random | None = None,
) -> str:
    """Seal one value; raises as `Sealer` and `Sealer.seal`."""
    suite, header = _seal_with(key_version, fields, portable, pad_step)
    content = _padded(plaintext, pad_step) if pad_step else plaintext
    key = key_version.material.expose()
    return to_text(header + suite.seal(key, context.encode(header, fields), content, random))


def open_text(
    key_version: KeyVersion, fields: Mapping[str, Value], text: str, *, compromised_granted: bool = False
) -> bytes:
    """Open one value; raises as `Opener` and `Opener.open`."""
    suite = _open_with(key_version, fields, compromised_granted)
    raw = from_text(text)
    header, body = raw[:HEADER_BYTES], raw[HEADER_BYTES:]
    if header[_SUITE] == _LEASED:
        unwrap = suite.opener(key_version.material.expose())
        key, sealed = leases.subkey(unwrap, key_version.header, header, fields, body)
        return _opened_leased(key, header, context.encode(header, fields), sealed)
    _check_header(header, key_version.header)
    opened = suite.open(key_version.material.expose(), context.encode(header, fields), body)
    return _unpadded(opened) if header[_FLAGS_AT] & FLAG_PADDED else opened


def _seal_with(
    key_version: KeyVersion, cell: Mapping[str, Value], portable: bool, pad_step: int
) -> tuple[Suite, bytes]:
    if pad_step not in PAD_STEPS:
        raise InternalError(f"A padding step is one of {PAD_STEPS}; {pad_step} came.")
    if not may_encrypt(key_version.state, compromised=key_version.compromised):
        raise refused(key_version, "seals no new values")
    suite = suites.suite(key_version.suite)
    context.check_cell(cell, portable=portable, deterministic=suite.deterministic)
    if cell["tenant"] != key_version.tenant:
        raise InvalidContext("A value is sealed with a key of its own tenant; this context names another one.")
    return suite, _with_padding(key_version.header) if pad_step else key_version.header


def _open_with(key_version: KeyVersion, fields: Mapping[str, Value], compromised_granted: bool) -> Suite:
    if not may_decrypt(key_version.state, compromised=key_version.compromised, granted=compromised_granted):
        raise refused(key_version, "does not open values")
    if fields.get("tenant") != key_version.tenant:
        raise DoesNotOpen(suites.DOES_NOT_OPEN)
    return suites.of_key(key_version.suite, len(key_version.material))


def _opened_leased(key: bytes, header: bytes, bound: bytes, sealed: bytes) -> bytes:
    plaintext = suites.CBL256.open(key, bound, sealed)
    return _unpadded(plaintext) if header[_FLAGS_AT] & FLAG_PADDED else plaintext


def _check_header(header: bytes, own: bytes) -> None:
    # Only this version's own header may go on, with or without padding. The suite would refuse any other as well.
    if header not in {own, _with_padding(own)}:
        raise DoesNotOpen(suites.DOES_NOT_OPEN)


def refused(key_version: KeyVersion, what: str) -> KeyStateConflict:
    """The error of a version whose state forbids what was asked."""
    flag = " and compromised" if key_version.compromised else ""
    error = KeyDestroyed if key_version.state is State.DESTROYED else KeyStateConflict
    return error(
        f"The key {key_version.label} is {key_version.state.value}{flag}, so it {what}.",
        key=key_version.name,
        version=key_version.version,
        state=key_version.state.value,
        changed_us=key_version.changed_us,
    )


def _with_padding(header: bytes) -> bytes:
    return header[:_FLAGS_AT] + bytes([header[_FLAGS_AT] | FLAG_PADDED]) + header[_FLAGS_AT + 1 :]


def _padded(plaintext: bytes, step: int) -> bytes:
    return plaintext + b"\x80" + bytes(-(len(plaintext) + 1) % step)


def _unpadded(padded: bytes) -> bytes:
    content = padded.rstrip(b"\0")
    if not content.endswith(b"\x80"):  # authenticated, so it was sealed wrongly; still no reason for another answer
        raise DoesNotOpen(suites.DOES_NOT_OPEN)
    return content[:-1]


def detached(error: GuardError) -> GuardError:
    """The error without its traceback, to be kept in a list."""
    # A stored error would keep the frames of its traceback alive, and with them plaintexts and keys.
    error.__traceback__ = error.__context__ = None
    return error
