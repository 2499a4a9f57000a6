"""How tables are written: strict ones of SQLite, with names of indexes and constraints that are the same everywhere.

Law: a table has columns of three kinds, whole numbers, texts and bytes; what may be null says so.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

# STRICT tables of SQLite know INTEGER only, PostgreSQL needs BIGINT for microseconds.
Int = BigInteger().with_variant(Integer, "sqlite")


def table(name: str, *parts: Column[object] | UniqueConstraint | Index) -> Table:
    """A table of the page."""
    return Table(name, metadata, *parts, sqlite_strict=True)


def number(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    """A column of whole numbers; of times, in microseconds UTC."""
    return Column(name, Int, primary_key=key, nullable=null, autoincrement=False)


def text(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    """A column of texts."""
    return Column(name, Text, primary_key=key, nullable=null)


def blob(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    """A column of bytes."""
    return Column(name, LargeBinary, primary_key=key, nullable=null)
