"""What the catalogue lists of the audit room."""

import base64
from collections.abc import Iterator
from pathlib import Path

from guard.audit import archive, store
from guard.audit.checkpoint import Head, Verdict
from guard.audit.export import layout, policy_text
from guard.audit.log import Log
from guard.audit.proof import LogProof
from guard.audit.reader import Reader
from guard.audit.recorder import Recorder
from guard.audit.tree import consistency_proof, inclusion_proof
from guard.catalogue import PLATFORM, Actor, Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import Conflict, InternalError, InvalidRequest, NotFound
from guard.settings import Settings
from guard.wire import audit as wire
from guard.wire.model import Attachment, Nothing

SWEEP_LIMIT = 100  # intents closed at a time


@operation(
    "records.list",
    "GET /api/v1/audit/records",
    takes=wire.ListRecords,
    gives=wire.RecordList,
    effect=Effect.READ,
    resource="audit/{tenant}/records",
    audit=("action", "limit"),
)
def list_records(ctx: Context, request: wire.ListRecords) -> wire.RecordList:
    """List records, newest first; looking is a record too."""
    found = store.list_records(ctx.tx, ctx.tenant_for(request.tenant), request)
    full = len(found) == request.limit
    return wire.RecordList(data=found, next=found[-1].index if full else None)


@operation(
    "records.prove",
    "GET /api/v1/audit/records/{index}/proof",
    takes=wire.ProveRecord,
    gives=wire.RecordProof,
    effect=Effect.READ,
    resource="audit/{tenant}/records",
    audit=("index",),
    hides=True,
)
def prove_record(ctx: Context, request: wire.ProveRecord) -> wire.RecordProof:
    """Give a record's exact bytes and its inclusion proof under the latest checkpoint."""
    entry = store.find_record(ctx.tx, ctx.tenant_for(request.tenant), request.index)
    if entry is None:
        raise NotFound(f"Expected the index of a record of this tenant, got {request.index}; see guard audit list.")
    head, note = _latest(ctx)
    proof = _proof(ctx.part(Log).reader(ctx.tx), request.index, head, note)
    return wire.RecordProof(index=request.index, entry=entry.decode(), proof=proof.decode())


@operation(
    "checkpoints.latest",
    "GET /api/v1/audit/checkpoint",
    takes=wire.ReadCheckpoint,
    gives=wire.CheckpointView,
    effect=Effect.READ,
    resource="audit/all/checkpoints",
)
def latest_checkpoint(ctx: Context, request: wire.ReadCheckpoint) -> wire.CheckpointView:
    """Give the latest signed checkpoint."""
    del request
    head, note = _latest(ctx)
    return _view(ctx, head, note)


@operation(
    "checkpoints.publish",
    "POST /api/v1/audit/checkpoints",
    takes=wire.PublishCheckpoint,
    gives=wire.CheckpointView,
    effect=Effect.WRITE,
    resource="audit/all/checkpoints",
    exempt="a checkpoint that left a record would always be one record behind the log",
    example={},
    vital=True,
)
def publish_checkpoint(ctx: Context, request: wire.PublishCheckpoint) -> wire.CheckpointView:
    """Sign a checkpoint over everything committed so far."""
    del request
    head, note, verdict = ctx.part(Log).publish(ctx.tx, ctx.now_us)
    if verdict is Verdict.CLOCK_REGRESSION or not note:
        raise Conflict("The clock is behind the last checkpoint, so none was signed; set the clock right.")
    return _view(ctx, head, note)


@operation(
    "checkpoints.reread",
    None,
    takes=wire.RereadLog,
    gives=wire.RereadSize,
    effect=Effect.READ,
    resource="audit/all/checkpoints",
    exempt="it prepares the next checkpoint, which leaves no record either",
)
def reread_log(ctx: Context, request: wire.RereadLog) -> wire.RereadSize:
    """Hash again what was committed since the last checkpoint."""
    del request
    return wire.RereadSize(size=ctx.part(Log).reread(ctx.tx))


@operation(
    "checkpoints.prove",
    "GET /api/v1/audit/consistency",
    takes=wire.ProveConsistency,
    gives=wire.ConsistencyProof,
    effect=Effect.READ,
    resource="audit/all/checkpoints",
    audit=("first", "second"),
)
def prove_consistency(ctx: Context, request: wire.ProveConsistency) -> wire.ConsistencyProof:
    """Prove that the log of one size is a prefix of the log of another."""
    head, _ = _latest(ctx)
    if not request.first <= request.second <= head.checkpoint.size:
        raise InvalidRequest(f"Expected first <= second <= {head.checkpoint.size}, got other sizes; correct them.")
    hashes = consistency_proof(request.first, request.second, ctx.part(Log).reader(ctx.tx).node)
    texts = [base64.b64encode(one).decode() for one in hashes]
    return wire.ConsistencyProof(first=request.first, second=request.second, hashes=texts)


