"""Vaulted tokens, approvals to reveal them, and planted values."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "vault_tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("index_version", INT, autoincrement=False, nullable=False),
        sa.Column("reference", sa.LargeBinary(), nullable=False),
        sa.Column("value_index", sa.LargeBinary(), nullable=True),
        sa.Column("dek_id", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("single_use", INT, autoincrement=False, nullable=False),
        sa.Column("expires_us", INT, autoincrement=False, nullable=True),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column("issued_us", INT, autoincrement=False, nullable=False),
        sa.Column("reveals", INT, autoincrement=False, nullable=False),
        sa.Column("used_us", INT, autoincrement=False, nullable=True),
        sa.Column("revoked_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant", "reference", name="uq_vault_tokens_tenant_reference"),
        sa.UniqueConstraint("tenant", "value_index", name="uq_vault_tokens_tenant_value_index"),
        sqlite_strict=True,
    )
    op.create_index("ix_vault_tokens_tenant_dek_id", "vault_tokens", ["tenant", "dek_id"], unique=False)
    op.create_index("ix_vault_tokens_tenant_issued_us", "vault_tokens", ["tenant", "issued_us"], unique=False)
    op.create_index("ix_vault_tokens_expires_us", "vault_tokens", ["expires_us"], unique=False)
    op.create_table(
        "token_requests",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("covers", sa.LargeBinary(), nullable=False),
        sa.Column("tokens", INT, autoincrement=False, nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_us", INT, autoincrement=False, nullable=False),
        sa.Column("expires_us", INT, autoincrement=False, nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("used_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("ix_token_requests_tenant_covers", "token_requests", ["tenant", "covers"], unique=False)
    op.create_table(
        "honeys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.Column("planted_by", sa.Text(), nullable=False),
        sa.Column("planted_us", INT, autoincrement=False, nullable=False),
        sa.Column("removed_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("ix_honeys_tenant_mark", "honeys", ["tenant", "mark"], unique=False)
