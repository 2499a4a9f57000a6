"""What the catalogue lists of anchors: signing in two steps, time-stamps, copies, the first record, and the watch."""

import base64
from functools import partial
from typing import Any

from guard.audit import archive_store, copy_operations, copy_store, export_store, stamp_store, stolen, store
from guard.audit.anchor_settings import Authority
from guard.audit.anchors import Anchors
from guard.audit.checkpoint import Head
from guard.audit.copies import Copies
from guard.audit.export_work import Exports
from guard.audit.incarnation_store import Keeper
from guard.audit.log import Log
from guard.audit.publication import Publication
from guard.audit.rounds import Rounds
from guard.audit.signers import LogKeys
from guard.audit.standing import Reason, Standing
from guard.audit.tile_watch import TileWatch
from guard.audit.trust import Trust
from guard.catalogue import Context, Effect, operation
from guard.db.engine import Store
from guard.db.presence import Presence
from guard.errors import Conflict, NotFound
from guard.settings import Settings
from guard.wire import anchors as wire

UNPROVEN = "unproven"  # the credential of a person who is named at the machine and whom nobody asked for one
ROOM_AGAIN = 5  # quarters of `minimum_free_bytes` that must be free before the service goes on


@operation(
    "services.watch",
    None,
    takes=wire.Watch,
    gives=wire.Watched,
    effect=Effect.NONE,
    resource="audit/all/services",
    exempt="it looks, once a second; what it finds stops every record",
)
def watch_service(ctx: Context, request: wire.Watch) -> wire.Watched:
    """Look whether the files in use are still there and the disk has room."""
    del request
    standing, log = ctx.part(Standing), ctx.part(Log)
    lost = ctx.part(Presence).lost() or ctx.part(TileWatch).lost(lambda: log.in_files)
    if lost:
        standing.trip(Reason.FILE_LOST, lost)
    free, wanted = ctx.part(Presence).free_bytes(), ctx.part(Settings).minimum_free_bytes
    if free < wanted:
        standing.trip(Reason.DISK_LOW, f"{free} bytes are free, minimum_free_bytes asks for {wanted}.")
    elif standing.low and free * 4 >= wanted * ROOM_AGAIN:
        ctx.part(Rounds).room_again = True
    return wire.Watched(state=standing.name, free_bytes=free)


@operation(
    "audit.resumed",
    None,
    takes=wire.Resume,
    gives=wire.Resumed,
    effect=Effect.WRITE,
    resource="audit/all/services",
    vital=True,
)
def resume_service(ctx: Context, request: wire.Resume) -> wire.Resumed:
    """Go on after the disk had no room, and record how many operations were refused."""
    del request
    standing = ctx.part(Standing)
    refused = standing.refused
    ctx.note(refused=refused)
    ctx.after_commit(lambda: _go_on(ctx.part(Rounds), standing))
    return wire.Resumed(refused=refused)


def _go_on(rounds: Rounds, standing: Standing) -> None:
    rounds.room_again = False
    standing.relieve()


@operation(
    "log.created",
    None,
    takes=wire.CreateLog,
    gives=wire.LogCreated,
    effect=Effect.WRITE,
    resource="audit/all/log",
    audit=("reason", "second", "since_us"),
)
def create_log(ctx: Context, request: wire.CreateLog) -> wire.LogCreated:
    """Record the beginning of a log as its first record, or begin its next incarnation."""
    log, settings = ctx.part(Log), ctx.part(Settings)
    left = log.origin if request.second else ""
    if request.second:
        # Only the command at the machine comes here: it names two persons, and nobody proved to be them.
        ctx.note(authenticated=ctx.actor.credential not in {"", UNPROVEN})
        _succeed(ctx, log, request)
    elif log.size:
        raise Conflict(f"Expected a log without records, got one of {log.size}; it has its first record already.")
    ctx.note(
        origin=log.origin,
        vkeys=[one.verifier.encode() for one in log.signers],
        limits={"queue": settings.queue_limit, "body_bytes": settings.max_body_bytes},
    )
    return wire.LogCreated(origin=log.origin, follows=left)


