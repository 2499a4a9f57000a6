"""The tables of keys that came from other systems, and of the exports that people asked for.

They belong to the page of tables (`schema`) and follow its law.
"""

from guard.db.columns import blob, integer, table, text

imported_keys = table(
    "imported_keys",
    text("tenant", key=True),
    text("name", key=True),
    text("request"),
    blob("key_id"),
    text("format"),
    integer("kek_version"),
    blob("wrapped"),
    blob("body"),
    text("asked_by"),
    integer("asked_us"),
    text("approved_by", null=True),
    integer("approved_us", null=True),
    text("removal_by", null=True),
    integer("changed_us"),
)
key_exports = table(
    "key_exports",
    text("tenant", key=True),
    text("name", key=True),
    text("request"),
    text("format"),
    text("kek"),
    text("asked_by"),
    integer("asked_us"),
    text("approved_by", null=True),
    integer("approved_us", null=True),
)
