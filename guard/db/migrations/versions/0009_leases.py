"""Leased data keys, and the epochs by which all leases of a field are revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "leases",
        sa.Column("lease", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("opens", INT, nullable=False),
        sa.Column("starts", sa.Text(), nullable=False),
        sa.Column("epochs", sa.Text(), nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.Column("max_uses", INT, nullable=False),
        sa.Column("used", INT, nullable=False),
        sa.Column("revoked_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("lease"),
        sqlite_strict=True,
    )
    op.create_index("ix_leases_tenant_expires_us", "leases", ["tenant", "expires_us"], unique=False)
    op.create_table(
        "lease_epochs",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("epoch", INT, nullable=False),
        sa.Column("changed_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "field"),
        sqlite_strict=True,
    )
