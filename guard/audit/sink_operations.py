"""What the catalogue lists of sinks: how far they are, and what their streams do."""

from guard import plugins
from guard.audit import sink_store as store
from guard.audit.log import Log
from guard.audit.sink_store import Cursor
from guard.audit.stream import FOLDER, Late, Streams
from guard.catalogue import PLATFORM, Context, Effect, operation
from guard.errors import InternalError, NotFound
from guard.wire import audit_sinks as wire
from guard.wire.model import Nothing

MAX_RECORDS = 500  # of a batch
MAX_BYTES = 1 << 20  # and their size; the last may go beyond by one record of 32 KiB

FEEDS_ITSELF = "what it reads is sent on: a record of that would be sent on too, without end; see sinks.report"


@operation(
    "sinks.list",
    "GET /api/v1/audit/sinks",
    takes=wire.ListSinks,
    gives=wire.SinkList,
    effect=Effect.READ,
    resource="audit/all/sinks",
)
def list_sinks(ctx: Context, request: wire.ListSinks) -> wire.SinkList:
    """List the sinks, how far each is and how late."""
    del request
    if ctx.tenant != PLATFORM:
        raise NotFound("Sinks get every tenant's records, so only the platform's own people see them.")
    size = store.size(ctx.tx)
    views = [_view(ctx, cursor, size) for cursor in store.cursors(ctx.tx).values()]
    return wire.SinkList(data=views, size=size)


@operation(
    "sinks.declare",
    None,
    takes=wire.DeclareSinks,
    gives=wire.DeclaredSinks,
    effect=Effect.WRITE,
    resource="audit/all/sinks",
)
def declare_sinks(ctx: Context, request: wire.DeclareSinks) -> wire.DeclaredSinks:
    """Take over the sinks of guard.toml: what joined and what left is a record before it takes effect."""
    del request
    plans = {plan.name: plan for plan in ctx.part(Streams).sinks}
    added, removed = store.changed(ctx.tx, plans.keys())
    known, size = store.cursors(ctx.tx), store.size(ctx.tx)
    first = ctx.part(Log).reader(ctx.tx).span.first  # what was pruned before cannot be sent
    for name in added:
        if name not in known:
            store.add(ctx.tx, name, first if plans[name].begin == "first" else size)
    store.set_state(ctx.tx, added, store.DECLARED)
    store.set_state(ctx.tx, removed, store.REMOVED)
    ctx.note(added=added, removed=removed)
    return wire.DeclaredSinks(added=added, removed=removed)


@operation(
    "sinks.pull",
    None,
    takes=wire.PullRecords,
    gives=wire.PulledRecords,
    effect=Effect.READ,
    resource="audit/all/sinks",
    exempt=FEEDS_ITSELF,
)
def pull_records(ctx: Context, request: wire.PullRecords) -> wire.PulledRecords:
    """Read the records that a sink is to have next."""
    first = store.find(ctx.tx, request.sink).next_idx if request.first is None else request.first
    end = min(store.size(ctx.tx), first + MAX_RECORDS)
    entries: list[str] = []
    left = MAX_BYTES
    for entry in ctx.part(Log).reader(ctx.tx).entries(first, end):
        entries.append(entry.decode())
        left -= len(entry)
        if left <= 0:
            break
    more = left <= 0 or end - first == MAX_RECORDS
    return wire.PulledRecords(first=first, entries=entries, more=more, now_us=ctx.now_us)


@operation(
    "sinks.move",
    None,
    takes=wire.MoveSink,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="audit/all/sinks",
    exempt=FEEDS_ITSELF,
)
def move_sink(ctx: Context, request: wire.MoveSink) -> Nothing:
    """Move a sink's cursor after its acknowledgement."""
    if request.count != request.next - request.first or request.back > request.next:
        raise InternalError(
            f"Expected {request.next - request.first} records to be acknowledged, got {request.count}; "
            "the cursor stays where it is."
        )
    store.move(ctx.tx, request.sink, request.first, request.next, request.back, ctx.now_us)
    return Nothing()


@operation(
    "sinks.report",
    None,
    takes=wire.ReportSink,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="audit/all/sinks",
    audit=("sink", "state", "next", "failures"),
)
def report_sink(ctx: Context, request: wire.ReportSink) -> Nothing:
    """Record that a sink was reached or lost, and up to which record it has the log."""
    store.set_state(ctx.tx, [request.sink], request.state, request.error)
    return Nothing()


@operation(
    "sinks.watch",
    None,
    takes=wire.WatchSinks,
    gives=wire.WatchedSinks,
    effect=Effect.READ,
    resource="audit/all/sinks",
    exempt="it looks at the clock every few seconds; that a sink was lost is a record of sinks.report",
)
def watch_sinks(ctx: Context, request: wire.WatchSinks) -> wire.WatchedSinks:
    """Tell the operator of sinks that are late."""
    del request
    streams, size = ctx.part(Streams), store.size(ctx.tx)
    known = store.cursors(ctx.tx)
    found = [_late(ctx, known[plan.name], size) for plan in streams.sinks if plan.name in known]
    late = [one for one in found if streams.is_late(one.name, one.lag_us)]
    streams.alarm(late, ctx.now_us)
    return wire.WatchedSinks(late=[one.name for one in late])


def _late(ctx: Context, cursor: Cursor, size: int) -> Late:
    oldest_us = store.time_of(ctx.tx, cursor.next_idx)
    lag_us = 0 if oldest_us is None else max(ctx.now_us - oldest_us, 0)
    return Late(cursor.name, max(size - cursor.next_idx, 0), lag_us)


def _view(ctx: Context, cursor: Cursor, size: int) -> wire.SinkView:
    streams = ctx.part(Streams)
    plan = next((one for one in streams.sinks if one.name == cursor.name), None)
    running = streams.running.get(cursor.name)
    late = _late(ctx, cursor, size)
    return wire.SinkView(
        name=cursor.name,
        plugin=plan.plugin if plan else "",
        state=cursor.state,
        behind=late.behind,
        lag_seconds=late.lag_us // 1_000_000,
        alarm=streams.is_late(cursor.name, late.lag_us),
        first=cursor.first_idx,
        next=cursor.next_idx,
        delivered=cursor.delivered,
        repeated=cursor.repeated,
        complete=cursor.delivered - cursor.repeated == cursor.next_idx - cursor.first_idx,
        acked_us=cursor.acked_us or None,
        failures=running.failures if running else 0,
        last_error=(running.last_error if running else "") or cursor.last_error,
        target=(plan.address or plan.path) if plan else "",
        acknowledged=plugins.load(FOLDER, plan.plugin).ACKNOWLEDGED if plan else "",
    )
