"""The tables of a key version's life, which belong to the page of tables (`schema`) and follow its law."""

from sqlalchemy import UniqueConstraint

from guard.db.columns import blob, integer, table, text

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
