"""The tables of vaulted tokens, of approvals to reveal, and of what is planted for thieves.

Law: no column holds a token, a value or a person's id: of a token and of its value there are keyed hashes, and both are
sealed together under the person's key. Nothing tells a planted row from another one.
"""

from sqlalchemy import Index, UniqueConstraint

from guard.db.table import blob, number, table, text

vault_tokens = table(
    "vault_tokens",
    text("id", key=True),
    text("tenant"),
    text("field"),
    text("domain"),
    number("index_version"),
    blob("reference"),
    blob("value_index", null=True),
    blob("dek_id"),
    text("sealed", null=True),
    number("single_use"),
    number("expires_us", null=True),
    text("issued_by"),
    number("issued_us"),
    number("reveals"),
    number("used_us", null=True),
    number("revoked_us", null=True),
    UniqueConstraint("tenant", "reference"),
    UniqueConstraint("tenant", "value_index"),
    Index(None, "tenant", "dek_id"),
    Index(None, "tenant", "issued_us"),
    Index(None, "expires_us"),
)
token_requests = table(
    "token_requests",
    text("id", key=True),
    text("tenant"),
    text("field"),
    text("purpose"),
    blob("covers"),
    number("tokens"),
    text("asked_by"),
    number("asked_us"),
    number("expires_us"),
    text("approved_by", null=True),
    number("used_us", null=True),
    Index(None, "tenant", "covers"),
)
honeys = table(
    "honeys",
    text("id", key=True),
    text("tenant"),
    text("kind"),
    text("field"),
    blob("mark"),
    text("planted_by"),
    number("planted_us"),
    number("removed_us", null=True),
    Index(None, "tenant", "mark"),
)
