"""Re-encryption of live columns: a resumable job in batches, each verified before it replaces anything.

Law: open, seal under the newest version, open again and compare, then compare-and-swap. Rows that are new already are
known by their header and skipped, so a lost checkpoint costs time and never correctness.
"""

import json

from guard.catalogue import Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import (
    AlreadyExists,
    Conflict,
    DoesNotOpen,
    GuardError,
    InvalidEnvelope,
    InvalidRequest,
    KeyStateConflict,
    NotFound,
)
from guard.settings import Source
from guard.vault import batches, store, suites
from guard.vault.context import Value
from guard.vault.envelope import header_of
from guard.vault.keys import KeyVersion
from guard.vault.policy import Bind, FieldPolicy
from guard.vault.sealing import open_text, seal_text
from guard.vault.source_store import Cell, Opened, Progress, Sources
from guard.vault.vault import Vault
from guard.wire import vault as wire

POSTPONE_US = 10_000_000  # until a job whose source refused is tried again; each try leaves two records


@operation(
    "reencryptions.create",
    "POST /api/v1/reencryptions",
    takes=wire.CreateReencryption,
    gives=wire.ReencryptionView,
    effect=Effect.WRITE,
    resource="reencryptions/{source}",
    audit=("source", "field"),
    example={"source": "customers", "field": "customers.email"},
)
def create_reencryption(ctx: Context, request: wire.CreateReencryption) -> wire.ReencryptionView:
    """Start a resumable job that seals a column anew under the newest key version."""
    source, _column, _policy = _column_of(ctx, request.source, request.field)
    for running in store.list_jobs(ctx.tx, ctx.tenant):
        if running.state in {"running", "paused"} and (running.source, running.field) == (source.name, request.field):
            raise AlreadyExists(f"Job {running.job} works on this column already; wait for it, or resume it.")
    view = wire.ReencryptionView(
        job=ctx.new_id("job"),
        source=source.name,
        field=request.field,
        state="running",
        examined=0,
        changed=0,
        skipped=0,
        failed=0,
        total=0,
        detail="",
        created_by=ctx.actor.subject,
        created_us=ctx.now_us,
        changed_us=ctx.now_us,
    )
    store.add_job(ctx.tx, ctx.tenant, view)
    _follow(ctx, view)
    return view


@operation(
    "reencryptions.list",
    "GET /api/v1/reencryptions",
    takes=wire.ListReencryptions,
    gives=wire.ReencryptionList,
    effect=Effect.READ,
    resource="reencryptions/all",
)
def list_reencryptions(ctx: Context, request: wire.ListReencryptions) -> wire.ReencryptionList:
    """List re-encryption jobs, newest first."""
    del request
    return wire.ReencryptionList(data=store.list_jobs(ctx.tx, ctx.tenant))


@operation(
    "reencryptions.read",
    "GET /api/v1/reencryptions/{job}",
    takes=wire.ReencryptionId,
    gives=wire.ReencryptionView,
    effect=Effect.READ,
    resource="reencryptions/{job}",
    audit=("job",),
)
def read_reencryption(ctx: Context, request: wire.ReencryptionId) -> wire.ReencryptionView:
    """Show where a job stands."""
    return _job(ctx, ctx.tx, request.job)


@operation(
    "reencryptions.pause",
    "POST /api/v1/reencryptions/{job}/pause",
    takes=wire.ReencryptionId,
    gives=wire.ReencryptionView,
    effect=Effect.WRITE,
    resource="reencryptions/{job}",
    audit=("job",),
    example={},
)
def pause_reencryption(ctx: Context, request: wire.ReencryptionId) -> wire.ReencryptionView:
    """Pause a running job after its current batch."""
    return _turn(ctx, request.job, "running", "paused")


@operation(
    "reencryptions.resume",
    "POST /api/v1/reencryptions/{job}/resume",
    takes=wire.ReencryptionId,
    gives=wire.ReencryptionView,
    effect=Effect.WRITE,
    resource="reencryptions/{job}",
    audit=("job",),
    example={},
)
def resume_reencryption(ctx: Context, request: wire.ReencryptionId) -> wire.ReencryptionView:
    """Go on with a paused job."""
    return _turn(ctx, request.job, "paused", "running")


@operation(
    "reencryptions.step",
    None,
    takes=wire.StepReencryption,
    gives=wire.ReencryptionView,
    effect=Effect.EXTERNAL,
    resource="reencryptions/{job}",
    audit=("job",),
)
def step_reencryption(ctx: Context, request: wire.StepReencryption) -> wire.ReencryptionView:
    """Do the next batch of a job: open, seal, open again and compare, then swap; cursor and rows commit together."""
    with ctx.part(Store).read() as tx:
        job = _job(ctx, tx, request.job)
    if job.state != "running":
        ctx.part(Vault).stop(job.job)
        return job
    source, column, policy = _column_of(ctx, job.source, job.field)
    try:
        with ctx.part(Sources).open(source) as opened:
            before = opened.progress(job.job)
            cells = opened.cells(column, before.cursor, request.rows)
            after = _advance(ctx, opened, column, policy, before, cells)
            opened.checkpoint(job.job, after)
            total = opened.count()
    except GuardError:
        ctx.part(Vault).postpone(job.job, ctx.now_us + POSTPONE_US)
        raise
    view = _moved(job, after, total, finished=len(cells) < request.rows, now_us=ctx.now_us)
    ctx.note(
        rows=len(cells), changed=after.changed - before.changed, failed=after.failed - before.failed, state=view.state
    )
    ctx.at_outcome(lambda tx: _keep(ctx, tx, view))
    return view


