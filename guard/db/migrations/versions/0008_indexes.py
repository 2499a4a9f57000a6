"""Blind indexes: how each version is defined, values that are claimed as unique, and budgets of search."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "index_definitions",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", "version"),
        sqlite_strict=True,
    )
    op.create_table(
        "unique_claims",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", "version", "token"),
        sqlite_strict=True,
    )
    op.create_index("ix_unique_claims_tenant_name_row", "unique_claims", ["tenant", "name", "row"])
    op.create_table(
        "search_budgets",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spent", sa.Text(), nullable=False),
        sa.Column("frozen_us", INT, autoincrement=False, nullable=False),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "principal", "name"),
        sqlite_strict=True,
    )
    op.create_index("ix_search_budgets_changed_us", "search_budgets", ["changed_us"])
