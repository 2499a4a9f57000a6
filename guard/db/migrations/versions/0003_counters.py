"""Message counters of keys whose nonces have 96 bits."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "gcm_counters",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("reserved", INT, autoincrement=False, nullable=False),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sqlite_strict=True,
    )
