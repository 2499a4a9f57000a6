"""Every operation on persons and their keys, gathered for the composition root."""

from guard.vault.remains_operations import scrub_stores
from guard.vault.subject_access import export_subject, report_subject
from guard.vault.subject_operations import forget_subject, list_receipts, restore_subject, step_forget, tell_replay
from guard.vault.subject_rotation import rotate_bucket

__all__ = [
    "export_subject",
    "forget_subject",
    "list_receipts",
    "report_subject",
    "restore_subject",
    "rotate_bucket",
    "scrub_stores",
    "step_forget",
    "tell_replay",
]
