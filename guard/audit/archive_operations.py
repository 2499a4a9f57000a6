"""What the catalogue lists of the log on files.

Law: no file is touched while a transaction is open or on the writer's thread. Files come first and are durable before
the rows leave, so a crash at any point leaves every record in at least one of the two places.
"""

from guard.audit import archive_store, archiving
from guard.audit.log import Log
from guard.catalogue import Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import InternalError
from guard.wire import archive as wire
from guard.wire.model import Nothing


@operation(
    "log.archive",
    None,
    takes=wire.ArchiveLog,
    gives=wire.Archived,
    effect=Effect.EXTERNAL,
    resource="audit/all/log",
    exempt="a record of each step would make the log feed itself; what moves is the log, and nothing in it changes",
)
def archive_log(ctx: Context, request: wire.ArchiveLog) -> wire.Archived:
    """Move the next complete bundles of the log from the database into files."""
    del request
    log = ctx.part(Log)
    with ctx.part(Store).read() as tx:
        step = archiving.read_step(tx)
    if not step.bundles:
        return wire.Archived(size=step.end)
    if log.files is None:
        raise InternalError("A log without a place for files was to be archived.")
    archiving.check(step)
    log.files.store(step.bundles, step.tiles)

    def leave(tx: Tx) -> None:
        archive_store.advance(tx, step.span, step.end, list(step.tiles))
        ctx.after_commit(lambda: log.archived(step.end))

    ctx.at_outcome(leave)
    return wire.Archived(size=step.end)


@operation(
    "log.rebuilt",
    None,
    takes=wire.Rebuilt,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="audit/all/log",
    audit=("size", "signed", "archived"),
)
def note_rebuild(ctx: Context, request: wire.Rebuilt) -> Nothing:
    """Record that index, head and hash tiles were made anew while the service was down."""
    ctx.note(mended=len(request.mended))
    return Nothing()
