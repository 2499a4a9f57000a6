"""The life of a key version: destructions, tombstones, uses; and the terms of re-encryption jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
KEPT = "id, tenant, source, field, state, cursor, examined, changed, skipped, failed, total"
ENDED = "detail, created_by, created_us, changed_us"


def upgrade() -> None:
    """Create the tables, and write the jobs anew with what each may do."""
    op.create_table(
        "key_destructions",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("days", INT, autoincrement=False, nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_us", INT, autoincrement=False, nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("due_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("key_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "key_tombstones",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("suite", sa.Text(), nullable=False),
        sa.Column("compromised", INT, autoincrement=False, nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("destroyed_us", INT, autoincrement=False, nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("tenant", "name", "version", name="uq_key_tombstones_tenant_name_version"),
        sqlite_strict=True,
    )
    op.create_table(
        "key_uses",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("sealed", INT, autoincrement=False, nullable=False),
        sa.Column("opened_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", "version"),
        sqlite_strict=True,
    )
    op.rename_table("reencryptions", "reencryptions_before")
    op.create_table(
        "reencryptions",
        *[
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("id", "tenant", "source", "field", "state", "cursor")
        ],
        *[_number(name) for name in ("examined", "changed", "skipped", "failed", "total")],
        *[_number(name) for name in ("priority", "rows_per_second", "dry_run", "passes")],
        *[sa.Column(name, sa.Text(), nullable=False) for name in ("detail", "created_by")],
        *[_number(name) for name in ("created_us", "changed_us")],
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.execute(
        f"INSERT INTO reencryptions ({KEPT}, priority, rows_per_second, dry_run, passes, {ENDED}) "  # noqa: S608  constants
        f"SELECT {KEPT}, 0, 0, 0, 1, {ENDED} FROM reencryptions_before"
    )
    op.drop_table("reencryptions_before")


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, INT, autoincrement=False, nullable=False)
