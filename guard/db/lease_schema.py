"""The tables of leased data keys, which belong to the page of tables (`schema`) and follow its law; no key is there."""

from sqlalchemy import Index

from guard.db.columns import integer, table, text

leases = table(
    "leases",
    text("lease", key=True),
    text("tenant"),
    text("holder"),
    text("purpose"),
    integer("opens"),
    text("starts"),
    text("epochs"),
    integer("created_us"),
    integer("expires_us"),
    integer("max_uses"),
    integer("used"),
    integer("revoked_us", null=True),
    Index(None, "tenant", "expires_us"),
)
lease_epochs = table(
    "lease_epochs",
    text("tenant", key=True),
    text("field", key=True),
    integer("epoch"),
    integer("changed_us"),
)
