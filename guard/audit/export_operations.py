"""What the catalogue lists of exports.

Law: what was asked for is on record before the first byte is written, and the record that it is done carries the hash
of its manifest; each part that is fetched is a record too. A tenant's own auditor exports that tenant and nothing else.
"""

from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO

from guard import plugins
from guard.audit import export_store, store
from guard.audit.export_job import OPEN, TILES, Job, Part
from guard.audit.export_work import FOLDER, Exports
from guard.audit.selection import Filter
from guard.audit.trust import Trust
from guard.catalogue import PLATFORM, Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import Conflict, InvalidRequest, NotFound, StoreDamaged, StoreUnavailable, VerificationFailed
from guard.wire import audit_exports as wire
from guard.wire.model import Attachment, Download

AT_ONCE_RECORDS = 1 << 14  # a log so small is exported within the call: about a second
POSTPONE_US = 10_000_000  # until an export whose disk refused goes on; each try leaves two records
RESOURCE = "audit/all/exports"


@operation(
    "exports.create",
    "POST /api/v1/audit/exports",
    takes=wire.CreateExport,
    gives=wire.ExportView,
    effect=Effect.EXTERNAL,
    resource=RESOURCE,
    audit=("format",),
    example={"prove": [0]},
)
def create_export(ctx: Context, request: wire.CreateExport) -> wire.ExportView:
    """Export the log up to the latest checkpoint, at once or, where it is large, as a job."""
    exports = ctx.part(Exports)
    job, parts = _frozen(ctx, request), list[Part]()
    if job.size <= min(AT_ONCE_RECORDS, exports.part_records):
        with ExitStack() as undo:
            undo.callback(exports.shelf.remove, job.id)
            parts = [exports.make_part(job, 0)]
            job = exports.pack(exports.finish(job, parts))
            undo.pop_all()
    _note(ctx, job)
    ctx.at_outcome(lambda tx: _add(ctx, tx, job, parts))
    return job.view(len(parts), exports.part_records)


@operation(
    "exports.step",
    None,
    takes=wire.StepExport,
    gives=wire.ExportView,
    effect=Effect.EXTERNAL,
    resource="exports/{export}",
    audit=("export",),
)
def step_export(ctx: Context, request: wire.StepExport) -> wire.ExportView:
    """Write the next part of an export, or its manifest after the last one."""
    exports = ctx.part(Exports)
    with ctx.part(Store).read() as tx:
        job = _job(ctx, tx, request.export)
        parts = export_store.list_parts(tx, job.id)
    if job.state not in OPEN:
        exports.shelf.remove(job.id)
        exports.stop(job.id)
        return job.view(len(parts), exports.part_records)
    made = None
    try:
        if (parts[-1].last if parts else 0) < job.size:
            made = exports.make_part(job, len(parts))
            job = replace(job, state="running", matched=job.matched + made.matched)
        else:
            job = exports.finish(job, parts)
    except (VerificationFailed, StoreDamaged) as error:
        job = replace(job, state="failed", detail=error.detail)
        ctx.note(**{name: value for name, value in error.extra.items() if name in {"index", "size"}})
    except OSError as error:
        exports.postpone(job.id, ctx.now_us + POSTPONE_US)
        raise StoreUnavailable(
            f"Expected room and a sound disk for export {job.id}, got: {error.strerror}; it goes on when there is."
        ) from None
    job = replace(job, changed_us=ctx.now_us)
    _note(ctx, job)
    ctx.at_outcome(lambda tx: _keep(ctx, tx, job, len(parts), made))
    return job.view(len(parts) + (made is not None), exports.part_records)


@operation(
    "exports.list",
    "GET /api/v1/audit/exports",
    takes=wire.ListExports,
    gives=wire.ExportList,
    effect=Effect.READ,
    resource=RESOURCE,
)
def list_exports(ctx: Context, request: wire.ListExports) -> wire.ExportList:
    """List exports, newest first."""
    del request
    size = ctx.part(Exports).part_records
    return wire.ExportList(data=[job.view(done, size) for job, done in export_store.list_jobs(ctx.tx, ctx.tenant)])


@operation(
    "exports.read",
    "GET /api/v1/audit/exports/{export}",
    takes=wire.ExportId,
    gives=wire.ExportView,
    effect=Effect.READ,
    resource=RESOURCE,
    audit=("export",),
)
def read_export(ctx: Context, request: wire.ExportId) -> wire.ExportView:
    """Show where an export stands."""
    job = _job(ctx, ctx.tx, request.export)
    return job.view(len(export_store.list_parts(ctx.tx, job.id)), ctx.part(Exports).part_records)


