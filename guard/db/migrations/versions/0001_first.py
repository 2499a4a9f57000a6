"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", INT, autoincrement=False, nullable=False),
        sa.Column("time_us", INT, autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_entries",
        sa.Column("idx", INT, autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("idx"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_exports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("size", INT, autoincrement=False, nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_head",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", INT, autoincrement=False, nullable=False),
        sa.Column("edge", sa.LargeBinary(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("time_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("origin"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_index",
        sa.Column("idx", INT, autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("n", INT, autoincrement=False, nullable=False),
        sa.Column("time_us", INT, autoincrement=False, nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("allowed", INT, autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("idx"),
        sa.UniqueConstraint("id", name=op.f("uq_audit_index_id")),
        sa.UniqueConstraint("tenant", "n", name=op.f("uq_audit_index_tenant_n")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_audit_index_tenant_action_idx"), "audit_index", ["tenant", "action", "idx"], unique=False)
    op.create_index(op.f("ix_audit_index_tenant_actor_idx"), "audit_index", ["tenant", "actor", "idx"], unique=False)
    op.create_table(
        "audit_open_intents",
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("deadline_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("intent"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_tenants",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("next_n", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_tiles",
        sa.Column("level", INT, autoincrement=False, nullable=False),
        sa.Column("n", INT, autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "n"),
        sqlite_strict=True,
    )
    op.create_table(
        "detect_alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rule_hash", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("t0_us", INT, autoincrement=False, nullable=False),
        sa.Column("t1_us", INT, autoincrement=False, nullable=False),
        sa.Column("peak", INT, autoincrement=False, nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("exact", INT, autoincrement=False, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_detect_alerts_tenant_created_us"), "detect_alerts", ["tenant", "created_us"], unique=False)
    op.create_table(
        "detect_decisions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("step", INT, autoincrement=False, nullable=False),
        sa.Column("shadow", INT, autoincrement=False, nullable=False),
        sa.Column("from_us", INT, autoincrement=False, nullable=False),
        sa.Column("until_us", INT, autoincrement=False, nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("revoked_us", INT, autoincrement=False, nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_detect_decisions_tenant_scope_value"), "detect_decisions", ["tenant", "scope", "value"], unique=False
    )
    op.create_table(
        "detect_rejects",
        sa.Column("eid", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("line", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("eid"),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_detect_rejects_tenant_stream_created_us"),
        "detect_rejects",
        ["tenant", "stream", "created_us"],
        unique=False,
    )
    op.create_table(
        "detect_streams",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("lines", INT, autoincrement=False, nullable=False),
        sa.Column("strict", INT, autoincrement=False, nullable=False),
        sa.Column("lenient", INT, autoincrement=False, nullable=False),
        sa.Column("rejected", INT, autoincrement=False, nullable=False),
        sa.Column("matched", INT, autoincrement=False, nullable=False),
        sa.Column("repeated", INT, autoincrement=False, nullable=False),
        sa.Column("first_us", INT, autoincrement=False, nullable=True),
        sa.Column("last_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "stream"),
        sqlite_strict=True,
    )
    op.create_table(
        "grants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("expires_us", INT, autoincrement=False, nullable=True),
        sa.Column("removed_by", sa.Text(), nullable=True),
        sa.Column("removed_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_grants_tenant_member"), "grants", ["tenant", "member"], unique=False)
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", INT, autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=True),
        sa.Column("triggers", INT, autoincrement=False, nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("opened_us", INT, autoincrement=False, nullable=False),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_incidents_tenant_dedupe_key"), "incidents", ["tenant", "dedupe_key"], unique=False)
    op.create_table(
        "index_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("kek_version", INT, autoincrement=False, nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", "version"),
        sqlite_strict=True,
    )
    op.create_table(
        "key_versions",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("suite", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("compromised", INT, autoincrement=False, nullable=False),
        sa.Column("kek_version", INT, autoincrement=False, nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("tenant", "name", "version", name=op.f("uq_key_versions_tenant_name_version")),
        sqlite_strict=True,
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_strict=True,
    )
    op.create_table(
        "plan_versions",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
        sqlite_strict=True,
    )
    op.create_table(
        "reencryptions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("examined", INT, autoincrement=False, nullable=False),
        sa.Column("changed", INT, autoincrement=False, nullable=False),
        sa.Column("skipped", INT, autoincrement=False, nullable=False),
        sa.Column("failed", INT, autoincrement=False, nullable=False),
        sa.Column("total", INT, autoincrement=False, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_table(
        "run_commands",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("command_id", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", "command_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "run_events",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("seq", INT, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at_us", INT, autoincrement=False, nullable=False),
        sa.Column("recorded_us", INT, autoincrement=False, nullable=False),
        sa.Column("command_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", "seq"),
        sa.UniqueConstraint("event_id", name=op.f("uq_run_events_event_id")),
        sqlite_strict=True,
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=True),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("plan_sha256", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("started_us", INT, autoincrement=False, nullable=False),
        sa.Column("changed_us", INT, autoincrement=False, nullable=False),
        sa.Column("due_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_runs_due_us"), "runs", ["due_us"], unique=False)
    op.create_index(op.f("ix_runs_tenant_state"), "runs", ["tenant", "state"], unique=False)
    op.create_table(
        "seal_slots",
        sa.Column("slot_id", sa.Text(), nullable=False),
        sa.Column("plugin", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("seal_version", INT, autoincrement=False, nullable=False),
        sa.Column("check_value", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("slot_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_strict=True,
    )
    op.create_table(
        "tenant_keks",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("version", INT, autoincrement=False, nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "version"),
        sqlite_strict=True,
    )
    op.create_table(
        "tenants",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
        sqlite_strict=True,
    )
    op.create_table(
        "tokens",
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("pepper_version", INT, autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_us", INT, autoincrement=False, nullable=False),
        sa.Column("expires_us", INT, autoincrement=False, nullable=False),
        sa.Column("revoked_us", INT, autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("handle"),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_tokens_tenant_created_us"), "tokens", ["tenant", "created_us"], unique=False)
