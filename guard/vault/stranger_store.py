"""Sealed values in columns that nobody declared: every text and binary column of a database is looked through.

Law: a text holds a sealed value wherever `gd1.` and a header stand in it, in the middle of a document too; bytes do
where they begin with 47 01 or hold such a text. What looks alike and is no header is passed over: a key is kept for
what it may still open, and a text without a header opens under none.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress

from sqlalchemy import (
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    inspect,
    literal,
    or_,
    select,
    types,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.sql.elements import ColumnElement

from guard.errors import InvalidEnvelope
from guard.vault import envelope
from guard.vault.envelope import FLAG_SUBJECT_KEY, HEADER_BYTES, MAGIC, TEXT_HEADER_CHARACTERS, TEXT_PREFIX

Place = tuple[str, str]
Header = tuple[bytes, int]
OF_PERSONS: Header = (b"", 1)
"""Stands for the header of every value under a person's key: whose it is, is not told."""
_PLAIN = (types.Integer, types.Numeric, types.Boolean, types.Date, types.DateTime, types.Time, types.Interval)
_SEALED = re.compile(rf"{re.escape(TEXT_PREFIX)}[A-Za-z0-9_-]{{{TEXT_HEADER_CHARACTERS - len(TEXT_PREFIX)}}}")
_BATCH = 1000  # rows in memory at a time


def strangers(connection: Connection, declared: Collection[Place]) -> dict[Place, Counter[Header]]:
    """(table, column) to how many values each (key id, version) seals there, without the *declared* columns."""
    found: dict[Place, Counter[Header]] = {}
    look = inspect(connection)
    # SQLite holds any value in any column, whatever its type says.
    lax = connection.dialect.name == "sqlite"
    for table in look.get_table_names():
        for column in look.get_columns(table):
            place = (table, str(column["name"]))
            if place in declared or (isinstance(column["type"], _PLAIN) and not lax):
                continue
            counted = Counter(
                _headers(connection, place, binary=isinstance(column["type"], types.LargeBinary), lax=lax)
            )
            if counted:
                found[place] = counted
    return found


def _headers(connection: Connection, place: Place, *, binary: bool, lax: bool) -> Iterator[Header]:
    # Typed as bytes or text so that no result processor of another type stumbles over what stands there.
    column = Column(place[1], LargeBinary if binary and not lax else Text)
    Table(place[0], MetaData(), column)
    conditions: list[ColumnElement[bool]] = []
    if lax or not binary:
        conditions.append(cast_to(column, Text).like(f"%{TEXT_PREFIX}%"))
    if lax or binary:
        conditions.append(func.substr(cast_to(column, LargeBinary), 1, len(MAGIC)) == literal(MAGIC, LargeBinary))
    wanted = select(column).where(or_(*conditions)).execution_options(yield_per=_BATCH)
    for (value,) in connection.execute(wanted):
        yield from _in_value(value)


def _in_value(value: object) -> Iterator[Header]:
    if isinstance(value, bytes | memoryview):
        raw = bytes(value)
        if raw.startswith(MAGIC):
            with suppress(InvalidEnvelope):
                yield _place(envelope.parse_header(raw[:HEADER_BYTES]))
            return
        value = raw.decode("latin-1")
    for head in _SEALED.findall(str(value)):
        try:
            yield _place(envelope.header_of(head))
        except InvalidEnvelope:
            continue


def _place(header: envelope.Header) -> Header:
    return OF_PERSONS if header.flags & FLAG_SUBJECT_KEY else (header.key_id, header.key_version)