def _keep(ctx: Context, tx: Tx, view: wire.ReencryptionView) -> None:
    """Store what a batch led to; a pause that came during the batch stands."""
    if view.state == "running":
        view = view.model_copy(update={"state": _job(ctx, tx, view.job).state})
    store.update_job(tx, ctx.tenant, view)
    _follow(ctx, view)
    ctx.answer = view


def _advance(
    ctx: Context, opened: Opened, column: str, policy: FieldPolicy, before: Progress, cells: list[Cell]
) -> Progress:
    vault = ctx.part(Vault)
    newest = vault.keyring.active(ctx.tenant, policy.key)
    changed, skipped, failed = before.changed, before.skipped, before.failed
    for cell in cells:
        try:
            if opened.swap(column, cell, lambda value, cell=cell: _resealed(ctx, policy, newest, cell, value)):  # type: ignore[misc]
                changed += 1
            else:
                skipped += 1
        except (DoesNotOpen, InvalidEnvelope, NotFound, KeyStateConflict):
            failed += 1
    cursor = json.dumps(cells[-1].key) if cells else before.cursor
    return Progress(cursor, before.examined + len(cells), changed, skipped, failed)


def _resealed(ctx: Context, policy: FieldPolicy, newest: KeyVersion, cell: Cell, value: str) -> str | None:
    header = header_of(value)
    if (header.key_id, header.key_version) == (newest.key_id, newest.version):
        return None
    old = ctx.part(Vault).keyring.find(newest.tenant, header.key_id, header.key_version)
    if old.name != policy.key:
        raise DoesNotOpen(suites.DOES_NOT_OPEN)
    context, plaintext = _opened(old, policy, cell, value)
    fresh = seal_text(newest, context, plaintext, portable=policy.portable, pad_step=policy.pad_step, random=ctx.random)
    if open_text(newest, context, fresh) != plaintext:
        raise DoesNotOpen(suites.DOES_NOT_OPEN)
    return fresh


def _opened(old: KeyVersion, policy: FieldPolicy, cell: Cell, value: str) -> tuple[dict[str, Value], bytes]:
    """A value and the context that it opens in: callers name a row by its text, or by its number."""
    context = batches.shared(old.tenant, policy) | ({"row": cell.row} if policy.bind else {})
    try:
        return context, open_text(old, context, value)
    except DoesNotOpen:
        if not policy.bind or type(cell.key) is not int:
            raise
        context["row"] = cell.key
        return context, open_text(old, context, value)


def _moved(
    job: wire.ReencryptionView, after: Progress, total: int, *, finished: bool, now_us: int
) -> wire.ReencryptionView:
    state, detail = job.state, job.detail
    if finished:
        state = "failed" if after.failed else "done"
        detail = f"{after.failed} values did not open in their row; they are unchanged." if after.failed else ""
    counts = {name: getattr(after, name) for name in ("examined", "changed", "skipped", "failed")}
    return job.model_copy(update={"state": state, "detail": detail, "total": total, "changed_us": now_us, **counts})


def _turn(ctx: Context, job_id: str, old: str, new: str) -> wire.ReencryptionView:
    job = _job(ctx, ctx.tx, job_id)
    if job.state != old:
        raise Conflict(f"Expected a job that is {old}, but it is {job.state}; look at it again.", state=job.state)
    view = job.model_copy(update={"state": new, "changed_us": ctx.now_us})
    store.update_job(ctx.tx, ctx.tenant, view)
    _follow(ctx, view)
    return view


def _follow(ctx: Context, view: wire.ReencryptionView) -> None:
    vault, tenant = ctx.part(Vault), ctx.tenant
    if view.state == "running":
        ctx.after_commit(lambda: vault.start(view.job, tenant))
    else:
        ctx.after_commit(lambda: vault.stop(view.job))


def _job(ctx: Context, tx: Tx, job_id: str) -> wire.ReencryptionView:
    job = store.find_job(tx, ctx.tenant, job_id)
    if job is None:
        raise NotFound(f"Expected the id of a re-encryption job, got {job_id}; see guard keys jobs.")
    return job


def _column_of(ctx: Context, source_name: str, field: str) -> tuple[Source, str, FieldPolicy]:
    source = ctx.part(Sources).find(source_name, ctx.tenant)
    policy = ctx.part(Vault).policy(field)
    column = next((column for column, name in source.columns.items() if name == field), None)
    if column is None:
        raise InvalidRequest(f"Expected a field that source {source.name} declares, got {field}; declare its column.")
    if Bind.SUBJECT in policy.bind:
        raise InvalidRequest(f"Field {field} is bound to a subject; re-encrypt it through the API, item by item.")
    if policy.format is not None:
        raise InvalidRequest(f"Field {field} keeps its format and has no header; re-encrypt it through the API.")
    return source, column, policy
