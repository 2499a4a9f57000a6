"""What the catalogue lists of retention: the log's oldest records are removed, its hashes never.

Law: a prefix only, at whole bundles, nothing younger than 180 days (no setting lowers that), by two persons, recorded
before anything is removed, and not while a legal hold is in force. Hash tiles stay, so every proof between checkpoints
still works.
"""

from guard.audit import hold_store, prune_store
from guard.audit.archiving import BUNDLES_PER_STEP
from guard.audit.log import Log
from guard.audit.tiles import WIDTH
from guard.catalogue import PLATFORM, Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import Conflict, Denied, LegalHold, NotFound
from guard.wire import archive as wire

DAY_US = 86_400_000_000
REQUEST_DAYS = 7  # a request that nobody approves for so long was forgotten


@operation(
    "prunes.read",
    "GET /api/v1/audit/prunes",
    takes=wire.ReadPruning,
    gives=wire.PruningView,
    effect=Effect.READ,
    resource="audit/all/prunes",
)
def read_pruning(ctx: Context, request: wire.ReadPruning) -> wire.PruningView:
    """Say where the log begins and which request to prune it waits for a second person."""
    del request
    return _view(ctx.tx, ctx)


@operation(
    "prunes.request",
    "POST /api/v1/audit/prunes",
    takes=wire.RequestPrune,
    gives=wire.PruningView,
    effect=Effect.WRITE,
    resource="audit/all/prunes",
    audit=("keep_days",),
    example={"keep_days": 365},
)
def request_prune(ctx: Context, request: wire.RequestPrune) -> wire.PruningView:
    """Ask to remove records older than so many days; a second person approves it."""
    _refuse_elsewhere(ctx)
    _refuse_under_hold(ctx.tx)
    origin = ctx.part(Log).origin
    now = prune_store.read(ctx.tx, origin)
    old = prune_store.size_before(ctx.tx, ctx.now_us - request.keep_days * DAY_US)
    to = min(old, now.archived) // WIDTH * WIDTH
    if to <= now.first:
        raise Conflict(
            f"Expected whole bundles of {WIDTH} records that are older than {request.keep_days} days and in files, "
            "got none; nothing is to be pruned."
        )
    prune_store.ask(ctx.tx, origin, to, ctx.actor.subject, ctx.now_us)
    ctx.note(first=now.first, to=to)
    return _view(ctx.tx, ctx)


@operation(
    "prunes.approve",
    "POST /api/v1/audit/prunes/approval",
    takes=wire.ApprovePrune,
    gives=wire.PruningView,
    effect=Effect.WRITE,
    resource="audit/all/prunes",
    audit=("to",),
    example={"to": 256},
)
def approve_prune(ctx: Context, request: wire.ApprovePrune) -> wire.PruningView:
    """Approve what another person asked for; from then on these records are gone."""
    _refuse_elsewhere(ctx)
    _refuse_under_hold(ctx.tx)
    log = ctx.part(Log)
    asked = prune_store.read(ctx.tx, log.origin)
    if asked.asked_to != request.to or ctx.now_us - (asked.asked_us or 0) > REQUEST_DAYS * DAY_US:
        raise Conflict(
            f"Expected a request of the last {REQUEST_DAYS} days to prune up to {request.to}, got none; ask again."
        )
    if asked.asked_by == ctx.actor.subject:
        raise Denied("Expected a second person to approve this, got the one who asked for it.")
    prune_store.raise_first(ctx.tx, log.origin, request.to)
    ctx.note(first=asked.first, asked_by=asked.asked_by)
    ctx.after_commit(lambda: log.pruned(request.to, asked.removed))
    return _view(ctx.tx, ctx)


@operation(
    "prunes.sweep",
    None,
    takes=wire.SweepPruned,
    gives=wire.Removed,
    effect=Effect.EXTERNAL,
    resource="audit/all/prunes",
    exempt="it carries out, in steps, what the record of prunes.approve says",
)
def sweep_pruned(ctx: Context, request: wire.SweepPruned) -> wire.Removed:
    """Remove the next bundles and index rows of what was pruned."""
    del request
    log = ctx.part(Log)
    with ctx.part(Store).read() as tx:
        now = prune_store.read(tx, log.origin)
        held = hold_store.standing(tx)
    end = min(now.first, now.removed + BUNDLES_PER_STEP * WIDTH)
    if end <= now.removed or held or log.files is None:
        return wire.Removed(removed=now.removed)
    log.files.remove_bundles(range(now.removed // WIDTH, end // WIDTH))

    def forget(tx: Tx) -> None:
        prune_store.remove(tx, log.origin, now.removed, end)
        ctx.after_commit(lambda: log.pruned(now.first, end))

    ctx.at_outcome(forget)
    return wire.Removed(removed=end)


def _refuse_elsewhere(ctx: Context) -> None:
    if ctx.tenant != PLATFORM:
        raise NotFound("The log holds every tenant's records, so only the platform's administrators prune it.")


def _refuse_under_hold(tx: Tx) -> None:
    held = len(hold_store.standing(tx))  # whatever they cover: a log has one beginning for all
    if held:
        raise LegalHold(f"Expected no legal hold in force, got {held}; release them first, or keep the records.")


def _view(tx: Tx, ctx: Context) -> wire.PruningView:
    now = prune_store.read(tx, ctx.part(Log).origin)
    return wire.PruningView(
        min_index=now.first,
        archived=now.archived,
        requested_to=now.asked_to,
        requested_by=now.asked_by,
        requested_us=now.asked_us,
    )