def _succeed(ctx: Context, log: Log, request: wire.CreateLog) -> None:
    """Write the log that ends into its directory, then begin the next one; its first record names what was left."""
    standing, anchors = ctx.part(Standing), ctx.part(Anchors)
    frozen = stolen.frozen_at(ctx, log, request.stolen, request.since_us) if request.stolen else None
    if frozen is None and standing.reason not in {Reason.ROLLBACK_DETECTED, Reason.FORK_DETECTED}:
        raise Conflict("Expected a log that an anchor contradicts, but none does; there is nothing to fork from.")
    own, exports = log.own(ctx.tx), ctx.part(Exports)
    heads = [one.head for one in anchors.answered] + [own.head]
    replaced = list({(one.origin, one.size, one.root): one for one in heads}.values())
    signed, receipts = store.last_checkpoint(ctx.tx, log.origin), log.receipts.verifier
    if frozen is not None:
        ctx.note(stolen=stolen.mark(ctx, log, frozen, request.since_us), **stolen.facts(ctx, frozen))
    folder = ctx.part(Keeper).keep(ctx.tx, log, ctx.part(Trust), None if frozen is None else frozen.size)
    if frozen is None:
        ctx.part(LogKeys).succeed(ctx.tx, log.successor, signed[0].checkpoint.size if signed else 0, ctx.now_us)
    stopped = export_store.fail_open(ctx.tx, f"The log {log.origin} ended; export the next one.", ctx.now_us)
    log.succeed(ctx.tx, ctx.now_us, [(one.origin, one.size, one.root) for one in replaced])
    if frozen is not None:
        stolen.begin_anew(ctx, log, receipts, request.since_us or 0)
    ctx.note(
        old_origin=own.head.origin,
        old_size=own.head.size,
        old_root=base64.b64encode(own.head.root).decode(),
        old_note=own.note,
        kept_in=folder,
        replaced=[_left(one) for one in replaced],
    )
    ctx.after_commit(standing.mended)
    ctx.after_commit(ctx.part(Publication).restart)
    for export in stopped:
        ctx.after_commit(partial(exports.stop, export))


def _left(head: Any) -> dict[str, Any]:
    return {"origin": head.origin, "size": head.size, "root": base64.b64encode(head.root).decode()}


@operation(
    "checkpoints.stage",
    None,
    takes=wire.StageCheckpoint,
    gives=wire.Staged,
    effect=Effect.READ,
    resource="audit/all/checkpoints",
    exempt="it prepares the next checkpoint, which leaves no record either",
)
def stage_checkpoint(ctx: Context, request: wire.StageCheckpoint) -> wire.Staged:
    """Sign what was committed so far and move the anchor to it, away from the writer."""
    del request
    return wire.Staged(changed=ctx.part(Log).stage(ctx.tx, ctx.now_us))


@operation(
    "checkpoints.adopt",
    None,
    takes=wire.PublishStaged,
    gives=wire.Staged,
    effect=Effect.WRITE,
    resource="audit/all/checkpoints",
    exempt="a checkpoint that left a record would always be one record behind the log",
    vital=True,
)
def adopt_checkpoint(ctx: Context, request: wire.PublishStaged) -> wire.Staged:
    """Publish the checkpoint that was signed and anchored."""
    del request
    return wire.Staged(changed=ctx.part(Publication).publish_staged(ctx))


@operation(
    "checkpoints.stamp",
    None,
    takes=wire.StampCheckpoint,
    gives=wire.Outside,
    effect=Effect.EXTERNAL,
    resource="audit/all/checkpoints",
    audit=("authority",),
)
def stamp_checkpoint(ctx: Context, request: wire.StampCheckpoint) -> wire.Outside:
    """Have a time-stamp authority (RFC 3161) date the latest checkpoint; kept only if its token verifies."""
    authority = _authority(ctx, request.authority)
    chain = stamp_store.chain_of(ctx.part(Settings).home / authority.chain)
    head, text = _latest(ctx)
    query = stamp_store.request(text)
    answer = stamp_store.ask(authority, query)
    time_us = stamp_store.verify(text, answer, chain, query)
    kind, size = f"rfc3161:{authority.name}", head.checkpoint.size
    ctx.note(size=size, stamped_us=time_us)
    ctx.at_outcome(lambda tx: stamp_store.add(tx, kind, size, text, answer, time_us))
    ctx.after_commit(lambda: ctx.part(Rounds).done(kind, size))
    return wire.Outside(size=size, time_us=time_us)


