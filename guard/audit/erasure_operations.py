"""What the catalogue lists of erasures: requested by one person, approved by another, carried out and checked.

Law: the approval destroys the key in its own transaction, after asking for holds in the same one; from then on nothing
opens. Then the sealed values are deleted a few at a time, after the bundles in which they were opened; the write-ahead
log is emptied, and the files are searched for what is left; only when nothing is, the erasure is done. Each step may be
taken twice, so a crash between any two of them is made good by the worker. Entries, hashes and proofs are not touched.
"""

from functools import partial

from guard.audit import bundle_store, erasure_store, export_store, hold_store, sealed_store
from guard.audit.export_work import Exports
from guard.audit.sealed import SECOND_US, SealedValues
from guard.audit.sealed_operations import pseudonym
from guard.catalogue import Context, Effect, operation
from guard.db import scrub
from guard.db.engine import Store, Tx
from guard.errors import Denied, LegalHold, NotFound, StoreUnavailable
from guard.settings import Settings
from guard.wire import audit_privacy as wire

DELETE_LIMIT = 1000  # values per step: some 30 ms of the writer
RETRY_SECONDS = 30  # after a reader kept the write-ahead log from being emptied


@operation(
    "erasures.request",
    "POST /api/v1/audit/erasures",
    takes=wire.RequestErasure,
    gives=wire.ErasureView,
    effect=Effect.WRITE,
    resource="erasures/{tenant}",
    sealed=("subject", "reason"),
    subject="subject",
    example={"subject": "u-17", "reason": "asked for by letter"},
)
def request_erasure(ctx: Context, request: wire.RequestErasure) -> wire.ErasureView:
    """Ask for the erasure of what the log holds about a subject; asking again gives the same request."""
    tenant = ctx.tenant_for(request.tenant)
    _not_oneself(ctx, request.subject)
    _refuse_held(ctx, tenant, request.subject)
    view = erasure_store.requested(ctx.tx, tenant, request.subject)
    if view is None:
        view = wire.ErasureView(
            id=ctx.new_id("ers"),
            tenant=tenant,
            subject=request.subject,
            state="requested",
            requested_by=ctx.actor.subject,
            requested_us=ctx.now_us,
            approved_by=None,
            changed_us=ctx.now_us,
            rows=0,
        )
        erasure_store.add(ctx.tx, view)
    ctx.note(erasure=view.id)
    return view


@operation(
    "erasures.approve",
    "POST /api/v1/audit/erasures/{erasure}/approve",
    takes=wire.ApproveErasure,
    gives=wire.ErasureView,
    effect=Effect.WRITE,
    resource="erasures/{tenant}",
    audit=("erasure",),
    example={},
)
def approve_erasure(ctx: Context, request: wire.ApproveErasure) -> wire.ErasureView:
    """Approve an erasure as a second person: the key is destroyed at once, and the rest follows."""
    tenant = ctx.tenant_for(request.tenant)
    view = _erasure(ctx.tx, tenant, request.erasure)
    if view.state != "requested":
        return view
    if view.requested_by == ctx.actor.subject:
        raise Denied("You asked for this erasure; a second person has to approve it.")
    _not_oneself(ctx, view.subject)
    key_id = _refuse_held(ctx, tenant, view.subject)
    values = ctx.part(SealedValues)
    if key_id is not None:
        values.keys.destroy(ctx.tx, tenant, key_id, ctx.now_us)
    _forget_exports(ctx, tenant, view.subject)
    changed = {"subject": pseudonym(key_id or ""), "state": "executing", "approved_by": ctx.actor.subject}
    view = view.model_copy(update=changed | {"changed_us": ctx.now_us})
    erasure_store.write(ctx.tx, view)
    ctx.after_commit(lambda: values.start(view.id, tenant))
    ctx.note(pseudonym=view.subject)
    return view


def _forget_exports(ctx: Context, tenant: str, subject: str) -> None:
    """What guard still keeps of exports that name the subject goes; who fetched one has it, as its records say."""
    exports = ctx.part(Exports)
    for export in export_store.forget(ctx.tx, tenant, subject, ctx.now_us):
        ctx.after_commit(partial(exports.discard, export))


