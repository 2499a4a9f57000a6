"""The finding that a planted value raises when it is read.

Law: whoever reads it is answered as always; the incident is opened in the transaction that records the read, under
guard's own name, so the read is never on record without its finding. A finding that cannot be raised stops the read.
"""

from collections.abc import Iterable

from guard.catalogue import Actor, Context
from guard.errors import GuardError, InternalError
from guard.vault import honey_store
from guard.wire.runbook import OpenIncident

RUNBOOK = "system:runbook"
SEVERITY = 2
"""Somebody who was let in reads what nobody has a reason to read."""
RULE = "honey"
MAX_TITLE, MAX_ENTITY = 200, 128  # as `wire.runbook.OpenIncident` takes them


def raise_alarm(ctx: Context, marks: Iterable[bytes]) -> None:
    """Open an incident about who reads what stands under these marks, or count one more occurrence of an open one."""
    runbook = Actor(RUNBOOK, ctx.tenant, "system")
    for one in sorted(set(marks)):
        found = honey_store.find(ctx.tx, ctx.tenant, one)
        if found is None:  # removed in the same group commit
            continue
        title = f"The planted {found.kind} {found.id} of {found.field} was read by {ctx.actor.subject}"
        # Cut, as names of fields and readers may be longer than an incident takes, and a bait that fails is noticed.
        finding = OpenIncident(
            title=title[:MAX_TITLE], severity=SEVERITY, rule=RULE, entity=ctx.actor.subject[-MAX_ENTITY:]
        )
        try:
            ctx.call("incidents.open", finding.model_dump(), runbook)
        except GuardError:  # refused and on record; its text would tell the reader what he read
            raise InternalError("The read could not be recorded, so nothing is shown; try again later.") from None


def raise_later(ctx: Context, marks: Iterable[bytes]) -> None:
    """As `raise_alarm`, for an operation that has no transaction: in the one that records it."""
    found = list(marks)
    if found:
        ctx.at_outcome(lambda _tx: raise_alarm(ctx, found))
