"""The tables of a key version's life, beside those of `schema` and in the same database.

Law: as `schema`; whoever takes the metadata takes it from here, so that these tables are among them.
"""

from sqlalchemy import Column, LargeBinary, Table, Text, UniqueConstraint

from guard.db.schema import Int, metadata

__all__ = ["key_destructions", "key_tombstones", "key_uses", "metadata"]


def _int(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    return Column(name, Int, primary_key=key, nullable=null, autoincrement=False)


def _text(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    return Column(name, Text, primary_key=key, nullable=null)


key_destructions = Table(
    "key_destructions",
    metadata,
    Column("key_id", LargeBinary, primary_key=True),
    _text("tenant"),
    _text("name"),
    _int("version"),
    _int("days"),
    _text("asked_by"),
    _int("asked_us"),
    _text("approved_by", null=True),
    _int("due_us", null=True),
    sqlite_strict=True,
)
key_tombstones = Table(
    "key_tombstones",
    metadata,
    Column("key_id", LargeBinary, primary_key=True),
    _text("tenant"),
    _text("name"),
    _int("version"),
    _text("suite"),
    _int("compromised"),
    _int("created_us"),
    _int("destroyed_us"),
    _text("asked_by"),
    _text("approved_by"),
    UniqueConstraint("tenant", "name", "version"),
    sqlite_strict=True,
)
key_uses = Table(
    "key_uses",
    metadata,
    _text("tenant", key=True),
    _text("name", key=True),
    _int("version", key=True),
    _int("sealed"),
    _int("opened_us"),
    sqlite_strict=True,
)
