"""The tables of leased data keys; `schema` has them on its page. No key is in them."""

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text

_INT = BigInteger().with_variant(Integer, "sqlite")


def lease_tables(metadata: MetaData) -> tuple[Table, Table]:
    """The leases, and the epoch of each field, which a revocation of all its leases moves on."""
    leases = Table(
        "leases",
        metadata,
        Column("lease", Text, primary_key=True),
        Column("tenant", Text, nullable=False),
        Column("holder", Text, nullable=False),
        Column("purpose", Text, nullable=False),
        Column("opens", _INT, nullable=False),
        Column("starts", Text, nullable=False),
        Column("epochs", Text, nullable=False),
        Column("created_us", _INT, nullable=False),
        Column("expires_us", _INT, nullable=False),
        Column("max_uses", _INT, nullable=False),
        Column("used", _INT, nullable=False),
        Column("revoked_us", _INT, nullable=True),
        Index("ix_leases_tenant_expires_us", "tenant", "expires_us"),
        sqlite_strict=True,
    )
    epochs = Table(
        "lease_epochs",
        metadata,
        Column("tenant", Text, primary_key=True),
        Column("field", Text, primary_key=True),
        Column("epoch", _INT, nullable=False),
        Column("changed_us", _INT, nullable=False),
        sqlite_strict=True,
    )
    return leases, epochs
