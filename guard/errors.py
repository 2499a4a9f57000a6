"""Every exception that a caller may see. Codes are append-only: a code is never renamed or reused.

Law: a message says what was expected, what came and what to do, and never holds a secret, a token, a plaintext or
another personal value. The HTTP status of a kind is known to `api` only, the exit status to `cli` only.
"""

from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What a caller can do about an error; one HTTP status and one exit status each."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    PRECONDITION = "precondition"
    PRECONDITION_MISSING = "precondition_missing"
    GONE = "gone"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA = "unsupported_media"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    LOCKED = "locked"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    FULL = "full"
    VERIFICATION = "verification"
    UNREACHABLE = "unreachable"
    INTERNAL = "internal"


class GuardError(Exception):
    """Base of all errors. `detail` is one plain sentence; `hint` says what to do; `extra` holds ids and counts only."""

    code: ClassVar[str] = "GRD-HTTP-500"
    title: ClassVar[str] = "Internal error"
    kind: ClassVar[Kind] = Kind.INTERNAL

    def __init__(self, detail: str, *, hint: str = "", **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.extra = extra


class InternalError(GuardError):
    """A defect of guard; the request id finds it in the operator's log."""


# HTTP and validation


class MalformedBody(GuardError):
    """The body is no strict UTF-8 JSON object."""

    code, title, kind = "GRD-HTTP-400", "Malformed request", Kind.MALFORMED


class RouteNotFound(GuardError):
    """No operation has this path."""

    code, title, kind = "GRD-HTTP-404", "No such path", Kind.NOT_FOUND


class MethodNotAllowed(GuardError):
    """The path exists with other methods."""

    code, title, kind = "GRD-HTTP-405", "Method not allowed", Kind.METHOD_NOT_ALLOWED


class BodyTooLarge(GuardError):
    """The body is over the operation's limit."""

    code, title, kind = "GRD-HTTP-413", "Body too large", Kind.TOO_LARGE


class UnsupportedMedia(GuardError):
    """The Content-Type is not JSON."""

    code, title, kind = "GRD-HTTP-415", "Unsupported media type", Kind.UNSUPPORTED_MEDIA


class InvalidRequest(GuardError):
    """The body does not fit its schema; `extra["errors"]` lists pointer, code and message, never a value."""

    code, title, kind = "GRD-VAL-001", "Invalid request", Kind.INVALID


# Who, and may they


class Unauthenticated(GuardError):
    """No usable credential came; the text is the same for every reason."""

    code, title, kind = "GRD-AUTHN-001", "Not authenticated", Kind.UNAUTHENTICATED


class Denied(GuardError):
    """The policy refuses; `extra` names the missing permission and, for readers of policy, the rule."""

    code, title, kind = "GRD-AUTHZ-001", "Permission denied", Kind.DENIED


class EscalationDenied(GuardError):
    """A grant of a role, or to a subject, that is reserved for guard itself or for the platform's tenant."""

    code, title, kind = "GRD-AUTHZ-002", "Reserved role or subject", Kind.DENIED


class LastAdmin(GuardError):
    """The change would leave nobody who can administer access."""

    code, title, kind = "GRD-AUTHZ-003", "Last administrator", Kind.CONFLICT


class RateLimited(GuardError):
    """Too many requests; `extra["retry_after_seconds"]` says when to try again."""

    code, title, kind = "GRD-RATE-001", "Too many requests", Kind.RATE_LIMITED


class SearchBudgetExceeded(RateLimited):
    """A principal looked up more values than its budget allows; `extra` has window, limit and when to try again."""

    code, title, kind = "GRD-RATE-020", "Search budget exceeded", Kind.RATE_LIMITED


class SearchFrozen(GuardError):
    """A principal asked for more look-ups than a day allows; a person lifts it with budgets.thaw."""

    code, title, kind = "GRD-RATE-021", "Search frozen", Kind.LOCKED


# State


class NotFound(GuardError):
    """The named thing does not exist, or the caller may not know that it does."""

    code, title, kind = "GRD-STORE-404", "Not found", Kind.NOT_FOUND


class AlreadyExists(GuardError):
    """A thing of this name exists."""

    code, title, kind = "GRD-STORE-409", "Already exists", Kind.CONFLICT


class Conflict(GuardError):
    """The state moved on or forbids this; `extra` says what changed and by whom."""

    code, title, kind = "GRD-STORE-410", "Conflict", Kind.CONFLICT


class StoreDamaged(GuardError):
    """The database is unreadable, of another version, or fails its own check."""

    code, title, kind = "GRD-STORE-001", "Store damaged", Kind.UNAVAILABLE


class StoreLocked(GuardError):
    """Another process owns this data directory."""

    code, title, kind = "GRD-STORE-002", "Store in use", Kind.UNAVAILABLE


class StoreUnavailable(GuardError):
    """The store did not take the write; nothing was changed."""

    code, title, kind = "GRD-STORE-003", "Store unavailable", Kind.UNAVAILABLE


class Overloaded(GuardError):
    """The commit queue is full; nothing was changed; `extra["retry_after_seconds"]` says when to try again."""

    code, title, kind = "GRD-STORE-004", "Over capacity", Kind.UNAVAILABLE


# Keys and values


class DoesNotOpen(GuardError):
    """A ciphertext does not open in the given context; one text for every cause (see the audit record)."""

    code, title, kind = "GRD-CRYPT-001", "Ciphertext does not open", Kind.INVALID


class InvalidEnvelope(GuardError):
    """The text is no sealed value of guard."""

    code, title, kind = "GRD-CRYPT-002", "Not a sealed value", Kind.INVALID


class InvalidContext(GuardError):
    """The context cannot be written in canonical form."""

    code, title, kind = "GRD-CRYPT-003", "Invalid context", Kind.INVALID


class PurposeRefused(GuardError):
    """The field's policy does not allow this purpose."""

    code, title, kind = "GRD-CRYPT-004", "Purpose not allowed", Kind.DENIED


class KeyStateConflict(GuardError):
    """A key version is not in a state that allows this."""

    code, title, kind = "GRD-KEY-001", "Key state", Kind.CONFLICT


class KeyInUse(GuardError):
    """The census still counts values under this version; `extra` names table, column and count."""

    code, title, kind = "GRD-KEY-002", "Key version in use", Kind.CONFLICT


class SealUnsound(GuardError):
    """A value that was sealed just now did not open again to what went in; nothing was replaced by it."""

    code, title, kind = "GRD-CRYPT-005", "Sealed value does not open", Kind.INTERNAL


class KeyDestroyed(KeyStateConflict):
    """The key version was destroyed; what it sealed opens no more, and its id names no other key."""

    code, title, kind = "GRD-KEY-003", "Key version destroyed", Kind.GONE


class WrongRootKey(GuardError):
    """The root key is not the one for this data."""

    code, title, kind = "GRD-SEAL-001", "Wrong root key", Kind.UNAVAILABLE


class Sealed(GuardError):
    """The service is sealed: no key is in memory."""

    code, title, kind = "GRD-SEAL-002", "Sealed", Kind.UNAVAILABLE


class KeyStoreRolledBack(GuardError):
    """The key store is older than the database, another one, or gone; `extra` says what was expected and found."""

    code, title, kind = "GRD-SEAL-020", "Key store rolled back", Kind.UNAVAILABLE


class SubjectForgotten(GuardError):
    """The key of this person is revoked or destroyed, so nothing opens and nothing new is sealed under it."""

    code, title, kind = "GRD-KEY-020", "Person forgotten", Kind.GONE


class LeaseEnded(GuardError):
    """A leased data key is at the end of its time or its uses, or was revoked; take a new lease."""

    code, title, kind = "GRD-KEY-030", "Lease ended", Kind.GONE


class TokenEnded(GuardError):
    """The token was used, revoked or is over, so it gives nothing any more; issue a new one."""

    code, title, kind = "GRD-TOKEN-001", "Token ended", Kind.GONE


class SecondPersonNeeded(GuardError):
    """The field's policy lets nobody reveal this alone; somebody else approves it first."""

    code, title, kind = "GRD-TOKEN-002", "Second person needed", Kind.DENIED


class StepUpNeeded(GuardError):
    """The field's policy asks for a proof of who the caller is that is fresher than a token."""

    code, title, kind = "GRD-TOKEN-003", "Step-up needed", Kind.DENIED


class RootKeyMissing(GuardError):
    """The data is initialised but the root key is not where the settings say, or is unreadable."""

    code, title, kind = "GRD-SEAL-003", "Root key missing", Kind.UNAVAILABLE


class CustodyUnreachable(GuardError):
    """The holder of a root key (KMS, HSM, remote transit) does not answer now."""

    code, title, kind = "GRD-SEAL-004", "Custody unreachable", Kind.UNAVAILABLE


class NotUnsealed(GuardError):
    """What was given to unseal the service does not open it; giving it again does not help."""

    code, title, kind = "GRD-SEAL-005", "Not unsealed", Kind.DENIED


# Record


class AuditUnavailable(GuardError):
    """The record could not be written, so the operation did not happen."""

    code, title, kind = "GRD-AUDIT-001", "Audit log unavailable", Kind.UNAVAILABLE


class AuditOutcomeUnknown(GuardError):
    """The commit's outcome is unknown; the audit log tells it after the restart."""

    code, title, kind = "GRD-AUDIT-002", "Outcome unknown", Kind.UNAVAILABLE


class VerificationFailed(GuardError):
    """A proof, hash or signature does not hold; `extra` names file, index or size."""

    code, title, kind = "GRD-AUDIT-003", "Verification failed", Kind.VERIFICATION


class KeyStolen(GuardError):
    """It was signed by a key that others may have had by then; `extra` names what it is."""

    code, title, kind = "GRD-AUDIT-043", "Key stolen", Kind.VERIFICATION


class RangePruned(GuardError):
    """The records were removed when their retention ended; `extra["min_index"]` is the first that is kept."""

    code, title, kind = "GRD-AUDIT-410", "Range pruned", Kind.GONE


class SinkUnavailable(GuardError):
    """A sink did not take records; they stay in the log and are sent again."""

    code, title, kind = "GRD-AUDIT-041", "Sink unavailable", Kind.UNREACHABLE


class IndexMismatch(GuardError):
    """The search index says something of a record that the record does not say; `extra` names index and columns."""

    code, title, kind = "GRD-AUDIT-042", "Search index altered", Kind.VERIFICATION


class LegalHold(GuardError):
    """A legal hold covers what is to be deleted; `extra["hold"]` names it."""

    code, title, kind = "GRD-AUDIT-020", "Legal hold", Kind.CONFLICT


class Erased(GuardError):
    """The values of this record were erased or have expired; the record itself stands."""

    code, title, kind = "GRD-AUDIT-021", "Values erased", Kind.GONE


# Standing: why the service takes nothing that needs a record


class RollbackDetected(GuardError):
    """An anchor holds a larger log than the store; `extra` names both sizes."""

    code, title, kind = "GRD-STAND-001", "Rollback detected", Kind.UNAVAILABLE


class ForkDetected(GuardError):
    """An anchor holds another history than the store; `extra` names both sizes."""

    code, title, kind = "GRD-STAND-002", "Fork detected", Kind.UNAVAILABLE


class AnchorMissing(GuardError):
    """An anchor that the settings name is not there, or holds no note of this log."""

    code, title, kind = "GRD-STAND-003", "Anchor missing", Kind.UNAVAILABLE


class DiskLow(GuardError):
    """Less than `minimum_free_bytes` is free; nothing was changed."""

    code, title, kind = "GRD-STAND-004", "Disk low", Kind.FULL


class FileLost(GuardError):
    """A file that the service works on was removed, replaced or cut while it ran."""

    code, title, kind = "GRD-STAND-005", "File lost", Kind.UNAVAILABLE


class Halted(GuardError):
    """A commit's outcome is unknown, and the process ends."""

    code, title, kind = "GRD-STAND-006", "Halted", Kind.UNAVAILABLE


# Rules, plans, configuration


class InvalidRule(GuardError):
    """A detection rule cannot be loaded; the message names file, rule and reason."""

    code, title, kind = "GRD-DETECT-001", "Invalid rule", Kind.INVALID


class InvalidPlan(GuardError):
    """A plan cannot be loaded; `extra["findings"]` lists code, place and message."""

    code, title, kind = "GRD-RUNBOOK-001", "Invalid plan", Kind.INVALID


class InvalidPolicy(GuardError):
    """An access or field policy cannot be loaded; the message names file, line and reason."""

    code, title, kind = "GRD-AUTHZ-004", "Invalid policy", Kind.INVALID


class InvalidSetting(GuardError):
    """A setting is unknown, contradictory or of the wrong form."""

    code, title, kind = "GRD-CONF-001", "Invalid setting", Kind.INVALID


class InvalidInput(GuardError):
    """A file or argument given on the command line is not what was expected."""

    code, title, kind = "GRD-CONF-002", "Invalid input", Kind.INVALID


class PortOccupied(GuardError):
    """Another program listens on the port."""

    code, title, kind = "GRD-CONF-003", "Port in use", Kind.UNREACHABLE


class Unreachable(GuardError):
    """No guard server answers at the address."""

    code, title, kind = "GRD-HTTP-000", "Server unreachable", Kind.UNREACHABLE