@operation(
    "erasures.list",
    "GET /api/v1/audit/erasures",
    takes=wire.ListErasures,
    gives=wire.ErasureList,
    effect=Effect.READ,
    resource="erasures/{tenant}",
)
def list_erasures(ctx: Context, request: wire.ListErasures) -> wire.ErasureList:
    """List erasures, newest first."""
    return wire.ErasureList(data=erasure_store.listed(ctx.tx, ctx.tenant_for(request.tenant), request.limit))


@operation(
    "erasures.step",
    None,
    takes=wire.StepErasure,
    gives=wire.ErasureView,
    effect=Effect.EXTERNAL,
    resource="erasures/own",
    audit=("erasure",),
)
def step_erasure(ctx: Context, request: wire.StepErasure) -> wire.ErasureView:
    """Carry an erasure on: delete some values or, when none is left, empty the write-ahead log and search the files."""
    values = ctx.part(SealedValues)
    with ctx.part(Store).read() as tx:
        view = _erasure(tx, ctx.tenant, request.erasure)
        key_id = view.subject.removeprefix("sub_")
        left = sealed_store.count(tx, key_id)
        records = sealed_store.next_records(tx, key_id, DELETE_LIMIT)
    if view.state != "executing":
        values.finish(view.id)
        return view
    if left:
        bundles = bundle_store.forget(ctx.part(Settings).home, records)
        ctx.note(bundles=bundles)
        ctx.at_outcome(lambda tx: _delete(ctx, tx, view, key_id))
        return view
    if key_id:
        _search(ctx, view, key_id)
    ctx.at_outcome(lambda tx: _close(ctx, tx, view))
    ctx.after_commit(lambda: values.finish(view.id))
    return view


def _search(ctx: Context, view: wire.ErasureView, key_id: str) -> None:
    """Make sure that no file of the store holds a byte of the values or of their key.

    Raises:
        StoreUnavailable: something is left; the step is taken again later.
    """
    values, store = ctx.part(SealedValues), ctx.part(Store)
    sealed, wrap = values.keys.marks(key_id)
    emptied = scrub.empty_wal(store.path)
    left = scrub.count(store.path, (sealed, wrap))
    small = scrub.compactable(store.path)
    if any(left) and small:
        emptied = scrub.compact(store.path)
        left = scrub.count(store.path, (sealed, wrap))
    ctx.note(pseudonym=view.subject, remains=left[0])
    # Without its key a remainder of a sealed value is noise, and a large store is not rewritten for it under load.
    if not emptied or left[1] or (left[0] and small):
        values.start(view.id, ctx.tenant, ctx.now_us + RETRY_SECONDS * SECOND_US)
        raise StoreUnavailable(
            "Expected to empty the write-ahead log and find nothing of the erased key, but a reader is in the way; "
            "it is tried again."
        )


def _delete(ctx: Context, tx: Tx, view: wire.ErasureView, key_id: str) -> None:
    done = sealed_store.delete_some(tx, key_id, DELETE_LIMIT)
    ctx.answer = view.model_copy(update={"rows": view.rows + done, "changed_us": ctx.now_us})
    erasure_store.write(tx, ctx.answer)
    ctx.note(pseudonym=view.subject, state="executing", rows=done)


def _close(ctx: Context, tx: Tx, view: wire.ErasureView) -> None:
    ctx.answer = view.model_copy(update={"state": "done", "changed_us": ctx.now_us})
    erasure_store.write(tx, ctx.answer)
    ctx.note(pseudonym=view.subject, state="done", rows=view.rows)


def _erasure(tx: Tx, tenant: str, erasure: str) -> wire.ErasureView:
    view = erasure_store.find(tx, tenant, erasure)
    if view is None:
        raise NotFound(f"Expected the id of an erasure, got {erasure}; see guard audit erase list.")
    return view


def _not_oneself(ctx: Context, subject: str) -> None:
    if subject == ctx.actor.subject:
        raise Denied("Nobody has a part in erasing what the log holds about himself; ask a colleague.")


def _refuse_held(ctx: Context, tenant: str, subject: str) -> str | None:
    """The id of the subject's key.

    Raises:
        LegalHold: a hold covers the subject or one of its values.
    """
    key_id = ctx.part(SealedValues).keys.find(ctx.tx, tenant, subject)
    hold = sealed_store.covering(ctx.tx, tenant, key_id or "", hold_store.standing(ctx.tx, tenant))
    if hold is not None:
        raise LegalHold(
            f"The legal hold {hold} covers this subject, so nothing was erased; have it released.", hold=hold
        )
    return key_id
