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