@operation(
    "exports.cancel",
    "POST /api/v1/audit/exports/{export}/cancel",
    takes=wire.ExportId,
    gives=wire.ExportView,
    effect=Effect.WRITE,
    resource=RESOURCE,
    audit=("export",),
    example={},
)
def cancel_export(ctx: Context, request: wire.ExportId) -> wire.ExportView:
    """Cancel an export that is at work; its files are removed."""
    job = _job(ctx, ctx.tx, request.export)
    if job.state not in OPEN:
        raise Conflict(f"Expected an export that is at work, but it is {job.state}; look at it again.", state=job.state)
    job = replace(job, state="cancelled", changed_us=ctx.now_us)
    export_store.update_job(ctx.tx, job)
    return job.view(len(export_store.list_parts(ctx.tx, job.id)), ctx.part(Exports).part_records)


@operation(
    "exports.part",
    "GET /api/v1/audit/exports/{export}/parts/{n}",
    takes=wire.ExportPart,
    gives=Download,
    effect=Effect.READ,
    resource=RESOURCE,
    audit=("export", "n"),
)
def download_part(ctx: Context, request: wire.ExportPart) -> Attachment:
    """Download one part: a file of the format, or of tiles a zip archive of those that it fills."""
    job = _ready(ctx, request.export)
    parts = export_store.list_parts(ctx.tx, job.id)
    if request.n >= len(parts):
        raise NotFound(f"Expected a part below {len(parts)} of export {job.id}, got {request.n}; ask for another.")
    name = ctx.part(Exports).part_name(job, request.n)
    media_type = "application/zip" if job.format == TILES else plugins.load(FOLDER, job.format).MEDIA_TYPE
    return _attachment(ctx, job, name, media_type, parts[request.n].sha256)


@operation(
    "exports.hashes",
    "GET /api/v1/audit/exports/{export}/hashes/{n}",
    takes=wire.ExportPart,
    gives=Download,
    effect=Effect.READ,
    resource=RESOURCE,
    audit=("export", "n"),
)
def download_hashes(ctx: Context, request: wire.ExportPart) -> Attachment:
    """Download the leaf hashes of all records of one part, 32 bytes each; each 256 are a tile of `tile/0`."""
    return _attachment(ctx, _ready(ctx, request.export), f"hashes/{request.n:05d}", "application/octet-stream")


@operation(
    "exports.frame",
    "GET /api/v1/audit/exports/{export}/frame",
    takes=wire.ExportId,
    gives=Attachment,
    effect=Effect.READ,
    resource=RESOURCE,
    audit=("export",),
)
def download_frame(ctx: Context, request: wire.ExportId) -> Attachment:
    """Download what frames the parts, as a zip archive: checkpoint, keys, proofs, signed manifest, verifier."""
    return _attachment(ctx, _ready(ctx, request.export), "frame.zip", "application/zip")


@operation(
    "exports.manifest",
    "GET /api/v1/audit/exports/{export}/manifest",
    takes=wire.ExportId,
    gives=wire.ExportManifest,
    effect=Effect.READ,
    resource=RESOURCE,
    audit=("export",),
)
def read_manifest(ctx: Context, request: wire.ExportId) -> wire.ExportManifest:
    """Give the manifest of a finished export and the note that signs it."""
    job, shelf = _ready(ctx, request.export), ctx.part(Exports).shelf
    name = f"{job.id}/frame.zip"
    if not shelf.has(name):
        raise _gone(job)
    texts = [shelf.member(name, member).decode() for member in ("manifest.json", "manifest.note")]
    return wire.ExportManifest(manifest=texts[0], note=texts[1])


@operation(
    "exports.download",
    "GET /api/v1/audit/exports/{export}/archive",
    takes=wire.ExportId,
    gives=Attachment,
    effect=Effect.READ,
    resource=RESOURCE,
    audit=("export",),
)
def download_export(ctx: Context, request: wire.ExportId) -> Attachment:
    """Download an export of one part as a zip archive."""
    job, shelf = _ready(ctx, request.export), ctx.part(Exports).shelf
    if job.sha256 is None:
        raise Conflict(f"Export {job.id} was made in parts and has no archive; download frame, parts and hashes.")
    name = f"{job.id}.zip"
    if not shelf.has(name):
        raise _gone(job)
    return Attachment(path=str(shelf.path(name)), file_name=name, media_type="application/zip", sha256=job.sha256)


