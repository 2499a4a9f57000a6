"""How a table and its columns are written on the page of tables; here stands no table.

Law: tables are STRICT, a column holds something unless it says `null`, and no number is counted up by the database.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

page = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

# STRICT tables of SQLite know INTEGER only, PostgreSQL needs BIGINT for microseconds.
Int = BigInteger().with_variant(Integer, "sqlite")


def table(name: str, *parts: Column[object] | UniqueConstraint | Index) -> Table:
    """A table of the page."""
    return Table(name, page, *parts, sqlite_strict=True)


def integer(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    """A whole number of up to 64 bits."""
    return Column(name, Int, primary_key=key, nullable=null, autoincrement=False)


def text(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    """Text."""
    return Column(name, Text, primary_key=key, nullable=null)


def blob(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    """Bytes."""
    return Column(name, LargeBinary, primary_key=key, nullable=null)
