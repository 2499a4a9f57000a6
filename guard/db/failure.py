"""What those are told whose unit was not committed.

Law: the words say what is known: that nothing was done, or that what was done could not be recorded.
"""

import structlog
from sqlalchemy import exc

from guard.errors import AuditUnavailable, GuardError

RETRY_AFTER_SECONDS = 1

log = structlog.get_logger(__name__)


def named(error: BaseException) -> GuardError:
    """The error to tell for *error*, which kept a group from being committed."""
    if isinstance(error, GuardError):
        return error
    cause = str(error.orig) if isinstance(error, exc.DBAPIError) else type(error).__name__
    log.error("commit_failed", cause=cause)
    return unavailable(cause)


def unrecorded() -> AuditUnavailable:
    """Of an operation that was done and whose outcome stands in no record."""
    return AuditUnavailable(
        "The operation was done, but its outcome could not be recorded; the audit log keeps its intent and will call "
        "the outcome unknown. See what was done before you repeat it.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def unavailable(cause: str) -> AuditUnavailable:
    """Of an operation that did not happen, since its record could not be written; *cause* names no value."""
    return AuditUnavailable(
        f"The audit log could not be written ({cause}), so the operation did not happen; "
        "see the operator's log and the free disk space.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