def _frozen(ctx: Context, request: wire.CreateExport) -> Job:
    """The job of a request: its filter as far as the caller may see, under the latest checkpoint."""
    chosen = _filter(ctx, request)
    _check_format(request.format)
    with ctx.part(Store).read() as tx:
        head, note = ctx.part(Trust).checkpoint(tx)
        checkpoint = head.checkpoint
        for index in request.prove:
            known = ctx.tenant == PLATFORM or store.has_record(tx, ctx.tenant, index)
            if index >= checkpoint.size or not known:
                raise InvalidRequest(
                    f"Expected records below {checkpoint.size} that you may see, got {index} to prove."
                )
    return Job(
        id=ctx.new_id("exp"),
        tenant=ctx.tenant,
        format=request.format,
        filter=chosen,
        purpose=request.purpose,
        state="frozen",
        size=checkpoint.size,
        root=checkpoint.root,
        note=note,
        prove=tuple(request.prove),
        matched=0,
        detail="",
        manifest=None,
        sha256=None,
        created_by=ctx.actor.subject,
        created_us=ctx.now_us,
        changed_us=ctx.now_us,
    )


def _filter(ctx: Context, request: wire.CreateExport) -> Filter:
    wanted = request.filter
    tenant = ctx.tenant_for(wanted.tenant or "~") if wanted.tenant or ctx.tenant != PLATFORM else None
    chosen = Filter(**wanted.model_dump(exclude={"tenant"}), tenant=tenant)
    if request.format == TILES and ctx.tenant != PLATFORM:
        raise NotFound("The whole log holds every tenant's records, so only the platform's auditors export it.")
    if request.format == TILES and chosen.given():
        raise InvalidRequest("Tiles are the whole log; leave out the filter, or choose another format.")
    return chosen


def _check_format(name: str) -> None:
    if name == TILES:
        return
    known = plugins.names(FOLDER)
    if name not in known:
        raise InvalidRequest(
            f"Expected one of tiles, {', '.join(known)} as format, got {name}; this server has no other."
        )
    plugins.load(FOLDER, name).write([], BytesIO())  # what it needs is missed before anything was begun


def _add(ctx: Context, tx: Tx, job: Job, parts: list[Part]) -> None:
    export_store.add_job(tx, job)
    for n, part in enumerate(parts):
        export_store.add_part(tx, job.id, n, part)
    if job.state in OPEN:
        ctx.after_commit(lambda: ctx.part(Exports).start(job.id, job.tenant))


def _keep(ctx: Context, tx: Tx, job: Job, n: int, made: Part | None) -> None:
    """Store what a step led to; a cancellation that came meanwhile stands, and the next step removes the files."""
    now = _job(ctx, tx, job.id)
    if now.state not in OPEN:
        ctx.answer = now.view(n, ctx.part(Exports).part_records)
        return
    export_store.update_job(tx, job)
    if made is not None:
        export_store.add_part(tx, job.id, n, made)
    if job.state == "ready":
        ctx.after_commit(lambda: ctx.part(Exports).stop(job.id))


def _note(ctx: Context, job: Job) -> None:
    ctx.note(export=job.id, size=job.size, state=job.state, matched=job.matched)
    if job.manifest is not None:
        ctx.note(manifest=job.manifest)


def _job(ctx: Context, tx: Tx, export: str) -> Job:
    job = export_store.find_job(tx, ctx.tenant, export)
    if job is None:
        raise NotFound(f"Expected the id of an export, got {export}; see guard audit exports.")
    return job


def _ready(ctx: Context, export: str) -> Job:
    job = _job(ctx, ctx.tx, export)
    if job.state != "ready":
        raise Conflict(f"Expected an export that is ready, but it is {job.state}; look at it again.", state=job.state)
    return job


def _attachment(ctx: Context, job: Job, name: str, media_type: str, sha256: str = "") -> Attachment:
    shelf = ctx.part(Exports).shelf
    if not shelf.has(f"{job.id}/{name}"):
        raise _gone(job)
    shown = f"{job.id}-{name.rpartition('/')[2]}"
    path = str(shelf.path(f"{job.id}/{name}"))
    return Attachment(path=path, file_name=shown, media_type=media_type, sha256=sha256)


def _gone(job: Job) -> NotFound:
    return NotFound(f"Export {job.id} has no such file, or it was removed; create the export again.")
