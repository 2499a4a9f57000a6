"""Data keys of persons, and the requests to forget them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "subject_deks",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("dek_id", sa.LargeBinary(), nullable=False),
        sa.Column("subject_ref", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("bucket_version", INT, autoincrement=False, nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("revoked_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "dek_id"),
        sa.UniqueConstraint("subject_ref", name="uq_subject_deks_subject_ref"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "subject_forgets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("dek_id", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_us", INT, autoincrement=False, nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("due_us", INT, autoincrement=False, nullable=True),
        sa.Column("destroyed_us", INT, autoincrement=False, nullable=True),
        sa.Column("bucket_version", INT, autoincrement=False, nullable=True),
        sa.Column("seq", INT, autoincrement=False, nullable=True),
        sa.Column("entry_hash", sa.Text(), nullable=True),
        sa.Column("rotated_us", INT, autoincrement=False, nullable=True),
        sa.Column("unrecoverable_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("ix_subject_forgets_tenant_dek_id", "subject_forgets", ["tenant", "dek_id"], unique=False)
    op.create_index("ix_subject_forgets_stage", "subject_forgets", ["stage"], unique=False)
