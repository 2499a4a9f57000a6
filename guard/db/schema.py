"""All tables on one page. Times are microseconds UTC (`*_us`); ids are text; keys, hashes and wraps are bytes.

Law: tables are known to `db` and to each room's `*store.py` only; a change here comes with a migration, and a test
holds the two against each other. Tables of some parts stand in `*_schema` files beside this one, which it
imports, so that whoever takes the metadata from here has all.
"""

from sqlalchemy import Index, Table, UniqueConstraint

from guard.db import import_schema, index_schema, lease_schema, token_schema, version_schema  # noqa: F401  see above
from guard.db.columns import blob as _blob
from guard.db.columns import integer as _int
from guard.db.columns import page
from guard.db.columns import table as _table
from guard.db.columns import text as _text

metadata = page
"""What the migrations are held against, once the tables below are in it."""

# The store itself

meta = _table("meta", _text("name", key=True), _text("value"))

# vault

seal_slots = _table(
    "seal_slots",
    _text("slot_id", key=True),
    _text("plugin"),
    _text("record"),
    _blob("wrapped"),
    _int("seal_version"),
    _blob("check_value"),
    _int("created_us"),
    _text("options", null=True),
)
seal_requests = _table(
    "seal_requests",
    _text("slot_id", key=True),
    _text("plugin"),
    _text("record"),
    _text("options"),
    _blob("wrapped"),
    _int("seal_version"),
    _blob("check_value"),
    _text("replaces", null=True),
    _text("asked_by"),
    _int("asked_us"),
)
secrets = _table("secrets", _text("name", key=True), _blob("wrapped"), _int("created_us"))
tenant_keks = _table(
    "tenant_keks",
    _text("tenant", key=True),
    _int("version", key=True),
    _blob("key_id"),
    _blob("wrapped"),
    _int("created_us"),
)
key_versions = _table(
    "key_versions",
    _blob("key_id", key=True),
    _text("tenant"),
    _text("name"),
    _int("version"),
    _text("suite"),
    _text("state"),
    _int("compromised"),
    _int("kek_version"),
    _blob("wrapped", null=True),
    _int("created_us"),
    _int("changed_us"),
    UniqueConstraint("tenant", "name", "version"),
)
gcm_counters = _table("gcm_counters", _blob("key_id", key=True), _int("reserved"), _int("changed_us"))
index_keys = _table(
    "index_keys",
    _text("tenant", key=True),
    _text("name", key=True),
    _int("version", key=True),
    _int("kek_version"),
    _blob("wrapped"),
    _int("created_us"),
)
subject_keys = _table(
    "subject_keys",
    _text("key_id", key=True),
    _text("tenant"),
    _text("subject", null=True),
    _int("kek_version"),
    _blob("wrapped", null=True),
    _text("state"),
    _int("created_us"),
    _int("changed_us"),
    UniqueConstraint("tenant", "subject"),
)
# 72 bytes and little more a person, of whom there may be a hundred million: no row id, no index but the one needed.
subject_deks = Table(
    "subject_deks",
    metadata,
    _text("tenant", key=True),
    _blob("dek_id", key=True),
    _blob("subject_ref"),
    _blob("wrapped"),
    _int("bucket_version"),
    _int("created_us"),
    _int("revoked_us", null=True),
    UniqueConstraint("subject_ref"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
subject_forgets = _table(
    "subject_forgets",
    _text("id", key=True),
    _text("tenant"),
    _blob("dek_id"),
    _text("subject", null=True),
    _text("stage"),
    _text("requested_by"),
    _int("requested_us"),
    _text("approved_by", null=True),
    _int("due_us", null=True),
    _int("destroyed_us", null=True),
    _int("bucket_version", null=True),
    _int("seq", null=True),
    _text("entry_hash", null=True),
    _int("rotated_us", null=True),
    _int("unrecoverable_us", null=True),
    Index(None, "tenant", "dek_id"),
    Index(None, "stage"),
)
reencryptions = _table(
    "reencryptions",
    _text("id", key=True),
    _text("tenant"),
    _text("source"),
    _text("field"),
    _text("state"),
    _text("cursor"),
    _int("examined"),
    _int("changed"),
    _int("skipped"),
    _int("failed"),
    _int("total"),
    *(_int(name) for name in ("priority", "rows_per_second", "dry_run", "passes")),
    _text("detail"),
    _text("created_by"),
    _int("created_us"),
    _int("changed_us"),
    _int("in_clear", null=True),
)

# access

tenants = _table("tenants", _text("tenant", key=True), _text("title"), _int("created_us"))
tokens = _table(
    "tokens",
    _text("handle", key=True),
    _text("kind"),
    _text("tenant"),
    _text("subject"),
    _blob("mac"),
    _int("pepper_version"),
    _text("note"),
    _text("created_by"),
    _int("created_us"),
    _int("expires_us"),
    _int("revoked_us", null=True),
    Index(None, "tenant", "created_us"),
)
grants = _table(
    "grants",
    _text("id", key=True),
    _text("tenant"),
    _text("member"),
    _text("role"),
    _text("created_by"),
    _int("created_us"),
    _int("expires_us", null=True),
    _text("removed_by", null=True),
    _int("removed_us", null=True),
    Index(None, "tenant", "member"),
)

# audit

audit_head = _table(
    "audit_head",
    _text("origin", key=True),
    _int("size"),
    _blob("edge"),
    _blob("root"),
    _int("time_us"),
)
audit_tenants = _table("audit_tenants", _text("tenant", key=True), _int("next_n"))
audit_entries = _table("audit_entries", _int("idx", key=True), _blob("entry"))
audit_index = _table(
    "audit_index",
    _int("idx", key=True),
    _text("id"),
    _text("tenant"),
    _int("n"),
    _int("time_us"),
    _text("phase"),
    _text("intent", null=True),
    _text("actor"),
    _text("action"),
    _text("resource"),
    _int("allowed"),
    _text("status"),
    _text("code", null=True),
    _blob("leaf"),
    UniqueConstraint("id"),
    UniqueConstraint("tenant", "n"),
    Index(None, "tenant", "action", "idx"),
    Index(None, "tenant", "actor", "idx"),
    Index(None, "tenant", "time_us"),
)
audit_tiles = _table("audit_tiles", _int("level", key=True), _int("n", key=True), _blob("hashes"))
audit_checkpoints = _table("audit_checkpoints", _int("size", key=True), _int("time_us"), _blob("root"), _text("note"))
audit_open_intents = _table(
    "audit_open_intents",
    _text("intent", key=True),
    _text("tenant"),
    _text("actor"),
    _text("action"),
    _text("node"),
    _int("deadline_us"),
)
audit_archive = _table(
    "audit_archive",
    _text("origin", key=True),
    _int("archived_size"),
    _int("min_index"),
    _int("removed", null=True),
    _int("prune_to", null=True),
    _text("prune_asked_by", null=True),
    _int("prune_asked_us", null=True),
    _int("scrubbed", null=True),
    _int("scrub_faults", null=True),
    _int("copied", null=True),
)
audit_sealed = _table(
    "audit_sealed",
    _text("record_id", key=True),
    _text("field", key=True),
    _text("tenant"),
    _text("key_id"),
    _blob("sealed"),
    _int("expires_us", null=True),
    Index(None, "key_id"),
    Index(None, "expires_us"),
)
audit_holds = _table(
    "audit_holds",
    _text("id", key=True),
    _text("tenant"),
    _text("scope"),
    _text("target"),
    _text("matter"),
    _text("state"),
    _text("placed_by"),
    _int("placed_us"),
    _text("release_asked_by", null=True),
    _text("released_by", null=True),
    _int("released_us", null=True),
    Index(None, "tenant", "state"),
)
audit_erasures = _table(
    "audit_erasures",
    _text("id", key=True),
    _text("tenant"),
    _text("subject"),
    _text("state"),
    _text("requested_by"),
    _int("requested_us"),
    _text("approved_by", null=True),
    _int("changed_us"),
    _int("rows"),
    Index(None, "tenant", "state"),
)
audit_cosignatures = _table(
    "audit_cosignatures", _int("size", key=True), _text("name", key=True), _text("line"), _int("time_us")
)
audit_witnesses = _table(
    "audit_witnesses",
    _text("name", key=True),
    _int("size"),
    _text("status"),
    _int("time_us"),
    _int("cosigned_us", null=True),
    _text("evidence", null=True),
)
audit_log_keys = _table(
    "audit_log_keys",
    _text("vkey", key=True),
    _text("secret"),
    _int("from_size"),
    _int("to_size", null=True),
    _int("until_us", null=True),
    _int("created_us"),
    _int("stolen_us", null=True),
    _blob("frozen_root", null=True),
)
audit_receipt_keys = _table(
    "audit_receipt_keys", _text("vkey", key=True), _text("secret"), _int("from_us"), _int("stolen_us", null=True)
)
audit_clock_requests = _table(
    "audit_clock_requests",
    _text("id", key=True),
    _int("checkpoint_us"),
    _text("reason"),
    _text("asked_by"),
    _int("asked_us"),
    _text("accepted_by", null=True),
    _int("accepted_us", null=True),
    Index(None, "checkpoint_us"),
)
audit_anchors = _table(
    "audit_anchors",
    _text("kind", key=True),
    _int("size", key=True),
    _text("note"),
    _blob("proof", null=True),
    _text("status"),
    _int("time_us"),
)
audit_export_jobs = _table(
    "audit_export_jobs",
    _text("id", key=True),
    _text("tenant"),
    _text("format"),
    _text("filter"),
    _text("purpose"),
    _text("state"),
    _int("size"),
    _text("root"),
    _text("note"),
    _text("prove"),
    _int("matched"),
    _text("detail"),
    _text("manifest", null=True),
    _text("sha256", null=True),
    _text("created_by"),
    _int("created_us"),
    _int("changed_us"),
)
audit_export_parts = _table(
    "audit_export_parts",
    _text("export", key=True),
    _int("n", key=True),
    _int("first"),
    _int("last"),
    _int("matched"),
    _text("sha256"),
    _int("bytes"),
    _blob("edge"),
)
audit_sinks = _table(
    "audit_sinks",
    _text("name", key=True),
    _int("first_idx"),
    _int("next_idx"),
    _int("delivered"),
    _int("repeated"),
    _int("acked_us"),
    _text("state"),
    _text("last_error"),
)

# detect

detect_alerts = _table(
    "detect_alerts",
    _text("id", key=True),
    _text("tenant"),
    _text("stream"),
    _text("rule"),
    _text("rule_hash"),
    _text("level"),
    _text("key"),
    _int("t0_us"),
    _int("t1_us"),
    _int("peak"),
    _text("phase"),
    _int("exact"),
    _text("outcome"),
    _text("evidence"),
    _int("created_us"),
    Index(None, "tenant", "created_us"),
)
detect_decisions = _table(
    "detect_decisions",
    _text("id", key=True),
    _text("tenant"),
    _text("scope"),
    _text("value"),
    _text("type"),
    _text("rule"),
    _text("origin"),
    _int("step"),
    _int("shadow"),
    _int("from_us"),
    _int("until_us"),
    _text("alert_id", null=True),
    _text("state"),
    _text("created_by"),
    _text("reason"),
    _int("created_us"),
    _int("revoked_us", null=True),
    _text("revoked_by", null=True),
    Index(None, "tenant", "scope", "value"),
)
detect_streams = _table(
    "detect_streams",
    _text("tenant", key=True),
    _text("stream", key=True),
    _int("lines"),
    _int("strict"),
    _int("lenient"),
    _int("rejected"),
    _int("matched"),
    _int("repeated"),
    _int("first_us", null=True),
    _int("last_us", null=True),
)
detect_rejects = _table(
    "detect_rejects",
    _text("eid", key=True),
    _text("tenant"),
    _text("stream"),
    _text("position"),
    _text("reason"),
    _blob("line"),
    _int("created_us"),
    Index(None, "tenant", "stream", "created_us"),
)

# runbook

plan_versions = _table(
    "plan_versions",
    _text("sha256", key=True),
    _text("plan"),
    _text("document"),
    _int("created_us"),
)
incidents = _table(
    "incidents",
    _text("id", key=True),
    _text("tenant"),
    _text("kind"),
    _int("severity"),
    _text("state"),
    _text("title"),
    _text("dedupe_key", null=True),
    _int("triggers"),
    _text("opened_by"),
    _int("opened_us"),
    _int("changed_us"),
    _int("version"),
    Index(None, "tenant", "dedupe_key"),
)
runs = _table(
    "runs",
    _text("id", key=True),
    _text("tenant"),
    _text("incident", null=True),
    _text("plan"),
    _text("plan_sha256"),
    _text("mode"),
    _text("state"),
    _int("version"),
    _text("started_by"),
    _int("started_us"),
    _int("changed_us"),
    _int("due_us", null=True),
    Index(None, "tenant", "state"),
    Index(None, "due_us"),
)
run_events = _table(
    "run_events",
    _text("run", key=True),
    _int("seq", key=True),
    _text("event_id"),
    _text("type"),
    _text("actor"),
    _int("at_us"),
    _int("recorded_us"),
    _text("command_id"),
    _text("payload"),
    _text("prev_hash"),
    _text("hash"),
    UniqueConstraint("event_id"),
)
run_commands = _table(
    "run_commands",
    _text("run", key=True),
    _text("command_id", key=True),
    _text("body_sha256"),
)
