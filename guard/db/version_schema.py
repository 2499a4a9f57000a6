"""The tables of a key version's life, on a second page beside `schema` and in the same database.

Law: as `schema`; whoever takes the metadata of the database takes it from here, so that these tables are in it.
"""

from sqlalchemy import UniqueConstraint

from guard.db.columns import blob, integer, table, text
from guard.db.schema import metadata

__all__ = ["key_destructions", "key_tombstones", "key_uses", "metadata"]

key_destructions = table(
    "key_destructions",
    blob("key_id", key=True),
    text("tenant"),
    text("name"),
    integer("version"),
    integer("days"),
    text("asked_by"),
    integer("asked_us"),
    text("approved_by", null=True),
    integer("due_us", null=True),
)
key_tombstones = table(
    "key_tombstones",
    blob("key_id", key=True),
    text("tenant"),
    text("name"),
    integer("version"),
    text("suite"),
    integer("compromised"),
    integer("created_us"),
    integer("destroyed_us"),
    text("asked_by"),
    text("approved_by"),
    UniqueConstraint("tenant", "name", "version"),
)
key_uses = table(
    "key_uses",
    text("tenant", key=True),
    text("name", key=True),
    integer("version", key=True),
    integer("sealed"),
    integer("opened_us"),
)
