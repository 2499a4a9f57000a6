"""The tables of blind indexes, which belong to the page of tables (`schema`) and follow its law."""

from sqlalchemy import Index

from guard.db.columns import blob, integer, table, text

index_definitions = table(
    "index_definitions",
    text("tenant", key=True),
    text("name", key=True),
    integer("version", key=True),
    text("definition"),
)
unique_claims = table(
    "unique_claims",
    text("tenant", key=True),
    text("name", key=True),
    integer("version", key=True),
    blob("token", key=True),
    text("row"),
    integer("created_us"),
    Index(None, "tenant", "name", "row"),
)
search_budgets = table(
    "search_budgets",
    text("tenant", key=True),
    text("principal", key=True),
    text("name", key=True),
    text("spent"),
    integer("frozen_us"),
    integer("changed_us"),
    Index(None, "changed_us"),
)
