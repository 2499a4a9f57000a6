"""What the catalogue lists of the scrubber: a slow pass for ever, and a quick one on demand.

Law: the end of each pass is a record, and so is each damage when it is found, with its index.
"""

from guard.audit import scrub, scrub_store
from guard.audit.log import Log
from guard.audit.tiles import WIDTH
from guard.catalogue import Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.wire import archive as wire
from guard.wire.model import Nothing


@operation(
    "scrubs.run",
    "POST /api/v1/audit/scrubs",
    takes=wire.RunScrub,
    gives=wire.Scrubbed,
    effect=Effect.READ,
    resource="audit/all/scrubs",
    audit=("start", "blocks"),
    example={},
)
def run_scrub(ctx: Context, request: wire.RunScrub) -> wire.Scrubbed:
    """Hash a part of the log again, records, tiles and index; `next` is where to go on."""
    reader = ctx.part(Log).reader(ctx.tx)
    first = request.start // WIDTH
    end = min(first + request.blocks, -(-reader.span.size // WIDTH))
    faults = [fault for n in range(first, end) for fault in scrub.check(ctx.tx, reader, n)]
    ctx.note(faults=len(faults), size=reader.span.size)
    following = end * WIDTH if end * WIDTH < reader.span.size else None
    return wire.Scrubbed(size=reader.span.size, next=following, faults=faults)


@operation(
    "scrubs.step",
    None,
    takes=wire.StepScrub,
    gives=wire.Scrubbed,
    effect=Effect.EXTERNAL,
    resource="audit/all/scrubs",
    exempt="a record of each block would make the log feed itself; damage and the end of each pass are records",
)
def step_scrub(ctx: Context, request: wire.StepScrub) -> wire.Scrubbed:
    """Hash the next block of the log again, at a pace that passes it once a week."""
    del request
    log = ctx.part(Log)
    with ctx.part(Store).read() as tx:
        at, before = scrub_store.cursor(tx, log.origin)
        reader = log.reader(tx)
        size = reader.span.size
        faults = scrub.check(tx, reader, at // WIDTH) if at < size else []
    end, total = min(at + WIDTH, size), before + len(faults)
    over = end >= size
    log.scrub_due_us = ctx.now_us + scrub.pause_us(size, over=over)

    def move(tx: Tx) -> None:
        scrub_store.move(tx, log.origin, 0 if over else end, 0 if over else total)
        for fault in faults:
            ctx.call("scrubs.report", {"index": fault.index, "size": size, "faults": total})
        if over:
            ctx.call("scrubs.report", {"size": size, "faults": total})

    ctx.at_outcome(move)
    return wire.Scrubbed(size=size, next=None if over else end, faults=faults)


@operation(
    "scrubs.report",
    None,
    takes=wire.ScrubReport,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="audit/all/scrubs",
    audit=("index", "size", "faults"),
)
def report_scrub(ctx: Context, request: wire.ScrubReport) -> Nothing:
    """Record damage at an index, or, without one, the end of a pass."""
    del ctx, request
    return Nothing()
