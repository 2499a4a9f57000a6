"""The log on files: archive, sealed values, holds, erasures, anchors, export jobs, sinks, and keys of subjects."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and an index for searches by time."""
    op.create_index("ix_audit_index_tenant_time_us", "audit_index", ["tenant", "time_us"], unique=False)
    op.create_table(
        "subject_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("kek_version", INT, autoincrement=False, nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("tenant", "subject", name="uq_subject_keys_tenant_subject"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_archive",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("archived_size", INT, autoincrement=False, nullable=False),
        sa.Column("min_index", INT, autoincrement=False, nullable=False),
        sa.Column("removed", INT, autoincrement=False, nullable=True),
        sa.Column("prune_to", INT, autoincrement=False, nullable=True),
        sa.Column("prune_asked_by", sa.Text(), nullable=True),
        sa.Column("prune_asked_us", INT, autoincrement=False, nullable=True),
        sa.Column("scrubbed", INT, autoincrement=False, nullable=True),
        sa.Column("scrub_faults", INT, autoincrement=False, nullable=True),
        sa.Column("copied", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("origin"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_sealed",
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("record_id", "field"),
        sqlite_strict=True,
    )
    op.create_index("ix_audit_sealed_expires_us", "audit_sealed", ["expires_us"], unique=False)
    op.create_index("ix_audit_sealed_key_id", "audit_sealed", ["key_id"], unique=False)
    op.create_table(
        "audit_holds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("matter", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("placed_us", INT, autoincrement=False, nullable=False),
        sa.Column("release_asked_by", sa.Text(), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("released_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("ix_audit_holds_tenant_state", "audit_holds", ["tenant", "state"], unique=False)
    op.create_table(
        "audit_erasures",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_us", INT, autoincrement=False, nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.Column("rows", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("ix_audit_erasures_tenant_state", "audit_erasures", ["tenant", "state"], unique=False)
    op.create_table(
        "audit_cosignatures",
        sa.Column("size", INT, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("time_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("size", "name"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_witnesses",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", INT, autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("time_us", INT, autoincrement=False, nullable=False),
        sa.Column("cosigned_us", INT, autoincrement=False, nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_log_keys",
        sa.Column("vkey", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("from_size", INT, autoincrement=False, nullable=False),
        sa.Column("to_size", INT, autoincrement=False, nullable=True),
        sa.Column("until_us", INT, autoincrement=False, nullable=True),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("stolen_us", INT, autoincrement=False, nullable=True),
        sa.Column("frozen_root", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("vkey"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_receipt_keys",
        sa.Column("vkey", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("from_us", INT, autoincrement=False, nullable=False),
        sa.Column("stolen_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("vkey"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_clock_requests",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("checkpoint_us", INT, autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_us", INT, autoincrement=False, nullable=False),
        sa.Column("accepted_by", sa.Text(), nullable=True),
        sa.Column("accepted_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("ix_audit_clock_requests_checkpoint_us", "audit_clock_requests", ["checkpoint_us"], unique=False)
    op.create_table(
        "audit_anchors",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("size", INT, autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("proof", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("time_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("kind", "size"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_export_jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("size", INT, autoincrement=False, nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("prove", sa.Text(), nullable=False),
        sa.Column("matched", INT, autoincrement=False, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_export_parts",
        sa.Column("export", sa.Text(), nullable=False),
        sa.Column("n", INT, autoincrement=False, nullable=False),
        sa.Column("first", INT, autoincrement=False, nullable=False),
        sa.Column("last", INT, autoincrement=False, nullable=False),
        sa.Column("matched", INT, autoincrement=False, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", INT, autoincrement=False, nullable=False),
        sa.Column("edge", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("export", "n"),
        sqlite_strict=True,
    )
    op.execute(
        "INSERT INTO audit_export_jobs (id, tenant, format, filter, purpose, state, size, root, note, prove, matched, "
        "detail, sha256, created_by, created_us, changed_us) SELECT id, tenant, 'tiles', '{}', '', 'ready', size, "
        "root, '', '[]', size, '', sha256, created_by, created_us, created_us FROM audit_exports"
    )
    op.drop_table("audit_exports")
    op.create_table(
        "audit_sinks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("first_idx", INT, autoincrement=False, nullable=False),
        sa.Column("next_idx", INT, autoincrement=False, nullable=False),
        sa.Column("delivered", INT, autoincrement=False, nullable=False),
        sa.Column("repeated", INT, autoincrement=False, nullable=False),
        sa.Column("acked_us", INT, autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_strict=True,
    )