@operation(
    "checkpoints.copy",
    None,
    takes=wire.CopyCheckpoint,
    gives=wire.Outside,
    effect=Effect.EXTERNAL,
    resource="audit/all/checkpoints",
)
def copy_checkpoint(ctx: Context, request: wire.CopyCheckpoint) -> wire.Outside:
    """Put the latest checkpoint into the bucket with Object Lock, after a look at what the bucket holds."""
    del request
    anchors, log = ctx.part(Anchors), ctx.part(Log)
    if anchors.worm is None:
        raise NotFound("Expected the setting worm to name a bucket, but there is none; add it to guard.toml.")
    held = anchors.fetched()
    with ctx.part(Store).read() as tx:
        anchors.recheck(log.own(tx), held)
    head, text = _latest(ctx)
    size = head.checkpoint.size
    written = anchors.worm.put_checkpoint(head.checkpoint, text)
    alarm = copy_operations.complete(ctx, anchors.worm) if anchors.worm.tiles else ""
    ctx.note(size=size, written=written)
    ctx.at_outcome(lambda tx: stamp_store.add(tx, "worm", size, text, None, ctx.now_us))
    ctx.after_commit(lambda: ctx.part(Rounds).done("worm", size))
    return wire.Outside(size=size, time_us=ctx.now_us, alarm=alarm)


@operation(
    "anchors.list",
    "GET /api/v1/audit/anchors",
    takes=wire.ListAnchors,
    gives=wire.AnchorList,
    effect=Effect.READ,
    resource="audit/all/anchors",
)
def list_anchors(ctx: Context, request: wire.ListAnchors) -> wire.AnchorList:
    """List the anchors and what each holds."""
    del request
    anchors = ctx.part(Anchors)
    found = []
    if anchors.file is not None:
        found.append(_file_view(ctx, anchors))
    rows = {row.kind: row for row in stamp_store.latest(ctx.tx)}
    if anchors.worm is not None:
        found.append(_row_view("worm", anchors.worm.place, rows.get("worm"), counts=True))
    if anchors.worm is not None and anchors.worm.tiles:
        found.append(_copies_view(ctx, anchors.worm.place))
    for one in anchors.authorities:
        kind = f"rfc3161:{one.name}"
        found.append(_row_view(kind, one.url, rows.get(kind), remark="dates the log; kept in its own database"))
    return wire.AnchorList(data=found)


def _file_view(ctx: Context, anchors: Anchors) -> wire.AnchorView:
    assert anchors.file is not None
    held = anchors.held(ctx.part(Log).own(ctx.tx))
    remark = "on the volume of the home: restored together with it" if anchors.beside_home else ""
    head = None if held is None else held.head
    return wire.AnchorView(
        kind="file",
        place=str(anchors.file.path),
        size=head.size if head else None,
        origin=head.origin if head else "",
        counts=True,
        remark=remark,
    )


def _row_view(kind: str, place: str, row: Any, *, counts: bool = False, remark: str = "") -> wire.AnchorView:
    return wire.AnchorView(
        kind=kind,
        place=place,
        size=row.size if row else None,
        origin=_origin(row.note) if row else "",
        time_us=row.time_us if row else None,
        counts=counts,
        remark=remark,
    )


def _copies_view(ctx: Context, place: str) -> wire.AnchorView:
    span = archive_store.read_span(ctx.tx)
    size = copy_store.copied(ctx.tx, span.origin)
    remark = ctx.part(Copies).remark(span.archived - size)
    return wire.AnchorView(kind="worm-tiles", place=place, size=size, origin=span.origin, counts=False, remark=remark)


def _origin(text: str) -> str:
    return text.split("\n", 1)[0]


def _authority(ctx: Context, name: str) -> Authority:
    for one in ctx.part(Anchors).authorities:
        if one.name == name:
            return one
    raise NotFound(f"Expected the name of one of [[time_stamps]], got {name}; see guard.toml.")


def _latest(ctx: Context) -> tuple[Head, str]:
    with ctx.part(Store).read() as tx:
        found = store.last_checkpoint(tx, ctx.part(Log).origin)
    if found is None:
        raise Conflict("Expected a signed checkpoint, got none yet; try again in a second.")
    return found
