"""What the catalogue lists of the audit room."""

import base64

from guard.audit import checkpoint_store, search, search_store, store
from guard.audit.checkpoint import Head, Verdict
from guard.audit.log import Log
from guard.audit.proof import LogProof
from guard.audit.publication import Publication
from guard.audit.reader import Reader
from guard.audit.recorder import Recorder
from guard.audit.tree import consistency_proof, inclusion_proof
from guard.audit.trust import Trust
from guard.catalogue import Actor, Context, Effect, operation
from guard.errors import Conflict, InvalidRequest, NotFound
from guard.wire import audit as wire
from guard.wire.model import Nothing

MAX_PROVEN = 100  # hits with proofs in a page: about 1 kB of record and 4 kB of proof each
SWEEP_LIMIT = 100  # intents closed at a time


@operation(
    "records.list",
    "GET /api/v1/audit/records",
    takes=wire.ListRecords,
    gives=wire.RecordList,
    effect=Effect.READ,
    resource="audit/{tenant}/records",
    audit=("action", "limit", "outcome", "allowed", "from_us", "to_us", "proof"),
    sealed=("actor",),
    subject="actor",
)
def list_records(ctx: Context, request: wire.ListRecords) -> wire.RecordList:
    """List records, newest first, on request with a proof each; looking is a record too."""
    if request.proof and request.limit > MAX_PROVEN:
        raise InvalidRequest(f"Expected a limit of at most {MAX_PROVEN} with proofs, got more; ask page by page.")
    hits = search_store.search(ctx.tx, ctx.tenant_for(request.tenant), request, request.before, request.limit)
    found = [search.view(hit) for hit in hits]
    if request.proof:
        reader, (head, note) = ctx.part(Log).reader(ctx.tx), _latest(ctx)
        found = [search.proven(hit, reader, head.checkpoint, note) for hit in hits]
    return wire.RecordList(data=found, next=hits[-1].idx if len(hits) == request.limit else None)


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
    tenant, reader = ctx.tenant_for(request.tenant), ctx.part(Log).reader(ctx.tx)
    if request.index >= reader.span.first and not store.has_record(ctx.tx, tenant, request.index):
        raise NotFound(f"Expected the index of a record of this tenant, got {request.index}; see guard audit list.")
    entry = reader.entry(request.index)
    head, note = _latest(ctx)
    proof = _proof(reader, request.index, head, note)
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
    """Give the latest signed checkpoint, or the latest that enough witnesses cosigned."""
    head, note = ctx.part(Trust).checkpoint(ctx.tx) if request.witnessed else _latest(ctx)
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
    head, note, verdict = ctx.part(Publication).publish(ctx)
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
    return found[0], checkpoint_store.cosigned(ctx.tx, found[0].checkpoint.size, found[1])


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
    log = ctx.part(Log)
    ctx.note(origin=log.origin, size=log.size, receipts=log.receipts.verifier.encode())
    del request
    return Nothing()
