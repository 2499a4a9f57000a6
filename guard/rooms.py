"""The modules whose operations make up the catalogue: a new file of operations gets two lines here."""

from types import ModuleType

import guard.access.grant_operations
import guard.access.operations
import guard.audit.anchor_operations
import guard.audit.archive_operations
import guard.audit.checkpoint_operations
import guard.audit.copy_operations
import guard.audit.erasure_operations
import guard.audit.evidence_operations
import guard.audit.export_operations
import guard.audit.flood_operations
import guard.audit.hold_operations
import guard.audit.operations
import guard.audit.prune_operations
import guard.audit.receipt_operations
import guard.audit.scrub_operations
import guard.audit.sealed_operations
import guard.audit.sink_operations
import guard.audit.tile_operations
import guard.audit.witness_operations
import guard.detect.decision_operations
import guard.detect.operations
import guard.runbook.incident_operations
import guard.runbook.operations
import guard.vault.budget_operations
import guard.vault.census
import guard.vault.compromise
import guard.vault.custody_operations
import guard.vault.field_operations
import guard.vault.foreign_operations
import guard.vault.honey_operations
import guard.vault.import_operations
import guard.vault.index_operations
import guard.vault.ingest_operations
import guard.vault.key_export_operations
import guard.vault.key_operations
import guard.vault.lease_operations
import guard.vault.operations
import guard.vault.reencryption
import guard.vault.retirement
import guard.vault.rewrapping
import guard.vault.search_operations
import guard.vault.source_search
import guard.vault.subject_catalogue
import guard.vault.token_operations

ROOMS: tuple[ModuleType, ...] = (
    guard.access.grant_operations,
    guard.access.operations,
    guard.audit.anchor_operations,
    guard.audit.archive_operations,
    guard.audit.checkpoint_operations,
    guard.audit.copy_operations,
    guard.audit.erasure_operations,
    guard.audit.evidence_operations,
    guard.audit.export_operations,
    guard.audit.flood_operations,
    guard.audit.hold_operations,
    guard.audit.operations,
    guard.audit.prune_operations,
    guard.audit.receipt_operations,
    guard.audit.scrub_operations,
    guard.audit.sealed_operations,
    guard.audit.sink_operations,
    guard.audit.tile_operations,
    guard.audit.witness_operations,
    guard.detect.decision_operations,
    guard.detect.operations,
    guard.runbook.incident_operations,
    guard.runbook.operations,
    guard.vault.budget_operations,
    guard.vault.census,
    guard.vault.compromise,
    guard.vault.custody_operations,
    guard.vault.field_operations,
    guard.vault.foreign_operations,
    guard.vault.import_operations,
    guard.vault.honey_operations,
    guard.vault.index_operations,
    guard.vault.ingest_operations,
    guard.vault.key_export_operations,
    guard.vault.key_operations,
    guard.vault.lease_operations,
    guard.vault.operations,
    guard.vault.reencryption,
    guard.vault.retirement,
    guard.vault.rewrapping,
    guard.vault.search_operations,
    guard.vault.source_search,
    guard.vault.subject_catalogue,
    guard.vault.token_operations,
)
