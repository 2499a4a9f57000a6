"""Tokens of blind indexes beside the rows of an application's table, in its own database: `guard_tokens`.

Law: a row's tokens of one index are replaced as a whole, in the transaction that saw its value, so that a look-up finds
the row before and after and never misses it between. A look-up is an equality on the primary key: index, version,
token.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy import Connection as Sql

from guard.settings import Source

NAME = "guard_tokens"

TOKENS = Table(
    NAME,
    MetaData(),
    Column("idx", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("token", LargeBinary, primary_key=True),
    Column("row", Text, primary_key=True),
    Index(f"ix_{NAME}_row", "row", "idx"),
    sqlite_with_rowid=False,
)
"""A table without row ids is its own index: a look-up reads no second page."""


def prepare(connection: Sql) -> None:
    """Make the table where it is not there."""
    TOKENS.create(connection, checkfirst=True)
    for one in TOKENS.indexes:
        one.create(connection, checkfirst=True)


def put(connection: Sql, row: str, name: str, tokens: Iterable[tuple[int, bytes]]) -> bool:
    """Let a row carry these (version, token) in an index, in place of what it carried; False where it did already."""
    wanted = set(tokens)
    here = (TOKENS.c.row == row, TOKENS.c.idx == name)
    held = {
        (one.version, one.token) for one in connection.execute(select(TOKENS.c.version, TOKENS.c.token).where(*here))
    }
    if held == wanted:
        return False
    connection.execute(delete(TOKENS).where(*here))
    if wanted:
        values = [{"idx": name, "version": version, "token": token, "row": row} for version, token in sorted(wanted)]
        connection.execute(insert(TOKENS), values)
    return True


def matching(
    connection: Sql, name: str, version: int, alternatives: Sequence[Sequence[bytes]], after: str | None, limit: int
) -> list[str]:
    """Rows that carry all tokens of any alternative, in the order of their ids as text, from behind *after* on."""
    found: set[str] = set()
    single = [tokens[0] for tokens in alternatives if len(tokens) == 1]
    several = [tokens for tokens in alternatives if len(tokens) > 1]
    here = _here(name, version, after)
    if single:
        wanted = select(TOKENS.c.row).where(*here, TOKENS.c.token.in_(single)).distinct().order_by(TOKENS.c.row)
        found.update(connection.execute(wanted.limit(limit)).scalars())
    for tokens in several:
        wanted = select(TOKENS.c.row).where(*here, TOKENS.c.token == tokens[-1])
        for number, token in enumerate(tokens[:-1]):
            other = TOKENS.alias(f"other{number}")
            same = (
                other.c.idx == name,
                other.c.version == version,
                other.c.token == token,
                other.c.row == TOKENS.c.row,
            )
            wanted = wanted.where(select(other.c.row).where(*same).exists())
        found.update(connection.execute(wanted.order_by(TOKENS.c.row).limit(limit)).scalars())
    return sorted(found)[:limit]


def carriers(connection: Sql, name: str, version: int, newest: int | None = None) -> int:
    """How many rows carry tokens of a version; of those only that carry none of *newest*, where it is given."""
    wanted = select(func.count(func.distinct(TOKENS.c.row))).where(*_here(name, version, None))
    if newest is not None:
        wanted = wanted.where(TOKENS.c.row.not_in(select(TOKENS.c.row).where(*_here(name, newest, None))))
    return int(connection.execute(wanted).scalar_one())


def carrying(connection: Sql, name: str, version: int, after: str | None, limit: int) -> list[str]:
    """The next rows that carry tokens of a version, in the order of their ids as text."""
    wanted = select(TOKENS.c.row).where(*_here(name, version, after)).distinct().order_by(TOKENS.c.row)
    return list(connection.execute(wanted.limit(limit)).scalars())


def drop(connection: Sql, name: str, version: int, rows: Sequence[str]) -> None:
    """Remove what rows carry of a version."""
    connection.execute(delete(TOKENS).where(*_here(name, version, None), TOKENS.c.row.in_(rows)))


def cells(
    connection: Sql, source: Source, columns: Sequence[str], rows: Sequence[str]
) -> dict[str, tuple[object, ...]]:
    """Primary key and values of *columns* for these rows, by the row's id as text."""
    table = Table(source.table, MetaData(), *[Column(name) for name in (source.primary_key, *columns)])
    key = table.c[source.primary_key]
    wanted = select(key, *[table.c[name] for name in columns]).where(key.in_(rows))
    return {str(row[0]): tuple(row) for row in connection.execute(wanted)}


def _here(name: str, version: int, after: str | None) -> tuple[ColumnElement[bool], ...]:
    here = (TOKENS.c.idx == name, TOKENS.c.version == version)
    return here if after is None else (*here, TOKENS.c.row > after)
