"""Re-encryption of live columns: what the catalogue lists of jobs. `resealing` does their work.

Law: a job is planned, running, paused, verifying, and done, failed or cancelled; it says where it stands at any time,
and jobs of one table take turns.
"""

from guard.catalogue import Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import AlreadyExists, Conflict, GuardError, InvalidRequest, NotFound, SealUnsound
from guard.settings import Source
from guard.vault import store
from guard.vault.policy import Bind, FieldPolicy
from guard.vault.queue import SECOND_US, pause_us
from guard.vault.resealing import Column, advance, look_back, waits
from guard.vault.source_store import Sources
from guard.vault.vault import Vault
from guard.wire import vault as wire

POSTPONE_US = 10 * SECOND_US  # until a job whose source refused is tried again; each try leaves two records
UNFINISHED = {*store.TURNING, "paused"}


@operation(
    "reencryptions.create",
    "POST /api/v1/reencryptions",
    takes=wire.CreateReencryption,
    gives=wire.ReencryptionView,
    effect=Effect.WRITE,
    resource="reencryptions/{source}",
    audit=("source", "field", "rows_per_second", "dry_run", "priority", "in_clear"),
    example={"source": "customers", "field": "customers.email"},
)
def create_reencryption(ctx: Context, request: wire.CreateReencryption) -> wire.ReencryptionView:
    """Start a resumable job that seals a column anew under the newest key version, or what stands there in clear."""
    source, _policy = _column_of(ctx, request.source, request.field)
    for known in store.list_jobs(ctx.tx, ctx.tenant):
        if known.state in UNFINISHED and (known.source, known.field) == (source.name, request.field):
            if request.priority <= known.priority or known.dry_run or request.in_clear != known.in_clear:
                raise AlreadyExists(f"Job {known.job} works on this column already; wait for it, resume or cancel it.")
            return _stored(ctx, known.model_copy(update={"priority": request.priority, "changed_us": ctx.now_us}))
    view = wire.ReencryptionView(
        job=ctx.new_id("job"),
        source=source.name,
        field=request.field,
        state="planned",
        examined=0,
        changed=0,
        skipped=0,
        failed=0,
        total=0,
        priority=request.priority,
        rows_per_second=request.rows_per_second,
        dry_run=request.dry_run,
        in_clear=request.in_clear,
        passes=1,
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
    """Pause a job after its current batch; the next job of the table has its turn meanwhile."""
    return _turn(ctx, request.job, set(store.TURNING), "paused")


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
    return _turn(ctx, request.job, {"paused"}, "running")


@operation(
    "reencryptions.cancel",
    "POST /api/v1/reencryptions/{job}/cancel",
    takes=wire.ReencryptionId,
    gives=wire.ReencryptionView,
    effect=Effect.WRITE,
    resource="reencryptions/{job}",
    audit=("job",),
    example={},
)
def cancel_reencryption(ctx: Context, request: wire.ReencryptionId) -> wire.ReencryptionView:
    """End a job for good; what it sealed anew stays so, and everything else is as it was."""
    return _turn(ctx, request.job, UNFINISHED, "cancelled")


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
    """Do the next batches of a job: open, seal, open again and compare, then swap; cursor and rows commit together."""
    jobs = ctx.part(Vault).jobs
    with ctx.part(Store).read() as tx:
        job = _job(ctx, tx, request.job)
        kept = store.cursor_of(tx, job.job)
    if job.state not in store.TURNING:
        jobs.drop(job.job)
        return job
    view, rows, rest_us = job, 0, 0
    try:
        source, policy = _column_of(ctx, job.source, job.field)
        column = Column(ctx, source, policy, job.dry_run, job.in_clear)
        for _ in range(request.batches):
            if why := waits(column):
                view, rest_us = view.model_copy(update={"detail": why}), POSTPONE_US
                break
            if view.state == "verifying":
                view = look_back(column, view)
            elif view.state in store.TURNING:
                view, kept, seen = advance(column, view, kept, request.rows)
                rows += seen
    except SealUnsound as error:
        view = view.model_copy(update={"state": "failed", "detail": error.detail})
    except GuardError:
        jobs.postpone(job.job, ctx.now_us + POSTPONE_US)
        raise
    view = view.model_copy(update={"changed_us": ctx.now_us})
    ctx.note(rows=rows, changed=view.changed - job.changed, failed=view.failed, passes=view.passes, state=view.state)
    ctx.at_outcome(lambda tx: _keep(ctx, tx, view, kept))
    jobs.postpone(job.job, ctx.now_us + max(rest_us, pause_us(rows, job.rows_per_second)))
    return view


def _keep(ctx: Context, tx: Tx, view: wire.ReencryptionView, kept: str) -> None:
    """Store what a batch led to; a pause, an end or another priority that came during the batch stands."""
    now = _job(ctx, tx, view.job)
    if view.state in store.TURNING and now.state not in store.TURNING:
        view = view.model_copy(update={"state": now.state})
    store.set_cursor(tx, view.job, kept)
    ctx.answer = _stored(ctx, view.model_copy(update={"priority": now.priority}))


def _turn(ctx: Context, job_id: str, old: set[str], new: str) -> wire.ReencryptionView:
    job = _job(ctx, ctx.tx, job_id)
    if job.state not in old:
        wanted = " or ".join(sorted(old))
        raise Conflict(f"Expected a job that is {wanted}, but it is {job.state}; look at it again.", state=job.state)
    return _stored(ctx, job.model_copy(update={"state": new, "changed_us": ctx.now_us}))


def _stored(ctx: Context, view: wire.ReencryptionView) -> wire.ReencryptionView:
    store.update_job(ctx.tx, ctx.tenant, view)
    _follow(ctx, view)
    return view


def _follow(ctx: Context, view: wire.ReencryptionView) -> None:
    jobs, tenant = ctx.part(Vault).jobs, ctx.tenant
    if view.state in store.TURNING:
        ctx.after_commit(lambda: jobs.put(tenant, view))
    else:
        ctx.after_commit(lambda: jobs.drop(view.job))


def _job(ctx: Context, tx: Tx, job_id: str) -> wire.ReencryptionView:
    job = store.find_job(tx, ctx.tenant, job_id)
    if job is None:
        raise NotFound(f"Expected the id of a re-encryption job, got {job_id}; see guard keys jobs.")
    return job


def _column_of(ctx: Context, source_name: str, field: str) -> tuple[Source, FieldPolicy]:
    source = ctx.part(Sources).find(source_name, ctx.tenant)
    policy = ctx.part(Vault).policy(field)
    if field not in source.columns.values():
        raise InvalidRequest(f"Expected a field that source {source.name} declares, got {field}; declare its column.")
    if policy.keyed_by_subject:
        raise InvalidRequest(
            f"Field {field} is sealed under the keys of persons, which have no versions. Values from before that come "
            "under them through guard fields reencrypt, item by item; store what it answers."
        )
    if Bind.SUBJECT in policy.bind and not source.subject:
        raise InvalidRequest(
            f"Field {field} is bound to a person: name the column that holds the person's id as subject of source "
            f"{source.name}, or send the values through guard fields reencrypt."
        )
    if policy.format is not None:
        column = next(name for name, one in source.columns.items() if one == field)
        raise InvalidRequest(
            f"Field {field} keeps its format and has no header: send the rows whose {column}_kv is not the newest "
            f"version through guard fields reencrypt with that number as version, and store both parts of its answer."
        )
    return source, policy
