"""What the catalogue lists of the copies of the log in a bucket with Object Lock.

Law: a copy waits for nobody and nobody waits for it; an object is written once, and one that is there with other bytes,
that was hidden or overwritten is named, in a record and by an alarm. The cursor moves only when all of a portion is
there, so a crash at any point is gone on from, and what was put before it is found to be the same.
"""

from collections.abc import Mapping

from guard.audit import archive_store, copy_store, copying
from guard.audit.anchors import Anchors
from guard.audit.copies import Copies, group_prefix
from guard.audit.log import Log
from guard.audit.tiles import Tile
from guard.audit.worm_store import MISSING, Worm
from guard.catalogue import Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import Conflict, NotFound, Unreachable
from guard.wire import copies as wire
from guard.wire.model import Nothing


@operation(
    "log.copy",
    None,
    takes=wire.CopyFiles,
    gives=wire.Copied,
    effect=Effect.EXTERNAL,
    resource="audit/all/copies",
    exempt="a record of each portion would make the log feed itself; losing and reaching the bucket are records",
)
def copy_files(ctx: Context, request: wire.CopyFiles) -> wire.Copied:
    """Copy the next finished bundles and tiles of the log into the bucket."""
    del request
    copies, worm = ctx.part(Copies), _bucket(ctx)
    with ctx.part(Store).read() as tx:
        portion = copying.read_portion(tx, ctx.part(Log))
    origin, start, end = portion.span.origin, portion.start, portion.end
    alarm = _put(ctx, worm, origin, portion.objects, start)
    if alarm or start == end:
        return wire.Copied(size=start, more=False, alarm=alarm)
    again = copies.reached()

    def moved(tx: Tx) -> None:
        if not copy_store.move(tx, origin, start, end):
            raise Conflict("Expected to be the only one who copies the log, but the cursor was moved.")
        if again:
            ctx.call("copies.report", {"state": "reached", "size": end})

    ctx.at_outcome(moved)
    return wire.Copied(size=end, more=end < portion.span.archived)


def _put(ctx: Context, worm: Worm, origin: str, objects: Mapping[str, bytes], size: int) -> str:
    """Put objects in their order; what stopped it, or nothing."""
    copies, key = ctx.part(Copies), ""
    try:
        for path, content in objects.items():
            key = worm.name(origin, path)
            worm.put(key, content)
    except Unreachable as error:
        if copies.lost(error.detail):
            _report(ctx, "unreachable", size)
        return error.detail
    except Conflict as error:
        if copies.found(key, "other bytes"):
            _report(ctx, "other bytes", size, key)
        return error.detail
    return ""


def _report(ctx: Context, state: str, size: int, name: str = "") -> None:
    ctx.at_outcome(lambda _tx: ctx.call("copies.report", {"state": state, "size": size, "name": name}))


@operation(
    "copies.look",
    None,
    takes=wire.LookAtCopies,
    gives=wire.Looked,
    effect=Effect.EXTERNAL,
    resource="audit/all/copies",
    exempt="a record of each look would make the log feed itself; each object that is damaged is a record",
)
def look_at_copies(ctx: Context, request: wire.LookAtCopies) -> wire.Looked:
    """Look whether the next hundred copies are still there, each as it was put and none put over it."""
    del request
    copies, worm = ctx.part(Copies), _bucket(ctx)
    with ctx.part(Store).read() as tx:
        span = archive_store.read_span(tx)
        end = copy_store.copied(tx, span.origin)
    tiles = copies.next_group(span.first, end)
    if not tiles:
        return wire.Looked(objects=0, faults=[])
    try:
        faults = _faults(worm, span.origin, tiles)
    except Unreachable as error:
        if copies.lost(error.detail):
            _report(ctx, "unreachable", end)
        return wire.Looked(objects=0, faults=[], alarm=error.detail)
    if copies.reached():
        _report(ctx, "reached", end)
    fresh = [(name, what) for name, what in faults if copies.found(name, what)]
    for name, what in fresh:
        _report(ctx, what, end, name)
    named = [f"{name} in the bucket: {what}" for name, what in fresh]
    return wire.Looked(objects=len(tiles), faults=[name for name, _ in faults], alarm="; ".join(named))


def _faults(worm: Worm, origin: str, tiles: list[Tile]) -> list[tuple[str, str]]:
    held = worm.versions(worm.name(origin, group_prefix(tiles[0])))
    names = [worm.name(origin, tile.path()) for tile in tiles]
    found = [(name, held[name].fault if name in held else MISSING) for name in names]
    return [(name, what) for name, what in found if what]


@operation(
    "copies.report",
    None,
    takes=wire.CopyReport,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="audit/all/copies",
    audit=("state", "size", "name"),
)
def report_copy(ctx: Context, request: wire.CopyReport) -> Nothing:
    """Record that the bucket is lost or reached again, or that an object in it is not what was put there."""
    del ctx, request
    return Nothing()


def _bucket(ctx: Context) -> Worm:
    worm = ctx.part(Anchors).worm
    if worm is None or not worm.tiles:
        raise NotFound("Expected tiles = true under [worm] in guard.toml, but there is none; add it.")
    return worm


def complete(ctx: Context, worm: Worm) -> str:
    """Put what makes the bucket a whole log of the largest checkpoint that it can be made one of; what stopped it."""
    with ctx.part(Store).read() as tx:
        found = copying.read_rest(tx, ctx.part(Log))
    if found is None:
        return ""
    head, note, objects = found
    alarm = _put(ctx, worm, head.origin, objects, head.size)
    if not alarm:
        worm.put_checkpoint(head, note)
    return alarm
