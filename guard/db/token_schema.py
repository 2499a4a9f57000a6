"""The tables of vaulted tokens, of approvals to reveal, and of what is planted for thieves.

Law: no column holds a token, a value or a person's id: of a token and of its value there are keyed hashes, and both are
sealed together under the person's key. Nothing tells a planted row from another one.
"""

from sqlalchemy import Index, UniqueConstraint

from guard.db.columns import blob, integer, table, text

vault_tokens = table(
    "vault_tokens",
    text("id", key=True),
    text("tenant"),
    text("field"),
    text("domain"),
    integer("index_version"),
    blob("reference"),
    blob("value_index", null=True),
    blob("dek_id"),
    text("sealed", null=True),
    integer("single_use"),
    integer("expires_us", null=True),
    text("issued_by"),
    integer("issued_us"),
    integer("reveals"),
    integer("used_us", null=True),
    integer("revoked_us", null=True),
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
    integer("tokens"),
    text("asked_by"),
    integer("asked_us"),
    integer("expires_us"),
    text("approved_by", null=True),
    integer("used_us", null=True),
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
    integer("planted_us"),
    integer("removed_us", null=True),
    Index(None, "tenant", "mark"),
)