@operation(
    "exports.create",
    "POST /api/v1/audit/exports",
    takes=wire.CreateExport,
    gives=wire.ExportView,
    effect=Effect.EXTERNAL,
    resource="audit/all/exports",
    example={"prove": [0]},
)
def create_export(ctx: Context, request: wire.CreateExport) -> wire.ExportView:
    """Write the whole log as an archive that `guard verify` checks offline."""
    if ctx.tenant != PLATFORM:
        raise NotFound("The whole log holds every tenant's records, so only the platform's auditors export it.")
    log = ctx.part(Log)
    export_id = ctx.new_id("exp")
    path = ctx.part(Settings).home / "exports" / f"{export_id}.zip"
    with ctx.part(Store).read() as tx:
        latest = store.last_checkpoint(tx, log.origin)
        if latest is None:
            raise Conflict("Expected a checkpoint to export under, got none yet; try again in a second.")
        sha256 = archive.write(path, _parts(tx, log, latest[0], latest[1], request.prove))
    checkpoint = latest[0].checkpoint
    view = wire.ExportView(
        id=export_id,
        size=checkpoint.size,
        root=base64.b64encode(checkpoint.root).decode(),
        sha256=sha256,
        created_by=ctx.actor.subject,
        created_us=ctx.now_us,
    )
    ctx.note(export=export_id, size=view.size)
    ctx.at_outcome(lambda tx: store.add_export(tx, view, PLATFORM, str(path)))
    return view


@operation(
    "exports.list",
    "GET /api/v1/audit/exports",
    takes=wire.ListExports,
    gives=wire.ExportList,
    effect=Effect.READ,
    resource="audit/all/exports",
)
def list_exports(ctx: Context, request: wire.ListExports) -> wire.ExportList:
    """List finished exports."""
    del request
    return wire.ExportList(data=store.list_exports(ctx.tx, ctx.tenant))


@operation(
    "exports.download",
    "GET /api/v1/audit/exports/{export}/archive",
    takes=wire.DownloadExport,
    gives=Attachment,
    effect=Effect.READ,
    resource="audit/all/exports",
    audit=("export",),
)
def download_export(ctx: Context, request: wire.DownloadExport) -> Attachment:
    """Download an export as a zip archive."""
    path = store.export_path(ctx.tx, ctx.tenant, request.export)
    if path is None or not Path(path).is_file():
        raise NotFound(f"Expected the id of an export, got {request.export}; see guard audit exports.")
    return Attachment(path=path, file_name=f"{request.export}.zip", media_type="application/zip")


@operation(
    "intents.sweep",
    None,
    takes=wire.SweepIntents,
    gives=wire.SweptIntents,
    effect=Effect.WRITE,
    resource="audit/all/intents",
    exempt="what it does are records themselves: one `unknown` for each intent",
    vital=True,
)
def sweep_intents(ctx: Context, request: wire.SweepIntents) -> wire.SweptIntents:
    """Record external operations whose process ended before their outcome as unknown."""
    del request
    overdue = store.overdue_intents(ctx.tx, ctx.now_us, SWEEP_LIMIT)
    recorder = ctx.part(Recorder)
    for row in overdue:
        store.Intents().close(ctx.tx, row["intent"])
        actor = Actor(row["actor"], row["tenant"], "swept")
        ctx.entries.append(recorder.unknown(actor, row["action"], row["intent"], ctx.request_id))
    return wire.SweptIntents(unknown=len(overdue))


def _latest(ctx: Context) -> tuple[Head, str]:
    found = store.last_checkpoint(ctx.tx, ctx.part(Log).origin)
    if found is None:
        raise Conflict("Expected a signed checkpoint, got none yet; try again in a second.")
    return found


def _view(ctx: Context, head: Head, note: str) -> wire.CheckpointView:
    return wire.CheckpointView(
        size=head.checkpoint.size,
        root=base64.b64encode(head.checkpoint.root).decode(),
        time_us=head.time_us,
        note=note,
        vkey=ctx.part(Log).verifier.encode(),
    )


def _proof(reader: Reader, index: int, head: Head, note: str) -> bytes:
    size = head.checkpoint.size
    if index >= size:
        raise InvalidRequest(f"Expected an index below the checkpoint's size {size}; wait for the next checkpoint.")
    hashes = inclusion_proof(index, size, reader.node)
    return LogProof(index, tuple(hashes), note.encode()).encode()


def _parts(tx: Tx, log: Log, head: Head, note: str, prove: list[int]) -> Iterator[tuple[str, bytes]]:
    size = head.checkpoint.size
    if size == 0:
        raise InternalError("A checkpoint of an empty log was published.")
    reader = log.reader(tx)
    return layout(
        log.origin,
        [text.encode() for _, text in store.checkpoint_notes(tx, size)],
        reader.entries(0, size),
        reader.leaves(size),
        policy_text([log.verifier]),
        proofs={index: _proof(reader, index, head, note) for index in prove},
        documents={"verify.py": archive.verifier()},
    )


@operation(
    "services.start",
    None,
    takes=wire.StartService,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="audit/all/services",
    audit=("version", "fresh"),
)
def start_service(ctx: Context, request: wire.StartService) -> Nothing:
    """Record that the service started."""
    ctx.note(origin=ctx.part(Log).origin, size=ctx.part(Log).size)
    del request
    return Nothing()
