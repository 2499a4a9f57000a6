"""What the catalogue lists of checkpoints beyond signing: the clock, the keys of the log, old notes."""

from guard.audit import checkpoint_store as store
from guard.audit.checkpoint import REGRESSION_US
from guard.audit.checkpoint_store import ClockRequest
from guard.audit.log import Log
from guard.audit.publication import Publication
from guard.audit.signers import LogKeys
from guard.audit.store import last_checkpoint
from guard.catalogue import PLATFORM, Actor, Context, Effect, operation
from guard.errors import Conflict, Denied, InvalidRequest, NotFound
from guard.wire import checkpoints as wire
from guard.wire.model import Nothing

DAY_US = 86_400_000_000


@operation(
    "clock.regression",
    None,
    takes=wire.TellRegression,
    gives=wire.Alarm,
    effect=Effect.WRITE,
    resource="log/clock",
    audit=("behind_us",),
)
def tell_regression(ctx: Context, request: wire.TellRegression) -> wire.Alarm:
    """Record that the clock is behind the last checkpoint, so that none is signed."""
    ctx.after_commit(ctx.part(Publication).told)
    seconds = request.behind_us // 1_000_000
    return wire.Alarm(
        alarm=f"the clock is {seconds} s behind the last checkpoint, so checkpoints wait; set the clock right, or let "
        "two persons run guard audit accept-clock if the last checkpoint was signed under a wrong clock"
    )


@operation(
    "checkpoints.accept_clock",
    "POST /api/v1/audit/clock",
    takes=wire.AcceptClock,
    gives=wire.ClockView,
    effect=Effect.WRITE,
    resource="log/clock",
    audit=("request",),
    example={"reason": "the clock of the host was a year ahead until today"},
)
def accept_clock(ctx: Context, request: wire.AcceptClock) -> wire.ClockView:
    """Let checkpoints go on under a clock that is behind the last one: asked by one person, accepted by another."""
    behind_us = ctx.part(Publication).behind_us(ctx.now_us)
    found = last_checkpoint(ctx.tx, ctx.part(Log).origin)
    if found is None or behind_us <= REGRESSION_US:
        raise Conflict("Expected a clock behind the last checkpoint, but it is not: checkpoints are signed as ever.")
    last_us = found[0].time_us
    asked = _ask(ctx, request.reason, last_us) if request.request is None else _accept(ctx, request.request, last_us)
    state = "asked" if asked.accepted_by is None else "accepted"
    ctx.note(state=state, clock_request=asked.id, behind_us=behind_us)
    return wire.ClockView(
        request=asked.id, state=state, behind_us=behind_us, asked_by=asked.asked_by, accepted_by=asked.accepted_by
    )


def _ask(ctx: Context, reason: str, checkpoint_us: int) -> ClockRequest:
    if not reason.strip():
        raise InvalidRequest("Expected a reason for accepting the clock, got none; say what happened to it.")
    asked = ClockRequest(ctx.new_id("clk"), checkpoint_us, reason, ctx.actor.subject, ctx.now_us)
    store.add_clock_request(ctx.tx, asked)
    return asked


def _accept(ctx: Context, request_id: str, checkpoint_us: int) -> ClockRequest:
    asked = store.clock_request(ctx.tx, request_id)
    if asked is None:
        raise NotFound(f"Expected the id of a request to accept the clock, got {request_id}; ask for one first.")
    if asked.asked_by == ctx.actor.subject:
        raise Denied("Expected another person than the one who asked; nobody accepts what he himself asks for.")
    if asked.accepted_by is not None or asked.checkpoint_us != checkpoint_us:
        raise Conflict("Expected an open request for the last checkpoint, got an older one; ask anew.")
    store.accept_clock(ctx.tx, asked.id, ctx.actor.subject, ctx.now_us)
    now_us = ctx.now_us
    ctx.after_commit(lambda: ctx.part(Publication).accepted(now_us))
    return ClockRequest(
        asked.id, checkpoint_us, asked.reason, asked.asked_by, asked.asked_us, ctx.actor.subject, now_us
    )


@operation(
    "checkpoints.tidy",
    None,
    takes=wire.TidyNotes,
    gives=wire.TidiedNotes,
    effect=Effect.WRITE,
    resource="log/checkpoints",
)
def tidy_notes(ctx: Context, request: wire.TidyNotes) -> wire.TidiedNotes:
    """Drop the signed notes of old checkpoints but for each hour's first and those that are cosigned or anchored."""
    del request
    dropped = ctx.part(Publication).tidy(ctx)
    ctx.note(dropped=dropped)
    return wire.TidiedNotes(dropped=dropped)


@operation(
    "log_keys.rotate",
    "POST /api/v1/audit/log_keys",
    takes=wire.RotateLogKey,
    gives=wire.LogKeyList,
    effect=Effect.WRITE,
    resource="log/keys",
    audit=("overlap_days",),
    example={"overlap_days": 30},
)
def rotate_log_key(ctx: Context, request: wire.RotateLogKey) -> wire.LogKeyList:
    """Give the log new keys; the old ones sign beside them for some days, and with that the record that names them."""
    log = ctx.part(Log)
    overlap_us = request.overlap_days * DAY_US
    signers, fresh = ctx.part(LogKeys).rotate(ctx.tx, log.signers, log.size, ctx.now_us, overlap_us)
    vkeys = [one.verifier.encode() for one in fresh]
    ctx.call("log.key_rotated", {"vkeys": vkeys, "from_size": log.size}, Actor("system:worker", PLATFORM, "system"))
    ctx.after_commit(lambda: log.rekey(signers))
    return _keys(ctx)


@operation(
    "log.key_rotated",
    None,
    takes=wire.TellKeys,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="log/keys",
    audit=("vkeys", "from_size"),
)
def tell_keys(ctx: Context, request: wire.TellKeys) -> Nothing:
    """Name the log's new keys in the log itself, under the signature of the old ones."""
    del ctx, request
    return Nothing()


@operation(
    "log_keys.list",
    "GET /api/v1/audit/log_keys",
    takes=wire.ListLogKeys,
    gives=wire.LogKeyList,
    effect=Effect.READ,
    resource="log/keys",
)
def list_log_keys(ctx: Context, request: wire.ListLogKeys) -> wire.LogKeyList:
    """List the keys of the log with the sizes of the checkpoints that each may sign."""
    del request
    return _keys(ctx)


def _keys(ctx: Context) -> wire.LogKeyList:
    rows = store.log_keys(ctx.tx, ctx.part(Log).origin)
    rows += [row for row in store.log_keys(ctx.tx) if row.stolen_us is not None and row not in rows]
    return wire.LogKeyList(
        data=[
            wire.LogKey(
                vkey=row.vkey,
                from_size=row.from_size,
                to_size=row.to_size,
                until_us=row.until_us,
                stolen_us=row.stolen_us,
            )
            for row in rows
        ]
    )
