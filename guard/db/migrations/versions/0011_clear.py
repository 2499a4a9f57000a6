"""Jobs that seal what stands in a column in clear."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what a job seals."""
    op.add_column("reencryptions", sa.Column("in_clear", INT, autoincrement=False, nullable=True))
