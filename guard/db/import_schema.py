"""Tables of keys that came from other systems, and of the exports that people asked for. Part of the one schema."""

from sqlalchemy import Column, LargeBinary, Table, Text

from guard.db.schema import Int, metadata

__all__ = ["imported_keys", "key_exports", "metadata"]


def _text(name: str, *, key: bool = False, null: bool = False) -> Column[object]:
    return Column(name, Text, primary_key=key, nullable=null)


def _int(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, Int, nullable=null, autoincrement=False)


imported_keys = Table(
    "imported_keys",
    metadata,
    _text("tenant", key=True),
    _text("name", key=True),
    _text("request"),
    Column("key_id", LargeBinary, nullable=False),
    _text("format"),
    _int("kek_version"),
    Column("wrapped", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    _text("asked_by"),
    _int("asked_us"),
    _text("approved_by", null=True),
    _int("approved_us", null=True),
    _text("removal_by", null=True),
    _int("changed_us"),
    sqlite_strict=True,
)
key_exports = Table(
    "key_exports",
    metadata,
    _text("tenant", key=True),
    _text("name", key=True),
    _text("request"),
    _text("format"),
    _text("kek"),
    _text("asked_by"),
    _int("asked_us"),
    _text("approved_by", null=True),
    _int("approved_us", null=True),
    sqlite_strict=True,
)
